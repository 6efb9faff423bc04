// SPDX-License-Identifier: Apache-2.0
// The command line of `sluice proxy`: kube-proxy's flags and configuration file, completed and validated.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace sluice::config {

// The version whose flags, configuration and behaviour we follow.
inline constexpr std::string_view kKubernetesVersion = "v1.36.2";
inline constexpr std::string_view kKubernetesMinorVersion = "1.36";

// A line for the log, held back until the log is configured: message, and one key with its value (both empty = none).
struct Notice {
  std::string message;
  std::string key;
  std::string value;
  friend bool operator==(const Notice&, const Notice&) = default;
};

struct CommandLine {
  ProxyConfig config;  // completed: defaults, flags, platform defaults; valid
  SluiceConfig sluice;
  std::string config_path;  // empty = none; the file to watch
  bool mode_named = false;  // by the file or a flag; otherwise iptables is the default
  std::string master;
  // What to do instead of serving, in order of precedence. The texts to print are help_text() and version_text().
  bool show_help = false;
  bool show_version = false;  // config and sluice are then defaults
  std::string version_form;   // "true", "raw"
  std::string write_config_to;
  bool cleanup = false;
  bool init_only = false;
  std::vector<Notice> notices;
  // The flags of kube-proxy 1.36 and ours, each with its value as kube-proxy prints it; for /flagz. Empty beside
  // show_help and show_version.
  std::map<std::string, std::string> flag_values;
};

// Turns arguments into a configuration that can be run: parse flags, read the file, default, override, check. Reads the
// configuration file and nothing else. Errors carry kube-proxy's prefixes: "failed complete: ", "initialize logging: ",
// "failed validate: "; faults of the command line itself have none.
Result<CommandLine> complete(const std::vector<std::string>& arguments);

// "json" or "text": the form of the log that these arguments request, by their flag or, where that is absent, by their
// file. For arguments that complete() refuses: what is wrong with them is printed in that form.
std::string_view log_format_wanted(const std::vector<std::string>& arguments);

std::string help_text();
// "sluice 0.1.0" and a newline; form "raw" adds the Kubernetes version whose configuration is accepted.
std::string version_text(const std::string& form);

}  // namespace sluice::config
