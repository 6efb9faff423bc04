// SPDX-License-Identifier: Apache-2.0
// BPF objects that this program carries: opened, sized, loaded; their maps as memory; one run of a program on a packet of the
// caller's. What is loaded goes with the BpfObject, unless it is pinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

// Declares what sluice_bpf_object(NAME ...) of CMake has put into the program; sys::bpf_image(NAME) names it.
#define SLUICE_BPF_OBJECT(name)                   \
  extern "C" const std::byte sluice_bpf_##name[]; \
  extern "C" const std::byte sluice_bpf_##name##_end[]
#define SLUICE_BPF_IMAGE(name)                   \
  ::sluice::sys::BpfImage {                      \
    #name, {                                     \
      sluice_bpf_##name, sluice_bpf_##name##_end \
    }                                            \
  }

struct bpf_object;

namespace sluice::sys {

struct BpfImage {
  std::string_view name;
  std::span<const std::byte> bytes;
};

// The memory of an array that was made with BPF_F_MMAPABLE: the same that programs read and write. Elements lie at
// multiples of stride().
class BpfMemory {
 public:
  BpfMemory() = default;  // none
  BpfMemory(BpfMemory&& other) noexcept;
  BpfMemory& operator=(BpfMemory&& other) noexcept;
  BpfMemory(const BpfMemory&) = delete;
  BpfMemory& operator=(const BpfMemory&) = delete;
  ~BpfMemory();

  // kInvalid where the elements are no T, or the map cannot be mapped.
  static Result<BpfMemory> of(int map_fd, std::size_t value_size);
  template <typename T>
  [[nodiscard]] std::span<T> elements() const {
    static_assert(alignof(T) <= 8);
    return {reinterpret_cast<T*>(memory_.data()), memory_.size() / sizeof(T)};
  }

 private:
  explicit BpfMemory(std::span<std::byte> memory) : memory_(memory) {}
  std::span<std::byte> memory_;
};

class BpfObject {
 public:
  // Reads the image; nothing is in the kernel yet.
  static Result<BpfObject> open(const BpfImage& image);
  // Before load().
  Result<> set_entries(const std::string& map, std::uint32_t entries);
  // Before load(): its maps are those that are pinned in this folder, under their names; what is not there yet, load() makes
  // and pins. kInvalid from load() where one that is there has another size or type. `but`: one that goes with its programs.
  Result<> keep_maps_in(const std::string& folder, std::string_view but = {});
  // Errors: kPermission without CAP_BPF and CAP_NET_ADMIN; kInvalid where the kernel's verifier refuses a program, with
  // the last line that gives a reason; kUnsupported where this kernel has no BPF.
  Result<> load();

  // -1 for a name that is not there.
  [[nodiscard]] int map(const std::string& name) const;
  [[nodiscard]] int program(const std::string& name) const;
  // The memory of one of its maps.
  template <typename T>
  Result<BpfMemory> memory(const std::string& name) const {
    static_assert(sizeof(T) % 8 == 0, "the kernel pads elements to 8 bytes");
    return BpfMemory::of(map(name), sizeof(T));
  }

 private:
  struct Close {
    void operator()(bpf_object* object) const;
  };
  BpfObject(std::string name, bpf_object* object) : name_(std::move(name)), object_(object) {}
  std::string name_;
  std::unique_ptr<bpf_object, Close> object_;
};

struct BpfRun {
  std::uint32_t verdict = 0;      // what the program returned
  std::vector<std::byte> packet;  // what it has made of the packet
};
// Runs a TC program on a packet that begins with its Ethernet header (BPF_PROG_TEST_RUN). Maps change as they would for a real
// one; the verdict is not carried out.
Result<BpfRun> run_bpf_program(int program_fd, std::span<const std::byte> packet);

// What maps and programs are kept by, besides the descriptors of processes: a file in the BPF file system.
Result<> pin_bpf(int fd, const std::string& path);          // kAlreadyExists
Result<UniqueFd> open_pinned_bpf(const std::string& path);  // kNotFound
// What sets a pin apart from a later one of the same name. 0: there is none.
std::uint64_t pinned_bpf_number(const std::string& path);
Result<> replace_pinned_bpf(int fd, const std::string& path);  // whether or not there was one

// An array that can be mapped.
Result<UniqueFd> make_bpf_array(const std::string& name, std::uint32_t value_size, std::uint32_t entries);
// kAlreadyExists where the key is there and `anew` is set.
Result<> set_bpf_element(int map_fd, const void* key, const void* value, bool anew = false);
Result<bool> find_bpf_element(int map_fd, const void* key, void* value);
Result<bool> remove_bpf_element(int map_fd, const void* key);  // whether there was one
// Every element of a map that is looked up by key, in no order. One that another process adds or removes meanwhile may be missing.
// `key`, `next` and `value` are memory for one of each; `visit` finds the element in the last two.
Result<> for_each_bpf_element(int map_fd, void* key, void* next, void* value, std::size_t key_size,
                              const std::function<void()>& visit);
template <typename Key, typename Value, typename Visit>
Result<> for_each_bpf_element(int map_fd, Visit visit) {
  Key key{};
  Key next{};
  Value value{};
  return for_each_bpf_element(map_fd, &key, &next, &value, sizeof(Key), [&] { visit(next, value); });
}
// The kernel's number of a loaded program.
Result<std::uint32_t> bpf_program_id(int program_fd);

// The hooks of traffic control on a device, where packets come in and where they leave. Our program is the one with the
// handle and priority that are given; it is replaced in place, and others are left alone.
enum class BpfHook : std::uint8_t { kIngress, kEgress };
struct BpfHookPlace {
  int interface = 0;
  BpfHook hook = BpfHook::kIngress;
  std::uint32_t handle = 1;
  std::uint32_t priority = 1;
};
// The number of the program that is there, 0 for none. kNotFound: there is no such device.
Result<std::uint32_t> bpf_program_at(const BpfHookPlace& place);
// kNotFound: there is no such device. kUnsupported: the kernel has neither clsact nor a filter for BPF.
Result<> put_bpf_program(const BpfHookPlace& place, int program_fd);
Result<> remove_bpf_program(const BpfHookPlace& place);  // succeeds if there is none

// Of a verifier's log, the last line that gives a reason: without the statistics at the end.
std::string verifier_reason(std::string_view log);

}  // namespace sluice::sys
