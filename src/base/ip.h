// SPDX-License-Identifier: Apache-2.0
// Addresses, prefixes, ports and protocols as values. One type for both families: an IPv4 address is held v4-mapped
// (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), so nothing below needs a twin for IPv6.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace sluice {

enum class Family : std::uint8_t { kIPv4, kIPv6 };
inline constexpr std::array<Family, 2> kFamilies{Family::kIPv4, Family::kIPv6};
std::string_view to_string(Family family);  // "IPv4", "IPv6", as the API and kube-proxy's metrics spell them

enum class Protocol : std::uint8_t { kTcp, kUdp, kSctp };
std::string_view to_string(Protocol protocol);                  // "TCP", "UDP", "SCTP", as the API spells them
std::string_view lower_name(Protocol protocol);                 // "tcp", "udp", "sctp", as iptables spells them
std::optional<Protocol> parse_protocol(std::string_view text);  // the API's spelling only
std::uint8_t ip_protocol_number(Protocol protocol);             // IPPROTO_TCP, IPPROTO_UDP, IPPROTO_SCTP

class IpAddress {
 public:
  IpAddress() = default;  // "::"
  // Accepts what Kubernetes always accepted: dotted quads, also with leading zeros read as decimal (172.30.0.041),
  // and IPv6 text. A v4-mapped IPv6 text is the IPv4 address. No zone, no port, no white space.
  static std::optional<IpAddress> parse(std::string_view text);
  static IpAddress from_v4(std::uint32_t host_order);
  // 4 or 16 bytes in network order; any other length gives nothing.
  static std::optional<IpAddress> from_bytes(std::span<const std::uint8_t> network_order);

  [[nodiscard]] Family family() const;
  [[nodiscard]] bool is_loopback() const;     // 127.0.0.0/8 or ::1
  [[nodiscard]] bool is_unspecified() const;  // 0.0.0.0 or ::
  [[nodiscard]] bool is_link_local() const;   // 169.254.0.0/16 or fe80::/10
  [[nodiscard]] bool is_multicast() const;
  [[nodiscard]] std::string to_string() const;  // canonical text (RFC 5952 for IPv6)
  // The address in network order: 4 bytes for IPv4, 16 for IPv6.
  [[nodiscard]] std::span<const std::uint8_t> bytes() const;
  [[nodiscard]] const std::array<std::uint8_t, 16>& mapped_bytes() const { return bytes_; }
  friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

// "10.0.0.1:80" or "[fd00::1]:80".
std::string join_host_port(const IpAddress& address, std::uint16_t port);

class Cidr {
 public:
  Cidr() = default;
  // The prefix that holds `address`; host bits are cleared. `prefix_length` counts in the address' own family.
  Cidr(const IpAddress& address, unsigned prefix_length);
  // "10.0.0.0/8"; tolerant of leading zeros like IpAddress::parse; host bits are cleared. The v4-mapped
  // "::ffff:10.0.0.0/104" is the same prefix.
  static std::optional<Cidr> parse(std::string_view text);

  [[nodiscard]] const IpAddress& address() const { return address_; }
  [[nodiscard]] unsigned prefix_length() const { return prefix_length_; }
  [[nodiscard]] Family family() const { return address_.family(); }
  [[nodiscard]] bool contains(const IpAddress& address) const;  // false for the other family
  [[nodiscard]] bool is_zero() const { return prefix_length_ == 0; }
  [[nodiscard]] std::string to_string() const;
  friend auto operator<=>(const Cidr&, const Cidr&) = default;

 private:
  IpAddress address_;
  std::uint8_t prefix_length_ = 0;
};

}  // namespace sluice

template <>
struct std::hash<sluice::IpAddress> {
  std::size_t operator()(const sluice::IpAddress& address) const noexcept;
};
