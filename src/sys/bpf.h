// SPDX-License-Identifier: Apache-2.0
// BPF objects that this program carries: opened, sized, loaded; their maps as memory; one run of a program on a packet of the
// caller's. What is loaded goes with the BpfObject, unless it is pinned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

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
  // Errors: kPermission without CAP_BPF and CAP_NET_ADMIN; kInvalid where the kernel's verifier refuses a program, with
  // the last line in which it says why; kUnsupported where this kernel has no BPF.
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

// Of a verifier's log, the last line that says why: without what it counts at the end.
std::string verifier_reason(std::string_view log);

}  // namespace sluice::sys
