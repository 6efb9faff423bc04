// SPDX-License-Identifier: Apache-2.0
// A table of the gates that have an effect here. A locked gate belongs to behaviour that has become unconditional:
// setting it to its fixed value is harmless, setting it to the other one requests behaviour that no longer exists and
// is refused with Kubernetes' own text. Facts: component-base/featuregate and pkg/features of Kubernetes 1.36.
#include "config/feature_gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "config/scalar.h"

namespace sluice::config {
namespace {

struct Gate {
  std::string_view name;
  bool enabled = false;
  bool locked = false;
};

constexpr std::array<Gate, 9> kGates{{
    {"AllowServiceExternalIPs", true},  // spec.externalIPs is served
    {"ComponentFlagz", true},           // /flagz on the metrics server
    {"ComponentStatusz", true},         // /statusz on the metrics server
    {"LoggingAlphaOptions", false},     // logging.options may be set
    {"LoggingBetaOptions", true},       // logging.format json may be set
    {"MultiCIDRServiceAllocator", true, true},
    {"NFTablesProxyMode", true, true},
    {"PreferSameTrafficDistribution", true, true},
    {"SCTPSupport", true, true},  // of Kubernetes 1.20
}};

const Gate* find_gate(std::string_view name) {
  const auto* found =
      std::find_if(kGates.begin(), kGates.end(), [name](const Gate& gate) { return gate.name == name; });
  return found == kGates.end() ? nullptr : found;
}

bool well_formed(std::string_view name) {
  return !name.empty() && std::isalpha(static_cast<unsigned char>(name.front())) != 0 &&
         std::all_of(name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0; });
}

}  // namespace

Result<std::map<std::string, bool>> parse_feature_gates(std::string_view text) {
  std::map<std::string, bool> gates;
  for (const std::string& part : split(text, ',')) {
    const std::string_view pair = trimmed(part);
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    if (equals == std::string_view::npos) {
      return fail(Errc::kInvalid, fmt::format("invalid value {}: NAME=true or NAME=false is wanted", quoted(pair)));
    }
    const std::string_view name = trimmed(pair.substr(0, equals));
    const std::string_view value = trimmed(pair.substr(equals + 1));
    const std::optional<bool> enabled = parse_bool(value);
    if (!well_formed(name))
      return fail(Errc::kInvalid, fmt::format("invalid value {}: no gate has such a name", quoted(pair)));
    if (!enabled)
      return fail(Errc::kInvalid, fmt::format("invalid value of {}: {}, true or false is wanted", name, quoted(value)));
    gates.insert_or_assign(std::string(name), *enabled);
  }
  return gates;
}

Result<std::vector<std::string>> check_feature_gates(const std::map<std::string, bool>& gates) {
  std::vector<std::string> meaningless;
  std::vector<std::string> errors;
  for (const auto& [name, enabled] : gates) {
    const Gate* gate = find_gate(name);
    if (!well_formed(name)) {
      errors.push_back(fmt::format("unrecognized feature gate: {}", name));
    } else if (gate == nullptr) {
      meaningless.push_back(name);
    } else if (gate->locked && gate->enabled != enabled) {
      errors.push_back(
          fmt::format("cannot set feature gate {} to {}, feature is locked to {}", name, enabled, gate->enabled));
    }
  }
  if (!errors.empty()) return fail(Errc::kInvalid, aggregate(errors));
  return meaningless;
}

bool gate_enabled(const std::map<std::string, bool>& gates, std::string_view name) {
  const auto set = gates.find(std::string(name));
  if (set != gates.end()) return set->second;
  const Gate* gate = find_gate(name);
  return gate != nullptr && gate->enabled;
}

}  // namespace sluice::config
