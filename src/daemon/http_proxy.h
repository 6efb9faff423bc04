// SPDX-License-Identifier: Apache-2.0
// Whether a program in Go, such as kube-proxy, would go through an HTTP proxy of the environment to reach its API server.
// Ours connects directly, and logs it if that makes a difference.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace sluice::daemon {

struct Destination {
  bool tls = true;
  std::string host;  // a name, or an address without brackets
  std::uint16_t port = 0;
};

// The variable that would be obeyed: "HTTPS_PROXY"; empty if none would be. `value_of` is getenv, with "" for absent.
std::string obeyed_proxy_variable(const Destination& destination,
                                  const std::function<std::string(const char*)>& value_of);

}  // namespace sluice::daemon
