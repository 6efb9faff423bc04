// SPDX-License-Identifier: Apache-2.0
// "https://[::1]:6443/prefix", "10.0.0.1:6443": how a kubeconfig and --master name an API server.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace sluice::kube {

struct ServerUrl {
  bool tls = true;
  std::string host;  // name or address, IPv6 without brackets
  std::uint16_t port = 443;
  std::string path;  // before the API's own, without a slash at its end
};

// If the text names no scheme `default_tls` decides. An error names the field and what is wrong; it does not repeat
// a URL that may contain a password.
Result<ServerUrl> parse_server_url(std::string_view text, bool default_tls, const std::string& field);

}  // namespace sluice::kube
