// SPDX-License-Identifier: Apache-2.0
// A virtual server on a Service's address is recognised by kube-ipvs0, which has that address. One for a node port
// is on an address of the node, like any that an administrator may have made by hand; only the port distinguishes
// them. The file lists them, one "tcp 30080" per line, in a folder that a reboot empties like ip_vs (/run).
#include "dataplane/ipvs/node_port_record.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "sys/state_folder.h"

namespace sluice::dataplane::ipvs {
namespace {

constexpr std::array kProtocols{Protocol::kTcp, Protocol::kUdp, Protocol::kSctp};

std::set<NodePort> read_ports(const std::string& path) {
  std::set<NodePort> ports;
  std::ifstream file(path);
  std::string protocol;
  for (unsigned port = 0; file >> protocol >> port;) {
    const auto* known =
        std::find_if(kProtocols.begin(), kProtocols.end(), [&](Protocol each) { return lower_name(each) == protocol; });
    if (known != kProtocols.end() && port > 0 && port <= 65535)
      ports.insert({*known, static_cast<std::uint16_t>(port)});
  }
  return ports;
}

}  // namespace

NodePortRecord::NodePortRecord(const std::string& folder, Family family) {
  if (folder.empty()) return;
  path_ = fmt::format("{}/ipvs-node-ports-{}", folder, family == Family::kIPv4 ? "ipv4" : "ipv6");
  recorded_ = read_ports(path_);
}

Result<> NodePortRecord::write(const std::set<NodePort>& ports) {
  if (path_.empty() || ports == recorded_) return {};
  std::string text;
  for (const NodePort& each : ports) text += fmt::format("{} {}\n", lower_name(each.protocol), each.port);
  SLUICE_CHECK_OK(sys::write_state_file(path_, text));
  recorded_ = ports;
  return {};
}

bool NodePortRecord::exists() const {
  return !path_.empty() && ::access(path_.c_str(), F_OK) == 0;
}

Result<> NodePortRecord::before(const std::set<NodePort>& wanted) {
  std::set<NodePort> both = recorded_;
  both.insert(wanted.begin(), wanted.end());
  return write(both);
}

Result<> NodePortRecord::after(const std::set<NodePort>& wanted) {
  return write(wanted);
}

Result<> NodePortRecord::remove() {
  if (!path_.empty() && ::unlink(path_.c_str()) != 0 && errno != ENOENT)
    return fail(Errc::kInternal, fmt::format("remove {}: {}", path_, std::strerror(errno)), errno);
  recorded_.clear();
  return {};
}

}  // namespace sluice::dataplane::ipvs
