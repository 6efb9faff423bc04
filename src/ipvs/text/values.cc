// SPDX-License-Identifier: Apache-2.0
// Addresses are special. "80" alone is refused, because users forget the address; "10.1" and "0x0a000001" are
// addresses, by inet_aton(3); "fd00::1:80" has no port, and "[10.0.0.1]:80" loses it. Scripts rely on the
// first three, and the rest costs nothing to keep.
#include "ipvs/text/values.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>

#include "ipvs/virtual_server.h"

namespace sluice::ipvs::text {
namespace {

std::optional<IpAddress> parse_v6(const std::string& text) {
  std::array<std::uint8_t, 16> bytes{};
  if (::inet_pton(AF_INET6, text.c_str(), bytes.data()) != 1) return std::nullopt;
  return IpAddress::from_bytes(bytes);
}

std::optional<IpAddress> parse_v4_or_name(const std::string& text, Names& names) {
  in_addr address{};
  if (::inet_aton(text.c_str(), &address) != 0) return IpAddress::from_v4(ntohl(address.s_addr));
  return names.host_address(text);
}

std::optional<std::uint16_t> parse_port(const std::string& text, std::uint16_t protocol, Names& names) {
  if (const auto number = parse_number(text, 0, 65535)) return static_cast<std::uint16_t>(*number);
  return names.service_port(text, protocol);
}

bool only_digits(const std::string& text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

struct SchedulerFlagName {
  std::string_view name;
  std::uint32_t flag;
  std::string_view scheduler;  // empty: any
};
constexpr std::array<SchedulerFlagName, 7> kSchedulerFlagNames{{
    {"sh-fallback", kSchedulerFlag1, "sh"},
    {"sh-port", kSchedulerFlag2, "sh"},
    {"mh-fallback", kSchedulerFlag1, "mh"},
    {"mh-port", kSchedulerFlag2, "mh"},
    {"flag-1", kSchedulerFlag1, ""},
    {"flag-2", kSchedulerFlag2, ""},
    {"flag-3", kSchedulerFlag3, ""},
}};

}  // namespace

std::optional<std::int64_t> parse_number(const std::string& text, std::int64_t min, std::int64_t max) {
  char* end = nullptr;
  errno = 0;
  const long number = std::strtol(text.c_str(), &end, 10);
  if (errno == ERANGE || end == text.c_str() || *end != '\0' || number < min || number > max) return std::nullopt;
  return number;
}

std::optional<ParsedAddress> parse_address(const std::string& text, std::uint16_t protocol, Names& names) {
  if (only_digits(text)) return std::nullopt;
  std::string host = text;
  std::optional<std::string> port;
  if (host.front() == '[') {
    const std::size_t close = host.find(']');
    if (close == std::string::npos || !host.substr(close + 1).starts_with(':')) return std::nullopt;
    port = host.substr(close + 2);
    host = host.substr(1, close - 1);
  }
  ParsedAddress parsed;
  if (const auto v6 = parse_v6(host)) {
    parsed.family = Family::kIPv6;
    parsed.address = *v6;
  } else {
    const std::size_t colon = host.rfind(':');
    port.reset();
    if (colon != std::string::npos) {
      port = host.substr(colon + 1);
      host.resize(colon);
    }
    const auto v4 = parse_v4_or_name(host, names);
    if (!v4) return std::nullopt;
    parsed.address = *v4;
  }
  if (port) {
    parsed.port = parse_port(*port, protocol, names);
    if (!parsed.port) return std::nullopt;
  }
  return parsed;
}

std::optional<std::uint32_t> parse_mask(const std::string& text, Names& names) {
  const auto address = parse_v4_or_name(text, names);
  if (!address) return std::nullopt;
  const auto bytes = address->bytes();
  std::uint32_t mask = 0;
  for (const std::uint8_t byte : bytes) mask = mask << 8 | byte;
  return mask;
}

std::optional<IpAddress> parse_group(const std::string& text) {
  std::optional<IpAddress> group;
  if (text.find(':') != std::string::npos) {
    group = parse_v6(text);
  } else if (in_addr address{}; ::inet_pton(AF_INET, text.c_str(), &address) == 1) {
    group = IpAddress::from_v4(ntohl(address.s_addr));
  }
  if (!group || !group->is_multicast()) return std::nullopt;
  return group;
}

std::variant<std::uint32_t, std::string> parse_scheduler_flags(std::string_view text, std::string_view scheduler) {
  std::uint32_t flags = 0;
  while (!text.empty()) {
    const std::string_view name = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), name.size() + 1));
    if (name.empty()) continue;
    const auto* found = std::find_if(kSchedulerFlagNames.begin(), kSchedulerFlagNames.end(),
                                     [&](const SchedulerFlagName& each) { return each.name == name; });
    if (found == kSchedulerFlagNames.end()) return fmt::format("invalid scheduler flag `{}'", name);
    if (!found->scheduler.empty() && found->scheduler != scheduler)
      return fmt::format("incompatible scheduler flag `{}'", name);
    flags |= found->flag;
  }
  return flags;
}

std::string scheduler_flags_text(std::uint32_t flags, std::string_view scheduler) {
  const bool has_own = std::any_of(kSchedulerFlagNames.begin(), kSchedulerFlagNames.end(),
                                   [&](const SchedulerFlagName& each) { return each.scheduler == scheduler; });
  std::string text;
  for (const SchedulerFlagName& each : kSchedulerFlagNames) {
    if (each.scheduler != (has_own ? scheduler : std::string_view{}) || (flags & each.flag) == 0) continue;
    if (!text.empty()) text += ',';
    text += each.name;
  }
  return text;
}

}  // namespace sluice::ipvs::text
