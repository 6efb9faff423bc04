// SPDX-License-Identifier: Apache-2.0
// IPVS knows neither Services nor policies: a virtual server is an address, a port and a protocol, and every packet to
// it is sent to one of its real servers, wherever it came from. So one Service port with a cluster IP, a load-balancer
// IP and a node port, on a node with three addresses, is five virtual servers. They exist whether or not there are real
// servers: an empty one makes the kernel reply "port unreachable", which is what clients must see then. What depends
// on the source (masquerading, source ranges) is left to the helper table.
//
// A virtual server works only for addresses that are local to the node, since IPVS hooks into the local input path
// (LOCAL_IN); hence the device kube-ipvs0 that has them. A local address attracts all its traffic to this
// node, which is why one that belongs to the node itself, to its gateway or to the API server must not be bound: the
// node would lose its own connections, and with them the news that the mistake was corrected.
#include "dataplane/ipvs/wanted.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::ForwardMethod;
using sluice::ipvs::kPersistentFlag;

// IPVS treats all sources the same, so it follows the plan for outside sources. If that is to drop,
// since the policy is Local and no endpoint is here, the cluster pool is used (docs/mode-ipvs.md): better far than
// nowhere.
std::shared_ptr<const RealServers> select(const plan::ServicePortPlan& port, const plan::Route& route) {
  const plan::Pool pool = route.verdict == plan::Verdict::kForward ? route.pool : plan::Pool::kCluster;
  auto chosen = std::make_shared<RealServers>();
  for (const plan::RealServer& server : port.real_servers) {
    if (server.in(pool)) chosen->emplace_back(RealServerKey::of(server.address, server.port), server.weight);
  }
  std::sort(chosen->begin(), chosen->end());
  const auto same_key = [](const auto& a, const auto& b) { return a.first == b.first; };
  chosen->erase(std::unique(chosen->begin(), chosen->end(), same_key), chosen->end());
  return chosen;
}

const std::string* annotation(const plan::ServicePortPlan& port, std::string_view key) {
  const auto found = port.sluice_annotations.find(std::string(key));
  return found == port.sluice_annotations.end() ? nullptr : &found->second;
}

Scheduler scheduler_of(const plan::ServicePortPlan& port, const WantedSettings& settings,
                       std::vector<std::string>& bad) {
  Scheduler scheduler = settings.scheduler;
  if (const std::string* text = annotation(port, kSchedulerAnnotation)) {
    auto parsed = parse_scheduler(*text);
    if (parsed) {
      scheduler = *std::move(parsed);
    } else {
      bad.push_back(fmt::format("{}: {}; using {}", kSchedulerAnnotation, parsed.error().what, scheduler.name));
    }
  }
  if (!settings.missing_schedulers.contains(scheduler.name)) return scheduler;
  if (scheduler.name != settings.scheduler.name) bad.push_back(describe_missing_scheduler(scheduler.name));
  return Scheduler{};  // rr
}

std::chrono::milliseconds drain_timeout_of(const plan::ServicePortPlan& port, const WantedSettings& settings,
                                           std::vector<std::string>& bad) {
  const std::string* text = annotation(port, kDrainTimeoutAnnotation);
  if (text == nullptr) return settings.drain_timeout;
  const auto parsed = parse_drain_timeout(*text);
  if (parsed) return *parsed;
  bad.push_back(fmt::format("{}: {}; using the configured {} ms", kDrainTimeoutAnnotation, parsed.error().what,
                            settings.drain_timeout.count()));
  return settings.drain_timeout;
}

// Why this address of a Service must not be served, or nothing.
std::optional<std::string> reason_to_refuse(const IpAddress& address, plan::FrontendKind kind,
                                            const WantedSettings& settings, const NodeAddresses& node) {
  const bool routed = settings.routes_cluster_ips && kind == plan::FrontendKind::kClusterIp;
  if (!settings.binds_addresses && !routed) return std::nullopt;
  if (auto reason = node::why_not_to_bind(address, node)) return reason;
  // A proxy that runs in the cluster may reach the API server by the cluster IP of default/kubernetes, which must be
  // served, of course.
  const auto& api = settings.api_server_addresses;
  if (kind != plan::FrontendKind::kClusterIp && std::find(api.begin(), api.end(), address) != api.end()) {
    return address.to_string() + " is the address of the API server";
  }
  return std::nullopt;
}

// Collects the parts of one Service port.
class PortBuilder {
 public:
  PortBuilder(const plan::ServicePortPlan& port, const WantedSettings& settings, const NodeAddresses& node)
      : port_(port),
        settings_(settings),
        node_(node),
        scheduler_(scheduler_of(port, settings, wanted_.bad_annotations)) {
    drain_timeout_ = drain_timeout_of(port, settings, wanted_.bad_annotations);
    internal_ = select(port, port.internal.outside);
    external_ =
        port.internal.policy_local() == port.external.policy_local() ? internal_ : select(port, port.external.outside);
  }

  void add(const plan::Frontend& frontend) {
    if (frontend.kind == plan::FrontendKind::kNodePort) {
      add_node_port(frontend.port);
    } else if (auto reason = reason_to_refuse(frontend.address, frontend.kind, settings_, node_)) {
      wanted_.refusals.push_back({port_.key, frontend, *std::move(reason)});
    } else {
      add_address(frontend);
    }
  }

  WantedPort take() && {
    if (port_.health_check_node_port != 0) wanted_.elements.health_check_ports.insert(port_.health_check_node_port);
    for (const plan::RealServer& server : port_.real_servers) {
      if (server.on_this_node) wanted_.elements.local_real_servers.insert(server.address);
    }
    return std::move(wanted_);
  }

 private:
  void add_address(const plan::Frontend& frontend) {
    const ServedAddress served{frontend.address, port_.key.protocol, frontend.port};
    wanted_.elements.service_addresses.insert(frontend.address);
    if (frontend.internal()) {
      wanted_.elements.cluster_ips.insert(served);
    } else {
      (port_.external.policy_local() ? wanted_.elements.unmasqueraded : wanted_.elements.masqueraded).insert(served);
    }
    if (frontend.filtered) restrict_sources(served);
    add_virtual_server(frontend.address, frontend.port, frontend.internal() ? internal_ : external_);
  }

  void add_node_port(std::uint16_t number) {
    auto& elements = wanted_.elements;
    (port_.external.policy_local() ? elements.unmasqueraded_node_ports : elements.masqueraded_node_ports)
        .insert({port_.key.protocol, number});
    for (const IpAddress& address : node_.node_ports) add_virtual_server(address, number, external_);
  }

  // The node itself sends to a Service's address from that same address, since the kernel prefers it as source.
  void restrict_sources(const ServedAddress& served) {
    wanted_.elements.firewalled.insert(served);
    for (const Cidr& range : port_.source_ranges) wanted_.elements.source_ranges.insert({served, range});
    if (!port_.node_ip_in_source_ranges) return;
    const Cidr itself(served.address, static_cast<unsigned>(served.address.bytes().size() * 8));
    wanted_.elements.source_ranges.insert({served, itself});
  }

  void add_virtual_server(const IpAddress& address, std::uint16_t number,
                          const std::shared_ptr<const RealServers>& real_servers) {
    WantedVirtualServer wanted;
    wanted.server = VirtualServer::of(VirtualServerKey::of(port_.key.protocol, address, number));
    const auto present = [&](const WantedVirtualServer& other) { return other.server.key == wanted.server.key; };
    // An external IP may also be a load-balancer IP.
    if (std::any_of(wanted_.virtual_servers.begin(), wanted_.virtual_servers.end(), present)) return;
    wanted.server.scheduler = scheduler_.name;
    wanted.server.flags = scheduler_.flags;
    if (port_.affinity_seconds) {
      wanted.server.flags |= kPersistentFlag;
      wanted.server.persistence_timeout_s = *port_.affinity_seconds;
    }
    wanted.real_servers = real_servers;
    wanted.drain_timeout = drain_timeout_;
    wanted_.virtual_servers.push_back(std::move(wanted));
  }

  const plan::ServicePortPlan& port_;
  const WantedSettings& settings_;
  const NodeAddresses& node_;
  WantedPort wanted_;
  Scheduler scheduler_;
  std::chrono::milliseconds drain_timeout_{0};
  std::shared_ptr<const RealServers> internal_;
  std::shared_ptr<const RealServers> external_;
};

}  // namespace

RealServer to_real_server(const RealServers::value_type& wanted) {
  RealServer server;
  server.key = wanted.first;
  server.method = ForwardMethod::kMasquerade;
  server.weight = wanted.second;
  return server;
}

bool same(const WantedVirtualServer& a, const WantedVirtualServer& b) {
  return a.server == b.server && (a.real_servers == b.real_servers || *a.real_servers == *b.real_servers);
}

WantedPort wanted_of(const plan::ServicePortPlan& port, const WantedSettings& settings, const NodeAddresses& node) {
  PortBuilder builder(port, settings, node);
  for (const plan::Frontend& frontend : port.frontends) builder.add(frontend);
  return std::move(builder).take();
}

std::string describe_missing_scheduler(const std::string& name) {
  return fmt::format(
      "scheduler '{}' is not known here (kernel module ip_vs_{} is missing or may not be loaded); using {}", name, name,
      Scheduler{}.name);
}

}  // namespace sluice::dataplane::ipvs
