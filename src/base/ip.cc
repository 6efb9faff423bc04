// SPDX-License-Identifier: Apache-2.0
// Parsing follows what Kubernetes' API objects may hold, which is wider than inet_pton(3): "172.30.0.041" was accepted
// for years and means 172.30.0.41 (decimal), so octets with leading zeros are rewritten before the library sees them.
#include "base/ip.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

namespace sluice {
namespace {

constexpr std::array<std::uint8_t, 12> kMappedPrefix{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr unsigned kMappedBits = 8 * kMappedPrefix.size();

bool is_mapped(const std::array<std::uint8_t, 16>& bytes) {
  return std::equal(kMappedPrefix.begin(), kMappedPrefix.end(), bytes.begin());
}

std::optional<std::uint32_t> parse_dotted_quad(std::string_view text) {
  std::uint32_t address = 0;
  for (int octet = 0; octet < 4; ++octet) {
    unsigned value = 0;
    std::size_t digits = 0;
    while (digits < text.size() && text[digits] >= '0' && text[digits] <= '9') {
      value = value * 10 + static_cast<unsigned>(text[digits] - '0');
      if (value > 255) return std::nullopt;
      ++digits;
    }
    if (digits == 0) return std::nullopt;
    text.remove_prefix(digits);
    address = address << 8 | value;
    if (octet == 3) break;
    if (text.empty() || text.front() != '.') return std::nullopt;
    text.remove_prefix(1);
  }
  if (!text.empty()) return std::nullopt;
  return address;
}

unsigned family_bits(Family family) {
  return family == Family::kIPv4 ? 32 : 128;
}

}  // namespace

std::string_view to_string(Family family) {
  return family == Family::kIPv4 ? "IPv4" : "IPv6";
}

std::string_view to_string(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return "TCP";
    case Protocol::kUdp:
      return "UDP";
    case Protocol::kSctp:
      return "SCTP";
  }
  return "?";
}

std::string_view lower_name(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return "tcp";
    case Protocol::kUdp:
      return "udp";
    case Protocol::kSctp:
      return "sctp";
  }
  return "?";
}

std::optional<Protocol> parse_protocol(std::string_view text) {
  if (text == "TCP") return Protocol::kTcp;
  if (text == "UDP") return Protocol::kUdp;
  if (text == "SCTP") return Protocol::kSctp;
  return std::nullopt;
}

std::uint8_t ip_protocol_number(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return IPPROTO_TCP;
    case Protocol::kUdp:
      return IPPROTO_UDP;
    case Protocol::kSctp:
      return IPPROTO_SCTP;
  }
  return 0;
}

IpAddress IpAddress::from_v4(std::uint32_t host_order) {
  IpAddress result;
  std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), result.bytes_.begin());
  for (unsigned i = 0; i < 4; ++i) result.bytes_[12 + i] = static_cast<std::uint8_t>(host_order >> (24 - 8 * i));
  return result;
}

std::optional<IpAddress> IpAddress::from_bytes(std::span<const std::uint8_t> network_order) {
  IpAddress result;
  if (network_order.size() == 4) {
    std::copy(kMappedPrefix.begin(), kMappedPrefix.end(), result.bytes_.begin());
    std::copy(network_order.begin(), network_order.end(), result.bytes_.begin() + 12);
  } else if (network_order.size() == 16) {
    std::copy(network_order.begin(), network_order.end(), result.bytes_.begin());
  } else {
    return std::nullopt;
  }
  return result;
}

std::optional<IpAddress> IpAddress::parse(std::string_view text) {
  if (text.find(':') == std::string_view::npos) {
    const auto quad = parse_dotted_quad(text);
    if (!quad) return std::nullopt;
    return from_v4(*quad);
  }
  if (text.size() >= INET6_ADDRSTRLEN) return std::nullopt;
  const std::string terminated(text);
  IpAddress result;
  if (::inet_pton(AF_INET6, terminated.c_str(), result.bytes_.data()) != 1) return std::nullopt;
  return result;
}

Family IpAddress::family() const {
  return is_mapped(bytes_) ? Family::kIPv4 : Family::kIPv6;
}

std::span<const std::uint8_t> IpAddress::bytes() const {
  if (family() == Family::kIPv4) return std::span<const std::uint8_t>(bytes_).subspan(12);
  return bytes_;
}

bool IpAddress::is_loopback() const {
  if (family() == Family::kIPv4) return bytes_[12] == 127;
  return std::all_of(bytes_.begin(), bytes_.end() - 1, [](std::uint8_t b) { return b == 0; }) && bytes_[15] == 1;
}

bool IpAddress::is_unspecified() const {
  const auto own = bytes();
  return std::all_of(own.begin(), own.end(), [](std::uint8_t b) { return b == 0; });
}

bool IpAddress::is_link_local() const {
  if (family() == Family::kIPv4) return bytes_[12] == 169 && bytes_[13] == 254;
  return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

bool IpAddress::is_multicast() const {
  if (family() == Family::kIPv4) return (bytes_[12] & 0xf0) == 0xe0;
  return bytes_[0] == 0xff;
}

std::string IpAddress::to_string() const {
  if (family() == Family::kIPv4) return fmt::format("{}.{}.{}.{}", bytes_[12], bytes_[13], bytes_[14], bytes_[15]);
  std::array<char, INET6_ADDRSTRLEN> text{};
  ::inet_ntop(AF_INET6, bytes_.data(), text.data(), text.size());
  return text.data();
}

std::string join_host_port(const IpAddress& address, std::uint16_t port) {
  if (address.family() == Family::kIPv4) return fmt::format("{}:{}", address.to_string(), port);
  return fmt::format("[{}]:{}", address.to_string(), port);
}

Cidr::Cidr(const IpAddress& address, unsigned prefix_length)
    : prefix_length_(static_cast<std::uint8_t>(std::min(prefix_length, family_bits(address.family())))) {
  std::array<std::uint8_t, 16> masked = address.mapped_bytes();
  const unsigned offset = address.family() == Family::kIPv4 ? 96 : 0;
  for (unsigned bit = prefix_length_; bit < family_bits(address.family()); ++bit) {
    const unsigned at = offset + bit;
    masked[at / 8] = static_cast<std::uint8_t>(masked[at / 8] & ~(0x80U >> (at % 8)));
  }
  address_ = *IpAddress::from_bytes(masked);
}

std::optional<Cidr> Cidr::parse(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = IpAddress::parse(text.substr(0, slash));
  const std::string_view length = text.substr(slash + 1);
  if (!address || length.empty() || length.size() > 3) return std::nullopt;
  unsigned bits = 0;
  for (const char c : length) {
    if (c < '0' || c > '9') return std::nullopt;
    bits = bits * 10 + static_cast<unsigned>(c - '0');
  }
  const bool written_as_v6 = text.find(':') != std::string_view::npos;
  if (bits > family_bits(written_as_v6 ? Family::kIPv6 : Family::kIPv4)) return std::nullopt;
  if (!written_as_v6 || address->family() == Family::kIPv6) return Cidr(*address, bits);
  // "::ffff:10.0.0.0/104" is 10.0.0.0/8: its length counts in the family in which it is written. One below 96 reaches
  // beyond the mapped block, so it is a prefix of IPv6.
  if (bits >= kMappedBits) return Cidr(*address, bits - kMappedBits);
  std::array<std::uint8_t, 16> bytes = address->mapped_bytes();
  bytes[kMappedBits / 8 - 1] = 0xfe;
  return Cidr(*IpAddress::from_bytes(bytes), bits);
}

bool Cidr::contains(const IpAddress& address) const {
  return address.family() == family() && Cidr(address, prefix_length_).address_ == address_;
}

std::string Cidr::to_string() const {
  return fmt::format("{}/{}", address_.to_string(), prefix_length_);
}

}  // namespace sluice

std::size_t std::hash<sluice::IpAddress>::operator()(const sluice::IpAddress& address) const noexcept {
  const auto& bytes = address.mapped_bytes();
  return std::hash<std::string_view>()({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}
