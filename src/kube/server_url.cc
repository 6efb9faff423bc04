// SPDX-License-Identifier: Apache-2.0
// The rules are client-go's (rest.DefaultServerURL over Go's net/url): text that does not parse as a URL with scheme
// and host gets a scheme prefixed, and may then have no path.
#include "kube/server_url.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace sluice::kube {
namespace {

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool is_host_character(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte > ' ' && byte != 0x7f && std::string_view("<>\"{}|\\^`").find(c) == std::string_view::npos;
}

// "[::1]:6443", "host:6443", "host".
Result<> take_authority(std::string_view authority, std::string_view url, const std::string& field, ServerUrl& out) {
  std::string_view port;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos)
      return fail(Errc::kInvalid, fmt::format("{}: '{}' has no closing bracket", field, url));
    out.host = authority.substr(1, close - 1);
    const std::string_view rest = authority.substr(close + 1);
    if (!rest.empty() && rest.front() != ':')
      return fail(Errc::kInvalid, fmt::format("{}: '{}' has no valid port", field, url));
    if (!rest.empty()) port = rest.substr(1);
    // The percent sign before a zone is itself escaped in a URL (RFC 6874).
    if (const std::size_t zone = out.host.find("%25"); zone != std::string::npos) out.host.replace(zone, 3, "%");
  } else {
    const std::size_t colon = authority.find(':');
    out.host = authority.substr(0, colon);
    if (colon != std::string_view::npos) port = authority.substr(colon + 1);
  }
  if (out.host.empty()) return fail(Errc::kInvalid, fmt::format("{}: '{}' names no host", field, url));
  if (!std::all_of(out.host.begin(), out.host.end(), is_host_character))
    return fail(Errc::kInvalid, fmt::format("{}: '{}' is not a host", field, out.host));
  out.port = out.tls ? 443 : 80;
  if (!port.empty()) {
    const char* const end = port.data() + port.size();
    const auto parsed = std::from_chars(port.data(), end, out.port);
    if (parsed.ec != std::errc() || parsed.ptr != end || out.port == 0)
      return fail(Errc::kInvalid, fmt::format("{}: '{}' has no valid port: 1 to 65535", field, url));
  }
  return {};
}

}  // namespace

Result<ServerUrl> parse_server_url(std::string_view text, bool default_tls, const std::string& field) {
  ServerUrl url;
  std::string_view rest = text;
  const std::size_t mark = rest.find("://");
  const bool has_scheme = mark != std::string_view::npos && mark < rest.find_first_of("/?#@");
  url.tls = default_tls;
  if (has_scheme || rest.find("://") == 0) {
    const std::string scheme = lower_case(rest.substr(0, mark));
    if (scheme != "http" && scheme != "https")
      return fail(Errc::kInvalid, fmt::format("{}: '{}' is neither an http nor an https URL", field, scheme));
    url.tls = scheme == "https";
    rest.remove_prefix(mark + 3);
  }
  const std::size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  const std::string_view authority = rest.substr(0, end);
  if (authority.find('@') != std::string_view::npos) {
    return fail(Errc::kUnsupported,
                fmt::format("{}: a user name or password in the URL is not supported; a token, tokenFile or client "
                            "certificate is",
                            field));
  }
  SLUICE_CHECK_OK(take_authority(authority, text, field, url));
  std::string_view path = rest.substr(end);
  path = path.substr(0, path.find_first_of("?#"));
  if (!std::all_of(path.begin(), path.end(), is_host_character))
    return fail(Errc::kInvalid, fmt::format("{}: '{}' holds white space or control characters", field, text));
  if (!has_scheme && !path.empty() && path != "/")
    return fail(Errc::kInvalid, fmt::format("{}: '{}' must be a URL or a host:port pair", field, text));
  url.path = path;
  while (!url.path.empty() && url.path.back() == '/') url.path.pop_back();
  return url;
}

}  // namespace sluice::kube
