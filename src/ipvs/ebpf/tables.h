// SPDX-License-Identifier: Apache-2.0
// The engine's maps (bpf/shared/lb_maps.h), as memory of this process: made, found again, made larger. They are pinned in a
// folder of the BPF file system that is named for the layout and the network namespace, and outlive every process.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "bpf/shared/lb_maps.h"
#include "sys/bpf.h"
#include "sys/file_lock.h"

namespace sluice::ipvs::ebpf {

// A table in chunks.
template <typename T>
class Chunked {
 public:
  Chunked(std::string name, std::string folder) : name_(std::move(name)), folder_(std::move(folder)) {}
  // Null for an element that has no memory yet.
  [[nodiscard]] T* at(std::uint32_t id) const {
    const std::uint32_t chunk = id >> SLUICE_CHUNK_BITS;
    return chunk < chunks_.size() ? &chunks_[chunk].template elements<T>()[id & (SLUICE_CHUNK - 1)] : nullptr;
  }
  [[nodiscard]] std::uint32_t size() const { return static_cast<std::uint32_t>(chunks_.size()) << SLUICE_CHUNK_BITS; }
  // Memory for all ids below `count`. kExhausted where the kernel has no memory for it, or the table cannot be that large.
  Result<> grow_to(std::uint32_t count);
  // Finds what another process has made meanwhile.
  Result<> follow();

 private:
  [[nodiscard]] std::string path(std::size_t chunk) const {
    return folder_ + "/" + name_ + "_" + std::to_string(chunk);
  }
  Result<> map(const UniqueFd& chunk);
  std::string name_;
  std::string folder_;
  std::vector<sys::BpfMemory> chunks_;
};

struct Programs {
  UniqueFd ingress;
  UniqueFd egress;
  UniqueFd ingress_l3;
  UniqueFd egress_l3;
  UniqueFd start_sweep;
  [[nodiscard]] const UniqueFd& on(sys::BpfHook hook, bool ethernet) const {
    if (hook == sys::BpfHook::kIngress) return ethernet ? ingress : ingress_l3;
    return ethernet ? egress : egress_l3;
  }
};

class Tables {
 public:
  // Those of the calling thread's network namespace: nothing where there are none, or not all of them.
  static Result<std::optional<Tables>> find();
  // Makes what is missing, and brings programs of another version up to this one's. Where the kernel refuses the first
  // of them, nothing stays.
  static Result<Tables> make();

  // One process at a time reads or changes them. kUnavailable if another one has removed them meanwhile.
  Result<sys::FileLock> lock();

  [[nodiscard]] sluice_settings& settings() const { return settings_.elements<sluice_settings>()[0]; }
  [[nodiscard]] sluice_pool& pool() const { return pool_.elements<sluice_pool>()[0]; }
  [[nodiscard]] std::span<const __u64> drops() const { return drops_.elements<__u64>(); }
  Chunked<sluice_line> lines;
  Chunked<sluice_cell> cells;
  Chunked<sluice_real> reals;
  Chunked<sluice_count> counts;
  Chunked<sluice_estimate> estimates;
  Chunked<sluice_service> services;
  Chunked<sluice_connection> connections;
  // Finds what another process has made meanwhile.
  Result<> follow();
  // Makes room for connections before they need it: twice as much where half of it is used. The caller holds the lock.
  Result<> grow();
  [[nodiscard]] bool should_grow() const;
  // Whether these are still the ones that are pinned.
  [[nodiscard]] bool pinned() const;
  // Whether all programs are pinned, in this version.
  [[nodiscard]] bool current() const;

  // The id of a virtual server, 0 for none.
  [[nodiscard]] Result<std::uint32_t> service_id(const sluice_service_key& key) const;
  Result<> set_service_id(const sluice_service_key& key, std::uint32_t id);
  Result<> remove_service_id(const sluice_service_key& key);

  // Maps that are looked up by key.
  [[nodiscard]] int rules() const { return rules_.get(); }
  [[nodiscard]] int allowed() const { return allowed_.get(); }
  [[nodiscard]] int devices() const { return devices_.get(); }

  [[nodiscard]] Result<Programs> programs() const;
  // Whether make() has loaded them, the first time that it is asked: those that were there before, if any, were another version's.
  [[nodiscard]] bool take_loaded() { return std::exchange(loaded_, false); }

 private:
  explicit Tables(const std::string& folder);
  static Result<Tables> make_in(const std::string& folder);
  static Result<std::string> folder_in(const std::string& file_system);
  Result<> open_maps();
  // Whether every one of them is there, with all chunks that are in use.
  Result<bool> open_all_maps();
  [[nodiscard]] bool current_programs() const;
  // Removes those that are there. The caller holds the lock.
  Result<> begin_again();
  Result<> load_programs();
  Result<> initialise();

  std::string folder_;
  bool loaded_ = false;
  std::uint64_t pin_ = 0;  // what the settings are pinned by
  UniqueFd service_ids_;
  UniqueFd rules_;
  UniqueFd allowed_;
  UniqueFd devices_;
  sys::BpfMemory settings_;
  sys::BpfMemory pool_;
  sys::BpfMemory drops_;
};

}  // namespace sluice::ipvs::ebpf
