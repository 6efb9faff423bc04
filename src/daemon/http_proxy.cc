// SPDX-License-Identifier: Apache-2.0
// Facts: golang.org/x/net/http/httpproxy. The upper-case variable wins over the lower-case one; this host itself is never
// reached through a proxy; NO_PROXY lists names ("example.com" and all below, ".example.com" only those below),
// addresses, CIDRs and "*", each name or address optionally with a port.
#include "daemon/http_proxy.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <string_view>

#include "base/ip.h"
#include "config/scalar.h"

namespace sluice::daemon {
namespace {

std::string lower_and_trimmed(std::string_view text) {
  const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

// One entry of NO_PROXY, in lower case. If it names a port, that must be the destination's.
bool matches(std::string_view entry, const std::string& host, std::uint16_t port) {
  if (entry == "*") return true;
  const auto address = IpAddress::parse(host);
  if (const auto cidr = Cidr::parse(entry)) return address && cidr->contains(*address);
  if (const auto whole = IpAddress::parse(entry)) return address && *whole == *address;
  const auto parts = config::split_host_port(entry);
  if (parts && std::to_string(port) != parts->port) return false;
  std::string_view name = parts ? std::string_view(parts->host) : entry;
  if (const auto named = IpAddress::parse(name)) return address && *named == *address;
  if (name.starts_with("*.")) name.remove_prefix(1);
  if (name.empty() || address) return false;
  if (name.front() == '.') return host.ends_with(name);
  return host == name || host.ends_with("." + std::string(name));
}

bool is_excepted(std::string_view no_proxy, const std::string& host, std::uint16_t port) {
  while (!no_proxy.empty()) {
    const std::string_view entry = no_proxy.substr(0, no_proxy.find(','));
    no_proxy.remove_prefix(std::min(no_proxy.size(), entry.size() + 1));
    const std::string word = lower_and_trimmed(entry);
    if (!word.empty() && matches(word, host, port)) return true;
  }
  return false;
}

}  // namespace

std::string obeyed_proxy_variable(const Destination& destination,
                                  const std::function<std::string(const char*)>& value_of) {
  const auto first_set = [&value_of](const char* upper, const char* lower) {
    return !value_of(upper).empty() ? upper : lower;
  };
  const char* variable =
      destination.tls ? first_set("HTTPS_PROXY", "https_proxy") : first_set("HTTP_PROXY", "http_proxy");
  if (value_of(variable).empty()) return "";
  const std::string host = lower_and_trimmed(destination.host);
  const auto address = IpAddress::parse(host);
  if (host == "localhost" || (address && address->is_loopback())) return "";
  return is_excepted(value_of(first_set("NO_PROXY", "no_proxy")), host, destination.port) ? "" : variable;
}

}  // namespace sluice::daemon
