// SPDX-License-Identifier: Apache-2.0
// The table of command-line flags: one row has a flag's name, help, default, whether it counts beside --config, and
// where its value is stored. The parser, --help, the log and the tests all read this table.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "config/config.h"

namespace sluice::config {

// The values of a command line, before it is completed.
struct Flags {
  ProxyConfig config = default_config();
  std::string config_path;
  std::string write_config_to;
  std::string master;
  std::optional<std::string> hostname_override;
  std::string version = "false";  // false, true, raw or vX.Y.Z
  bool help = false;
  bool cleanup = false;
  bool init_only = false;
  // Which pair counts is known only with the mode.
  std::optional<Duration> iptables_sync_period;
  std::optional<Duration> iptables_min_sync_period;
  std::optional<Duration> ipvs_sync_period;
  std::optional<Duration> ipvs_min_sync_period;
  bool masquerade_all = false;
  std::int32_t healthz_port = 10256;
  std::int32_t metrics_port = 10249;
  std::optional<std::string> manifests;
  std::optional<std::string> data_dir;
  std::string unused;                        // where values of flags without effect go
  std::map<std::string, std::string> given;  // name -> text of the flags that were on the command line
};

// kOther: of kube-proxies other than 1.36 on Linux, mainly older ones.
enum class FlagGroup : std::uint8_t { kSluice, kProxy, kLogging, kOther };
enum class WithConfig : std::uint8_t { kApplies, kIgnored };
enum class FlagUse : std::uint8_t { kHonoured, kDeprecated, kNoEffect };

struct FlagSpec {
  FlagGroup group = FlagGroup::kProxy;
  WithConfig with_config = WithConfig::kIgnored;
  FlagUse use = FlagUse::kHonoured;
  std::string_view name;
  std::string_view value_name;  // empty: a boolean, which may be given without "=true"
  std::string_view default_text;
  std::string_view help;
  Result<> (*set)(Flags& flags, std::string_view text) = nullptr;
  // The value as Go's pflag prints it, "[a,b]" or "15m0s"; nothing if it still is the default. Absent for flags
  // whose value is not stored: then it is the given text.
  std::optional<std::string> (*show)(Flags& flags) = nullptr;
  std::string_view reason = {};  // why it is deprecated or without effect
};

// By group, then by name.
std::span<const FlagSpec> flag_table();
// By its name with dashes.
const FlagSpec* find_flag(std::string_view name);

}  // namespace sluice::config
