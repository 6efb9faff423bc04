// SPDX-License-Identifier: Apache-2.0
// The values that options take: numbers, addresses with ports, masks, scheduler flags.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "base/ip.h"
#include "ipvs/text/names.h"

namespace sluice::ipvs::text {

// strtol(3)'s decimal: leading blanks, a sign and zeros are accepted, anything after the number is not.
std::optional<std::int64_t> parse_number(const std::string& text, std::int64_t min, std::int64_t max);

struct ParsedAddress {
  Family family = Family::kIPv4;
  IpAddress address;
  std::optional<std::uint16_t> port;
};
// "10.0.0.1:80", "[fd00::1]:80", "fd00::1", "vip.example:http". A port's name is looked up for `protocol`.
std::optional<ParsedAddress> parse_address(const std::string& text, std::uint16_t protocol, Names& names);

// An IPv4 mask in host order, as an address or a host name.
std::optional<std::uint32_t> parse_mask(const std::string& text, Names& names);
// The multicast group of a sync daemon; IPv6 if there is a colon in it.
std::optional<IpAddress> parse_group(const std::string& text);

// Bits of VirtualServer::flags from "sh-fallback,sh-port", or an error message.
std::variant<std::uint32_t, std::string> parse_scheduler_flags(std::string_view text, std::string_view scheduler);
// The reverse: "sh-fallback,sh-port"; empty if the scheduler has no name for a set bit.
std::string scheduler_flags_text(std::uint32_t flags, std::string_view scheduler);

}  // namespace sluice::ipvs::text
