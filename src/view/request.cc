// SPDX-License-Identifier: Apache-2.0
#include "view/request.h"

#include <fmt/format.h>

#include <charconv>

namespace sluice::view {
namespace {

constexpr std::string_view kProtocol = "sluice/1";
constexpr std::string_view kOk = "ok";
constexpr std::string_view kRefused = "refused";

bool stands_for_itself(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
         std::string_view("-._~/:[],").find(c) != std::string_view::npos;
}

// RFC 3986's percent-encoding, so that no value can end the line or begin another parameter.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (stands_for_itself(c)) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

Result<std::string> unescaped(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    unsigned value = 0;
    const std::string_view digits = text.substr(i + 1, 2);
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 2 || parsed.ec != std::errc() || parsed.ptr != digits.data() + 2)
      return fail(Errc::kInvalid, fmt::format("'{}' is not percent-encoded", text));
    out += static_cast<char>(value);
    i += 2;
  }
  return out;
}

// Takes the text before `end` and removes both; all if there is no `end`.
std::string_view take_until(std::string_view& text, char end) {
  const std::size_t at = text.find(end);
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(at == std::string_view::npos ? text.size() : at + 1);
  return taken;
}

}  // namespace

std::string encode(const Request& request) {
  std::string line = fmt::format("{} {}", kProtocol, escaped(request.path));
  char sign = '?';
  for (const auto& [name, value] : request.parameters) {
    line += fmt::format("{}{}={}", sign, escaped(name), escaped(value));
    sign = '&';
  }
  return line;
}

Result<Request> decode_request(std::string_view line) {
  const std::string_view protocol = take_until(line, ' ');
  if (protocol != kProtocol) {
    return fail(Errc::kUnsupported,
                fmt::format("the proxy that runs is version {} and speaks {}, which the calling program does not; use "
                            "the program of the proxy's version, or restart the proxy with the new one",
                            SLUICE_VERSION, kProtocol));
  }
  Request request;
  SLUICE_TRY(request.path, unescaped(take_until(line, '?')));
  if (!request.path.starts_with('/')) return fail(Errc::kInvalid, fmt::format("'{}' is not a path", request.path));
  while (!line.empty()) {
    std::string_view pair = take_until(line, '&');
    SLUICE_TRY(std::string name, unescaped(take_until(pair, '=')));
    SLUICE_TRY(std::string value, unescaped(pair));
    if (!request.parameters.emplace(name, std::move(value)).second)
      return fail(Errc::kInvalid, fmt::format("parameter '{}' is given twice", name));
  }
  return request;
}

std::string encode(const Response& response) {
  return fmt::format("{} {} {} {}\n{}", kProtocol, response.refused ? kRefused : kOk, response.exit_status,
                     SLUICE_VERSION, response.body);
}

Result<Response> decode_response(std::string_view text) {
  std::string_view line = take_until(text, '\n');
  const std::string_view protocol = take_until(line, ' ');
  const std::string_view outcome = take_until(line, ' ');
  const std::string_view exit_status = take_until(line, ' ');
  if (protocol != kProtocol) {
    const bool named = protocol.starts_with("sluice/") && !line.empty();
    return fail(Errc::kUnsupported,
                fmt::format("the proxy that runs{} does not speak {} as this program, version {}, does; restart the "
                            "proxy, or use the program of its version",
                            named ? fmt::format(", version {},", line) : "", kProtocol, SLUICE_VERSION));
  }
  if ((outcome != kOk && outcome != kRefused) || exit_status.size() != 1 || exit_status[0] < '0' ||
      exit_status[0] > '9')
    return fail(Errc::kInvalid, "the proxy's response cannot be read, or it was cut off");
  return Response{outcome == kRefused, exit_status[0] - '0', std::string(text)};
}

}  // namespace sluice::view
