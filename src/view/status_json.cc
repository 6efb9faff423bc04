// SPDX-License-Identifier: Apache-2.0
#include "view/status_json.h"

#include <fmt/format.h>

#include <string_view>

#include "view/json_parts.h"

namespace sluice::view {
namespace {

// Seconds since 1970, as a number.
std::string unix_time(Clock::WallTime time) {
  return fmt::format("{:.3f}", std::chrono::duration<double>(time.time_since_epoch()).count());
}

std::string_view kind_word(plan::FrontendKind kind) {
  switch (kind) {
    case plan::FrontendKind::kClusterIp:
      return "clusterIP";
    case plan::FrontendKind::kExternalIp:
      return "externalIP";
    case plan::FrontendKind::kLoadBalancerIp:
      return "loadBalancerIP";
    case plan::FrontendKind::kNodePort:
      return "nodePort";
  }
  return "";
}

std::string wait_json(const Wait& wait) {
  return fmt::format(R"({{"what":{},"why":{},"since":{}}})", json_string(wait.what), json_string(wait.why),
                     unix_time(wait.since));
}

std::string refusal_json(const dataplane::Refusal& refusal) {
  return fmt::format(R"({{"servicePort":{},"protocol":"{}","address":{},"reason":{}}})",
                     json_string(refusal.port.printed_name()), to_string(refusal.port.protocol),
                     json_string(plan::to_string(refusal.frontend)), json_string(refusal.reason));
}

std::string refused_port_json(const sync::RefusedPortStatus& refused) {
  return fmt::format(R"({{"servicePort":{},"protocol":"{}","reason":{},"since":{},"attempts":{}}})",
                     json_string(refused.port.printed_name()), to_string(refused.port.protocol),
                     json_string(refused.reason), unix_time(refused.since), refused.attempts);
}

std::string unmet_request_json(const dataplane::UnmetRequest& unmet) {
  return fmt::format(R"({{"service":{},"why":{}}})", json_string(unmet.service.to_string()), json_string(unmet.why));
}

std::string limitation_json(const dataplane::Limitation& limitation) {
  return fmt::format(R"({{"gap":"{}","why":{}}})", to_string(limitation.gap), json_string(limitation.why));
}

std::string plane_json(const sync::PlaneStage& plane) {
  return fmt::format(R"({{"name":{},"stage":"{}"}})", json_string(plane.name), to_string(plane.stage));
}

std::string kernel_work_json(const std::optional<dataplane::KernelWork>& work) {
  if (!work) return "null";
  const auto dropped = [](const std::pair<std::string, std::uint64_t>& each) {
    return fmt::format(R"({{"reason":{},"packets":{}}})", json_string(each.first), each.second);
  };
  return fmt::format(R"({{"lines":{},"dropped":{}}})", json_array(work->lines, json_string),
                     json_array(work->dropped, dropped));
}

std::string family_json(const FamilyView& family) {
  const sync::FamilyStatus& status = family.status;
  return fmt::format(
      R"({{"family":"{}","dataPlane":{},"synced":{},"lastSync":{},"lastError":{},"servicePorts":{},"realServers":{},"changesWaiting":{},)"
      R"("fullSyncs":{},"partialSyncs":{},"failedSyncs":{},"driftRepairs":{},"refused":{},"refusedPorts":{},"unmetRequests":{},"unremoved":{},"kernelWork":{},"planes":{},"lacks":{},"live":{},"compareError":{}}})",
      to_string(status.family), json_string(status.data_plane), status.synced,
      status.last_sync ? unix_time(*status.last_sync) : "null", json_string(status.last_error), status.service_ports,
      status.real_servers, status.changes_waiting, status.full_syncs, status.partial_syncs, status.failed_syncs,
      status.drift_repairs, json_array(status.refusals, refusal_json),
      json_array(status.refused_ports, refused_port_json), json_array(status.unmet_requests, unmet_request_json),
      json_array(status.unremoved, json_string), kernel_work_json(status.kernel_work),
      json_array(status.planes, plane_json), json_array(status.capabilities.lacks, limitation_json), live_json(family),
      text_or_null(family.compare_error));
}

std::string address_json(const ServedAddress& address) {
  const auto kind = [](plan::FrontendKind each) { return json_string(kind_word(each)); };
  return fmt::format(R"({{"address":{},"kinds":{},"refused":{}}})", json_string(address.address),
                     json_array(address.kinds, kind), text_or_null(address.refused));
}

std::string port_json(const ServedPort& port) {
  const auto server = [](const plan::RealServer& each) {
    return fmt::format(R"({{"address":{},"onThisNode":{},"clusterPool":{},"localPool":{}}})",
                       json_string(each.to_string()), each.on_this_node, each.in_cluster_pool, each.in_local_pool);
  };
  return fmt::format(R"({{"name":{},"protocol":"{}","family":"{}","refused":{},"addresses":{},"realServers":{}}})",
                     json_string(port.name), to_string(port.protocol), to_string(port.family),
                     text_or_null(port.refused), json_array(port.addresses, address_json),
                     json_array(port.real_servers, server));
}

}  // namespace

std::string live_json(const FamilyView& family) {
  if (!family.compared) return "null";
  return fmt::format(R"({{"equalsWanted":{},"missing":{},"unexpected":{}}})", family.difference.empty(),
                     json_array(family.difference.missing, json_string),
                     json_array(family.difference.unexpected, json_string));
}

std::string status_json(const Status& status, Clock::WallTime now) {
  const ProcessFacts& process = status.process;
  return fmt::format(
      R"({{"version":{},"pid":{},"mode":{},"flavour":{},"node":{},"source":{},"upSeconds":{:.0f},"started":{},"waitsFor":{},)"
      R"("servesAsWanted":{},"listsComplete":{},"services":{},"slices":{},"zone":{},"families":{},"served":{}}})"
      "\n",
      json_string(SLUICE_VERSION), process.pid, json_string(process.mode), json_string(process.flavour),
      json_string(process.node_name), json_string(process.source),
      std::chrono::duration<double>(now - process.started).count(), status.started, json_array(status.waits, wait_json),
      serves_as_wanted(status), status.lists_complete, status.services, status.slices, json_string(status.zone),
      json_array(status.families, family_json), json_array(status.served, port_json));
}

}  // namespace sluice::view
