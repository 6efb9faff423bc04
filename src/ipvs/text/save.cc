// SPDX-License-Identifier: Apache-2.0
// -S writes what -R reads. Thresholds, timeouts and daemons are not in it: scripts compare saved tables, so it stays as
// it is.
#include <fmt/format.h>
#include <netinet/in.h>

#include "ipvs/text/listing.h"
#include "ipvs/text/values.h"

namespace sluice::ipvs::text {
namespace {

std::string service_words(const VirtualServerKey& key, AddressWriter& addresses) {
  if (key.firewall_mark != 0) {
    return fmt::format("-f {}{}", static_cast<std::int32_t>(key.firewall_mark),
                       key.family == Family::kIPv6 ? " -6" : "");
  }
  const std::string address = addresses.write(key.family, key.address, key.port, key.protocol);
  switch (key.protocol) {
    case IPPROTO_TCP:
      return "-t " + address;
    case IPPROTO_UDP:
      return "-u " + address;
    case IPPROTO_SCTP:
      return "--sctp-service " + address;
    default:
      return "--xxx-service " + address;
  }
}

std::string settings_words(const VirtualServer& server) {
  std::string text = fmt::format(" -s {}", server.scheduler);
  if ((server.flags & kPersistentFlag) != 0) {
    text += fmt::format(" -p {}", server.persistence_timeout_s);
    if (server.persistence_mask != whole_client_mask(server.key.family)) {
      text += server.key.family == Family::kIPv6
                  ? fmt::format(" -M {}", server.persistence_mask)
                  : " -M " + address_text(Family::kIPv4, IpAddress::from_v4(server.persistence_mask));
    }
  }
  if (!server.persistence_engine.empty()) text += " --pe " + server.persistence_engine;
  if ((server.flags & kOnePacketFlag) != 0) text += " -o";
  if ((server.flags & (kSchedulerFlag1 | kSchedulerFlag2 | kSchedulerFlag3)) != 0) {
    text += " -b " + scheduler_flags_text(server.flags, server.scheduler);
  }
  return text;
}

std::string_view method_word(ForwardMethod method) {
  switch (method) {
    case ForwardMethod::kMasquerade:
      return "-m";
    case ForwardMethod::kTunnel:
      return "-i";
    case ForwardMethod::kLocal:
    case ForwardMethod::kDirectRoute:
      return "-g";
    default:
      return "(null)";  // as glibc prints a null string
  }
}

std::string_view checksum_word(TunnelChecksum checksum) {
  switch (checksum) {
    case TunnelChecksum::kChecksum:
      return " --tun-csum";
    case TunnelChecksum::kRemoteOffload:
      return " --tun-remcsum";
    default:
      return " --tun-nocsum";
  }
}

std::string tunnel_words(const RealServer& real) {
  if (real.method != ForwardMethod::kTunnel) return {};
  switch (real.tunnel.type) {
    case TunnelType::kIpip:
      return " --tun-type ipip";
    case TunnelType::kGue:
      return fmt::format(" --tun-type gue --tun-port {}{}", real.tunnel.port, checksum_word(real.tunnel.checksum));
    case TunnelType::kGre:
      return fmt::format(" --tun-type gre{}", checksum_word(real.tunnel.checksum));
  }
  return {};
}

}  // namespace

std::string save_lines(const VirtualServerState& state, AddressWriter& addresses) {
  const VirtualServerKey& key = state.server.key;
  const std::string service = service_words(key, addresses);
  const std::uint16_t protocol = key.firewall_mark != 0 ? std::uint16_t{0} : key.protocol;
  std::string text = fmt::format("-A {}{}\n", service, settings_words(state.server));
  for (const RealServerState& each : state.real_servers) {
    const RealServer& real = each.server;
    text += fmt::format("-a {} -r {} {} -w {}{}\n", service,
                        addresses.write(real.key.family, real.key.address, real.key.port, protocol),
                        method_word(real.method), real.weight, tunnel_words(real));
  }
  return text;
}

}  // namespace sluice::ipvs::text
