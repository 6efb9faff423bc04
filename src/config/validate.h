// SPDX-License-Identifier: Apache-2.0
// What a completed configuration must satisfy. Paths and texts are those of kube-proxy 1.36
// (pkg/proxy/apis/config/validation).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "config/config.h"

namespace sluice::config {

// "PATH: Invalid value: VALUE: TEXT" for each violated rule, in kube-proxy's order.
std::vector<std::string> config_problems(const ProxyConfig& config);
// Only the rules of the logging block, each path starting with `prefix` ("" or "KubeProxyConfiguration.logging.").
std::vector<std::string> logging_problems(const ProxyConfig& config, const std::string& prefix);
// All problems in one error, "[a, b]".
Result<> validate(const ProxyConfig& config);

}  // namespace sluice::config
