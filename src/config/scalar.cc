// SPDX-License-Identifier: Apache-2.0
// Kubernetes is written in Go, and its configuration uses Go's notations: "1h2m3s" is a time.Duration, "0x1F" a number,
// "T" a boolean. A drop-in must read and print exactly these notations: an operator compares our --write-config-to with
// kube-proxy's by diff(1). Grammar and error texts follow the Go packages time, strconv and net.
#include "config/scalar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

namespace sluice::config {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

// Nanoseconds in one unit; 0 if it is not a unit. Both signs for "micro" (U+00B5 and U+03BC) are in use.
std::uint64_t unit_of(std::string_view name) {
  if (name == "ns") return 1;
  if (one_of(name, {"us", "\u00b5s", "\u03bcs"})) return 1'000;
  if (name == "ms") return 1'000'000;
  if (name == "s") return 1'000'000'000;
  if (name == "m") return 60ULL * 1'000'000'000;
  if (name == "h") return 3600ULL * 1'000'000'000;
  return 0;
}

constexpr std::uint64_t kMaxMagnitude = std::uint64_t{1} << 63U;

// Takes the digits at the front of `text`; nothing when they exceed 63 bits.
std::optional<std::uint64_t> take_integer(std::string_view& text) {
  std::uint64_t value = 0;
  while (!text.empty() && is_digit(text.front())) {
    if (value > kMaxMagnitude / 10) return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(text.front() - '0');
    if (value > kMaxMagnitude) return std::nullopt;
    text.remove_prefix(1);
  }
  return value;
}

struct Fraction {
  std::uint64_t digits = 0;
  double scale = 1;
};

// Takes the digits after a point. Digits that no longer fit in 63 bits are below a nanosecond and are dropped.
Fraction take_fraction(std::string_view& text) {
  Fraction fraction;
  bool full = false;
  while (!text.empty() && is_digit(text.front())) {
    const auto digit = static_cast<std::uint64_t>(text.front() - '0');
    text.remove_prefix(1);
    full = full || fraction.digits > (kMaxMagnitude - 1 - digit) / 10;
    if (full) continue;
    fraction.digits = fraction.digits * 10 + digit;
    fraction.scale *= 10;
  }
  return fraction;
}

// Takes one "12.5m" at the front of `rest`, in nanoseconds. `whole` is only for the error's text.
Result<std::uint64_t> take_term(std::string_view& rest, std::string_view whole) {
  const auto invalid = [whole] {
    return fail(Errc::kInvalid, fmt::format("time: invalid duration {}", quoted(whole)));
  };
  const std::size_t before = rest.size();
  const std::optional<std::uint64_t> integer = take_integer(rest);
  if (!integer) return invalid();
  bool any = rest.size() != before;
  Fraction fraction;
  if (!rest.empty() && rest.front() == '.') {
    rest.remove_prefix(1);
    const std::size_t at_point = rest.size();
    fraction = take_fraction(rest);
    any = any || rest.size() != at_point;
  }
  if (!any) return invalid();
  std::size_t length = 0;
  while (length < rest.size() && rest[length] != '.' && !is_digit(rest[length])) ++length;
  if (length == 0) return fail(Errc::kInvalid, fmt::format("time: missing unit in duration {}", quoted(whole)));
  const std::string_view name = rest.substr(0, length);
  rest.remove_prefix(length);
  const std::uint64_t unit = unit_of(name);
  if (unit == 0) {
    return fail(Errc::kInvalid, fmt::format("time: unknown unit {} in duration {}", quoted(name), quoted(whole)));
  }
  if (*integer > kMaxMagnitude / unit) return invalid();
  const std::uint64_t value =
      *integer * unit +
      static_cast<std::uint64_t>(static_cast<double>(fraction.digits) * (static_cast<double>(unit) / fraction.scale));
  if (value > kMaxMagnitude) return invalid();
  return value;
}

// `value` divided by 10^digits, without trailing zeros: (1500, 3) is "1.5".
std::string decimal(std::uint64_t value, unsigned digits) {
  std::uint64_t scale = 1;
  for (unsigned i = 0; i < digits; ++i) scale *= 10;
  std::string text = std::to_string(value / scale);
  if (value % scale == 0) return text;
  std::string fraction = fmt::format("{:0{}}", value % scale, digits);
  fraction.erase(fraction.find_last_not_of('0') + 1);
  return text + "." + fraction;
}

}  // namespace

Result<Duration> parse_duration(std::string_view text) {
  const auto invalid = [text] { return fail(Errc::kInvalid, fmt::format("time: invalid duration {}", quoted(text))); };
  std::string_view rest = text;
  const bool negative = !rest.empty() && rest.front() == '-';
  if (!rest.empty() && (rest.front() == '-' || rest.front() == '+')) rest.remove_prefix(1);
  if (rest == "0") return Duration(0);
  if (rest.empty()) return invalid();
  std::uint64_t total = 0;
  while (!rest.empty()) {
    SLUICE_TRY(const std::uint64_t term, take_term(rest, text));
    total += term;  // each is at most 2^63, so that the sum wraps at most once, and then to less than `term`
    if (total > kMaxMagnitude || total < term) return invalid();
  }
  if (negative) return Duration(static_cast<std::int64_t>(0 - total));
  if (total == kMaxMagnitude) return invalid();
  return Duration(static_cast<std::int64_t>(total));
}

std::string format_duration(Duration duration) {
  const std::int64_t count = duration.count();
  if (count == 0) return "0s";
  const std::uint64_t ns = count < 0 ? 0 - static_cast<std::uint64_t>(count) : static_cast<std::uint64_t>(count);
  const std::string sign = count < 0 ? "-" : "";
  if (ns < 1'000) return sign + std::to_string(ns) + "ns";
  if (ns < 1'000'000) return sign + decimal(ns, 3) + "\u00b5s";
  if (ns < 1'000'000'000) return sign + decimal(ns, 6) + "ms";
  const std::uint64_t minutes = ns / 60'000'000'000;
  const std::string seconds = decimal(ns % 60'000'000'000, 9) + "s";
  if (minutes == 0) return sign + seconds;
  if (minutes < 60) return fmt::format("{}{}m{}", sign, minutes, seconds);
  return fmt::format("{}{}h{}m{}", sign, minutes / 60, minutes % 60, seconds);
}

std::optional<std::int64_t> parse_integer(std::string_view text) {
  const bool negative = !text.empty() && text.front() == '-';
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text.front() == '0') {
    const char letter = static_cast<char>(std::tolower(static_cast<unsigned char>(text[1])));
    base = letter == 'x' ? 16 : letter == 'b' ? 2 : 8;
    text.remove_prefix(letter == 'x' || letter == 'b' || letter == 'o' ? 2 : 1);
  }
  std::string digits(text);
  if (base != 10) std::erase(digits, '_');
  std::uint64_t magnitude = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, magnitude, base);
  if (digits.empty() || error != std::errc() || stop != end) return std::nullopt;
  if (magnitude > kMaxMagnitude - (negative ? 0 : 1)) return std::nullopt;
  return static_cast<std::int64_t>(negative ? 0 - magnitude : magnitude);
}

std::optional<double> parse_number(std::string_view text) {
  if (!text.empty() && text.front() == '+') text.remove_prefix(1);
  // from_chars would also take "inf", "nan" and letters of hexadecimal numbers.
  if (text.find_first_not_of("0123456789+-.eE") != std::string_view::npos) return std::nullopt;
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size() || !std::isfinite(value)) return std::nullopt;
  return value;
}

std::optional<bool> parse_bool(std::string_view text) {
  if (one_of(text, {"1", "t", "T", "TRUE", "true", "True"})) return true;
  if (one_of(text, {"0", "f", "F", "FALSE", "false", "False"})) return false;
  return std::nullopt;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (byte < 0x20 || byte == 0x7f) {
      out += fmt::format("\\u{:04x}", byte);
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string_view trimmed(std::string_view text) {
  const auto space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
  while (!text.empty() && space(text.front())) text.remove_prefix(1);
  while (!text.empty() && space(text.back())) text.remove_suffix(1);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  for (char& c : out) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return out;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(separator, at), text.size());
    parts.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

std::string aggregate(const std::vector<std::string>& messages) {
  std::vector<std::string> distinct;
  for (const std::string& message : messages) {
    if (std::find(distinct.begin(), distinct.end(), message) == distinct.end()) distinct.push_back(message);
  }
  if (distinct.size() == 1) return distinct.front();
  return fmt::format("[{}]", fmt::join(distinct, ", "));
}

std::optional<HostPort> split_host_port(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const std::string_view port = text.substr(colon + 1);
  if (!host.empty() && host.front() == '[') {
    if (host.back() != ']' || host.size() < 2) return std::nullopt;
    host = host.substr(1, host.size() - 2);
  } else if (host.find(':') != std::string_view::npos) {
    return std::nullopt;  // Go: too many colons in address
  }
  if (host.find_first_of("[]") != std::string_view::npos || port.find_first_of("[]") != std::string_view::npos) {
    return std::nullopt;
  }
  return HostPort{std::string(host), std::string(port)};
}

std::string append_port_if_needed(const std::string& address, int port) {
  if (split_host_port(address)) return address;
  const std::optional<IpAddress> ip = IpAddress::parse(address);
  if (!ip) return address;
  return ip->family() == Family::kIPv4 ? fmt::format("{}:{}", address, port) : fmt::format("[{}]:{}", address, port);
}

std::optional<ListenAddress> parse_listen_address(std::string_view text) {
  const std::optional<HostPort> parts = split_host_port(text);
  if (!parts) return std::nullopt;
  const std::optional<IpAddress> address = IpAddress::parse(parts->host);
  std::uint16_t port = 0;
  const char* end = parts->port.data() + parts->port.size();
  const auto [stop, error] = std::from_chars(parts->port.data(), end, port);
  if (!address || error != std::errc() || stop != end || port == 0) return std::nullopt;
  return ListenAddress{*address, port};
}

}  // namespace sluice::config
