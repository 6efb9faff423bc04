// SPDX-License-Identifier: Apache-2.0
// What is listed beside virtual servers: connections, timeouts, sync daemons.
#include <fmt/format.h>
#include <netinet/in.h>

#include "ipvs/text/listing.h"

namespace sluice::ipvs::text {
namespace {

// As /proc/net/ip_vs_conn spells it.
std::string protocol_column(std::uint16_t protocol) {
  if (const auto name = protocol_name(protocol)) return std::string(*name);
  switch (protocol) {
    case IPPROTO_IP:
      return "IP";
    case IPPROTO_ICMP:
      return "ICMP";
    case IPPROTO_ICMPV6:
      return "ICMPv6";
    default:
      return fmt::format("IP_{}", protocol);
  }
}

std::int32_t as_signed(std::uint32_t number) {
  return static_cast<std::int32_t>(number);
}

}  // namespace

std::string connection_titles(bool engine_data) {
  std::string titles =
      fmt::format("IPVS connection entries\npro expire {:<11} {:<18} {:<18} ", "state", "source", "virtual");
  titles += engine_data ? fmt::format("{:<18} {:<16} {}", "destination", "pe name", "pe_data") : "destination";
  return titles + '\n';
}

std::string connection_line(const Connection& c, bool engine_data, AddressWriter& addresses) {
  const auto column = [&](Family family, const ConnectionEnd& end) {
    return addresses.write(family, end.address, end.port, c.protocol);
  };
  const std::string expires = fmt::format("{:02}:{:02}", c.expires_s / 60, c.expires_s % 60);
  std::string line = fmt::format("{:<3} {:<6} {:<11} {:<18} {:<18} ", protocol_column(c.protocol), expires, c.state,
                                 column(c.family, c.client), column(c.family, c.virtual_end));
  const std::string real = column(c.real_family, c.real);
  // These columns are not below their titles; in ipvsadm they never were.
  line += engine_data && !c.engine_data.empty()
              ? fmt::format("{:<16} {:<18} {}", real, c.persistence_engine, c.engine_data)
              : real;
  return line + '\n';
}

// A value above 2^31 set by another program is shown as in ipvsadm: as a signed number.
std::string timeout_line(const Timeouts& timeouts) {
  return fmt::format("Timeout (tcp tcpfin udp): {} {} {}\n", as_signed(timeouts.tcp_s), as_signed(timeouts.tcp_fin_s),
                     as_signed(timeouts.udp_s));
}

std::string daemon_line(const SyncDaemon& daemon) {
  std::string line =
      fmt::format("{} sync daemon (mcast={}, syncid={}", daemon.role == SyncRole::kMaster ? "master" : "backup",
                  daemon.interface, as_signed(daemon.sync_id));
  if (daemon.message_bytes_max != 0) line += fmt::format(", maxlen={}", daemon.message_bytes_max);
  if (daemon.group) line += fmt::format(", group={}", daemon.group->to_string());
  if (daemon.port != 0) line += fmt::format(", port={}", daemon.port);
  if (daemon.ttl != 0) line += fmt::format(", ttl={}", daemon.ttl);
  return line + ")\n";
}

}  // namespace sluice::ipvs::text
