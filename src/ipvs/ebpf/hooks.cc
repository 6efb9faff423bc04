// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/hooks.h"

#include <array>

namespace sluice::ipvs::ebpf {
namespace {

sys::BpfHookPlace place_of(const sys::Device& device, sys::BpfHook hook) {
  return {device.index, hook, kFilterHandle, kFilterPriority};
}

Result<> attach_to(const sys::BpfHookPlace& place, const UniqueFd& program, std::uint32_t there) {
  SLUICE_TRY(const std::uint32_t wanted, sys::bpf_program_id(program.get()));
  return there == wanted ? Result<>{} : sys::put_bpf_program(place, program.get());
}

// A qdisc `ingress` has one chain: with it, the kernel looks for filters of egress there, too (net/sched/sch_ingress.c, ingress_tcf_block). A filter
// for egress would replace ours of ingress.
Result<> attach_to(const Programs& programs, const sys::Device& device) {
  const sys::BpfHookPlace in = place_of(device, sys::BpfHook::kIngress);
  const sys::BpfHookPlace out = place_of(device, sys::BpfHook::kEgress);
  const UniqueFd& ingress = programs.on(sys::BpfHook::kIngress, device.ethernet);
  SLUICE_TRY(std::uint32_t there, sys::bpf_program_at(in));
  SLUICE_CHECK_OK(attach_to(in, ingress, there));
  SLUICE_TRY(const std::uint32_t at_ingress, sys::bpf_program_id(ingress.get()));
  SLUICE_TRY(there, sys::bpf_program_at(out));
  if (there == at_ingress)
    return fail(Errc::kUnsupported, "its qdisc is ingress, not clsact: it has no hook for egress");
  return attach_to(out, programs.on(sys::BpfHook::kEgress, device.ethernet), there);
}

}  // namespace

Result<> attach(const Programs& programs, std::set<int>& done, std::map<int, Refusal>& refused) {
  SLUICE_TRY(const std::vector<sys::Device> devices, sys::list_devices());
  Result<> first;
  std::set<int> there;
  refused.clear();
  for (const sys::Device& device : devices) {
    const Result<> each = done.contains(device.index) ? Result<>{} : attach_to(programs, device);
    if (each) {
      there.insert(device.index);
    } else if (each.error().code != Errc::kNotFound) {  // a device that went meanwhile needs none
      refused.insert_or_assign(device.index, Refusal{device.name, each.error().what});
      if (first) first = annotate(each.error(), device.name);
    }
  }
  done = std::move(there);
  return done.empty() ? first : Result<>{};
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
