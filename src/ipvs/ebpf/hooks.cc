// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/hooks.h"

#include <array>

#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {
namespace {

sys::BpfHookPlace place_of(const sys::Device& device, sys::BpfHook hook) {
  return {device.index, hook, kFilterHandle, kFilterPriority};
}

Result<> attach_to(const sys::BpfHookPlace& place, const UniqueFd& program) {
  SLUICE_TRY(const std::uint32_t wanted, sys::bpf_program_id(program.get()));
  SLUICE_TRY(const std::uint32_t there, sys::bpf_program_at(place));
  return there == wanted ? Result<>{} : sys::put_bpf_program(place, program.get());
}

}  // namespace

Result<> attach(const Programs& programs, std::set<int>& done) {
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  Result<> first;
  std::set<int> there;
  for (const sys::Device& device : devices) {
    bool ours = done.contains(device.index);
    for (const sys::BpfHook hook : {sys::BpfHook::kIngress, sys::BpfHook::kEgress}) {
      if (ours) continue;
      const auto each = attach_to(place_of(device, hook), programs.on(hook, device.ethernet));
      // A device that went meanwhile needs none.
      if (!each && first && each.error().code != Errc::kNotFound) first = annotate(each.error(), device.name);
      if (hook == sys::BpfHook::kEgress && each) ours = true;
    }
    if (ours) there.insert(device.index);
  }
  done = std::move(there);
  return first;
}

Result<> attach(const Programs& programs) {
  std::set<int> none;
  return attach(programs, none);
}

Result<bool> attached(const Programs& programs) {
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  for (const sys::Device& device : devices) {
    for (const sys::BpfHook hook : {sys::BpfHook::kIngress, sys::BpfHook::kEgress}) {
      SLUICE_TRY(const std::uint32_t wanted, sys::bpf_program_id(programs.on(hook, device.ethernet).get()));
      const auto there = sys::bpf_program_at(place_of(device, hook));
      if (!there && there.error().code == Errc::kNotFound) continue;  // the device went meanwhile
      if (!there) return tl::unexpected(there.error());
      if (*there != wanted) return false;
    }
  }
  return true;
}

Result<std::string> device_with_programs() {
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  for (const sys::Device& device : devices) {
    for (const sys::BpfHook hook : {sys::BpfHook::kIngress, sys::BpfHook::kEgress}) {
      const auto there = sys::bpf_program_at(place_of(device, hook));
      if (!there && there.error().code == Errc::kNotFound) continue;  // the device went meanwhile
      if (!there) return tl::unexpected(there.error());
      if (*there != 0) return device.name;
    }
  }
  return std::string();
}

Result<> detach() {
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  for (const sys::Device& device : devices) {
    SLUICE_CHECK_OK(sys::remove_bpf_program(place_of(device, sys::BpfHook::kIngress)));
    SLUICE_CHECK_OK(sys::remove_bpf_program(place_of(device, sys::BpfHook::kEgress)));
  }
  return {};
}

}  // namespace sluice::ipvs::ebpf
