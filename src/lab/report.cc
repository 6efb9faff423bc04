// SPDX-License-Identifier: Apache-2.0
// `sluice lab status` is about two questions: which hosts exist, and what runs on them?
#include "lab/report.h"

#include <fmt/format.h>

namespace sluice::lab {
namespace {

std::string join(const std::string& text, const std::string& part) {
  return text.empty() ? part : text + ", " + part;
}

std::string addresses_of(const std::vector<IpAddress>& addresses) {
  std::string text;
  for (const IpAddress& address : addresses) text = join(text, address.to_string());
  return text;
}

std::string ports_of(const std::vector<ServedPort>& ports) {
  std::string text;
  for (const ServedPort& port : ports) text = join(text, fmt::format("{}/{}", lower_name(port.protocol), port.port));
  return text;
}

}  // namespace

Rows host_rows(const Topology& topology) {
  Rows rows{{"HOST", "WHERE", "ADDRESSES", "SERVES"}};
  rows.push_back({std::string(kClientHost), "outside", addresses_of(topology.client_addresses), ""});
  for (const NodeSpec& node : topology.nodes) {
    std::string addresses = addresses_of(node.addresses);
    for (const LocalDevice& device : node.devices) {
      addresses = join(addresses, fmt::format("{} ({})", device.address.to_string(), device.name));
    }
    rows.push_back({node.name, "node", addresses, ""});
    for (const PodSpec& pod : topology.pods) {
      if (pod.node != node.name) continue;
      rows.push_back({pod.name, "pod on " + node.name, pod.host_network ? "(its node's)" : addresses_of(pod.addresses),
                      ports_of(pod.ports)});
    }
  }
  return rows;
}

Rows process_rows(const Lab& lab) {
  Rows rows{{"NODE", "PROGRAM", "PID", "STATE", "COMMAND"}};
  for (const LabProcess& process : lab.processes()) {
    rows.push_back({process.node, process.name, fmt::format("{}", process.id.pid), process.alive ? "alive" : "ended",
                    process.command});
  }
  return rows;
}

}  // namespace sluice::lab
