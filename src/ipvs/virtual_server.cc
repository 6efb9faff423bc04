// SPDX-License-Identifier: Apache-2.0
// Names of virtual servers for users and messages. ipvsadm's own columns are in text/.
#include "ipvs/virtual_server.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <array>

namespace sluice::ipvs {
std::optional<std::string_view> protocol_name(std::uint16_t protocol) {
  switch (protocol) {
    case IPPROTO_TCP:
      return "TCP";
    case IPPROTO_UDP:
      return "UDP";
    case IPPROTO_SCTP:
      return "SCTP";
    default:
      return std::nullopt;
  }
}

std::string address_text(Family family, const IpAddress& address) {
  const auto& mapped = address.mapped_bytes();
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (family == Family::kIPv6) {
    ::inet_ntop(AF_INET6, mapped.data(), text.data(), text.size());
  } else {
    ::inet_ntop(AF_INET, mapped.data() + 12, text.data(), text.size());
  }
  return text.data();
}

VirtualServerKey VirtualServerKey::of(Protocol protocol, const IpAddress& address, std::uint16_t port) {
  return {.family = address.family(), .protocol = ip_protocol_number(protocol), .address = address, .port = port};
}

VirtualServerKey VirtualServerKey::of_mark(Family family, std::uint32_t mark) {
  return {.family = family, .firewall_mark = mark, .address = {}};
}

std::string to_string(const VirtualServerKey& key) {
  const bool ipv6 = key.family == Family::kIPv6;
  if (key.firewall_mark != 0) return fmt::format("FWM {}{}", key.firewall_mark, ipv6 ? " IPv6" : "");
  const std::string address = address_text(key.family, key.address);
  const auto name = protocol_name(key.protocol);
  const std::string protocol = name ? std::string(*name) : fmt::format("protocol {}", key.protocol);
  return fmt::format("{} {}{}{}:{}", protocol, ipv6 ? "[" : "", address, ipv6 ? "]" : "", key.port);
}

std::uint32_t whole_client_mask(Family family) {
  return family == Family::kIPv4 ? 0xffffffff : 128;
}

VirtualServer VirtualServer::of(const VirtualServerKey& key) {
  VirtualServer server;
  server.key = key;
  server.persistence_mask = whole_client_mask(key.family);
  return server;
}

}  // namespace sluice::ipvs
