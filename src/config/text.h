// SPDX-License-Identifier: Apache-2.0
// Prints a configuration as kube-proxy does: YAML for --write-config-to, JSON for /configz.
#pragma once

#include <string>

#include "base/result.h"
#include "config/config.h"

namespace sluice::config {

// Block style, keys in alphabetical order, durations in Go's notation; ends with a newline. Byte for byte what
// kube-proxy writes as long as no text has characters outside of plain YAML scalars.
std::string config_yaml(const ProxyConfig& config);
// The v1alpha1 object with kind and apiVersion, without white space.
std::string configz_json(const ProxyConfig& config);
Result<> write_config(const ProxyConfig& config, const std::string& path);

}  // namespace sluice::config
