// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/hooks.h"

#include <array>

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

Result<> attach(const Programs& programs, std::set<int>& done, std::map<int, std::string>& refused) {
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  Result<> first;
  std::set<int> there;
  refused.clear();
  for (const sys::Device& device : devices) {
    bool ours = true;
    for (const sys::BpfHook hook : {sys::BpfHook::kIngress, sys::BpfHook::kEgress}) {
      if (done.contains(device.index)) continue;
      const auto each = attach_to(place_of(device, hook), programs.on(hook, device.ethernet));
      if (each) continue;
      ours = false;
      if (each.error().code == Errc::kNotFound) continue;  // a device that went meanwhile needs none
      refused.emplace(device.index, each.error().what);
      if (first) first = annotate(each.error(), device.name);
    }
    if (ours) there.insert(device.index);
  }
  done = std::move(there);
  return first;
}

Result<> attach(const Programs& programs) {
  std::set<int> none;
  std::map<int, std::string> refused;
  return attach(programs, none, refused);
}

Result<Coverage> coverage(const Programs& programs) {
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  Coverage found;
  for (const sys::Device& device : devices) {
    bool gone = false;
    bool covered = true;
    for (const sys::BpfHook hook : {sys::BpfHook::kIngress, sys::BpfHook::kEgress}) {
      SLUICE_TRY(const std::uint32_t wanted, sys::bpf_program_id(programs.on(hook, device.ethernet).get()));
      const auto there = sys::bpf_program_at(place_of(device, hook));
      gone = gone || (!there && there.error().code == Errc::kNotFound);
      if (!there && !gone) return tl::unexpected(there.error());
      covered = covered && there && *there == wanted;
    }
    if (covered) ++found.devices;
    if (!covered && !gone) found.without.push_back(device);
  }
  return found;
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
