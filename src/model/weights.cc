// SPDX-License-Identifier: Apache-2.0
// EndpointSlices are written by a controller that knows nothing about weights, so most users will annotate the Service
// and name its real servers by what they share: a zone, a node. Users who write slices themselves may annotate those.
#include "model/weights.h"

#include <fmt/format.h>

#include <charconv>

namespace sluice::model {
namespace {

constexpr std::string_view kNodePrefix = "node/";
constexpr std::string_view kZonePrefix = "zone/";

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

std::optional<std::uint16_t> parse_weight(std::string_view text) {
  std::uint16_t weight = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), weight);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return weight;
}

}  // namespace

Result<> Weights::add(std::string_view selector, std::uint16_t weight) {
  bool added = false;
  if (selector == "*") {
    added = !everybody_;
    everybody_ = weight;
  } else if (selector.starts_with(kNodePrefix) && selector.size() > kNodePrefix.size()) {
    added = by_node_.emplace(selector.substr(kNodePrefix.size()), weight).second;
  } else if (selector.starts_with(kZonePrefix) && selector.size() > kZonePrefix.size()) {
    added = by_zone_.emplace(selector.substr(kZonePrefix.size()), weight).second;
  } else if (const auto address = IpAddress::parse(selector)) {
    added = by_address_.emplace(*address, weight).second;
  } else {
    return fail(Errc::kInvalid,
                fmt::format("'{}' is not a selector (an IP address, node/NAME, zone/NAME or *)", selector));
  }
  if (!added) return fail(Errc::kInvalid, fmt::format("'{}' is given twice", selector));
  return {};
}

Result<Weights> Weights::parse(std::string_view text) {
  Weights weights;
  std::string_view rest = text;
  while (true) {
    const auto comma = rest.find(',');
    const std::string_view part = trimmed(rest.substr(0, comma));
    const auto equals = part.rfind('=');
    const std::string_view number = trimmed(equals == std::string_view::npos ? part : part.substr(equals + 1));
    const auto weight = parse_weight(number);
    if (!weight) return fail(Errc::kInvalid, fmt::format("'{}' is not a weight (0 to 65535)", number));
    SLUICE_CHECK_OK(weights.add(equals == std::string_view::npos ? "*" : trimmed(part.substr(0, equals)), *weight));
    if (comma == std::string_view::npos) return weights;
    rest.remove_prefix(comma + 1);
  }
}

std::optional<std::uint16_t> Weights::of(const IpAddress& address, std::string_view node, std::string_view zone) const {
  if (const auto known = by_address_.find(address); known != by_address_.end()) return known->second;
  if (const auto known = by_node_.find(node); known != by_node_.end()) return known->second;
  if (const auto known = by_zone_.find(zone); known != by_zone_.end()) return known->second;
  return everybody_;
}

}  // namespace sluice::model
