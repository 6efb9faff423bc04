// SPDX-License-Identifier: Apache-2.0
// Reads the configuration file: a KubeProxyConfiguration, and optionally a SluiceConfiguration, as documents of one
// YAML or JSON text, in any order.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "config/config.h"

namespace sluice::config {

struct ConfigFile {
  ProxyConfig proxy;  // as written: defaults are not applied yet
  SluiceConfig sluice;
  // What strict decoding of the KubeProxyConfiguration refuses: unknown and repeated fields with their lines. Empty =
  // nothing. kube-proxy logs them and continues without them; unknown fields of a SluiceConfiguration are errors.
  std::string strict_problems;
};

// Errors name the field and its line.
Result<ConfigFile> parse_config_text(const std::string& text);
// A ConfigMap has at most 1 MiB.
inline constexpr std::size_t kConfigFileBytesMax = 4U << 20U;
// The same from a file of at most kConfigFileBytesMax.
Result<ConfigFile> load_config_file(const std::string& path);

}  // namespace sluice::config
