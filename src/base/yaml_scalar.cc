// SPDX-License-Identifier: Apache-2.0
// go-yaml looks at the first character: only a digit, a sign or a point may begin a number, so `_1` is a text although
// underscores within numbers are ignored. Then it tries Go's strconv: ParseInt with base 0, ParseUint, and ParseFloat
// for what matches YAML's number syntax, which excludes Go's own 0x1p-2 and Inf. A number that only begins with 0 is
// octal if it can be (017 is 15), decimal if not (08 is 8.0, a float).
#include "base/yaml_scalar.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>

namespace sluice {
namespace {

constexpr std::string_view kDigits = "0123456789";
constexpr double kExactMax = 9007199254740992.0;
constexpr std::uint64_t kNegativeMax = std::uint64_t{1} << 63U;

bool one_of(std::string_view text, std::initializer_list<std::string_view> words) {
  return std::find(words.begin(), words.end(), text) != words.end();
}

PlainScalar truth(bool value) {
  PlainScalar scalar;
  scalar.kind = ScalarKind::kBool;
  scalar.truth = value;
  return scalar;
}

PlainScalar number(double value) {
  PlainScalar scalar;
  scalar.kind = ScalarKind::kFloat;
  scalar.number = value;
  return scalar;
}

// The words with a fixed meaning.
std::optional<PlainScalar> word(std::string_view text) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  PlainScalar null;
  null.kind = ScalarKind::kNull;
  if (one_of(text, {"", "~", "null", "Null", "NULL"})) return null;
  if (one_of(text, {"y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"})) return truth(true);
  if (one_of(text, {"n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"})) return truth(false);
  if (one_of(text, {".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"})) return number(kInfinity);
  if (one_of(text, {"-.inf", "-.Inf", "-.INF"})) return number(-kInfinity);
  if (one_of(text, {".nan", ".NaN", ".NAN"})) return number(std::numeric_limits<double>::quiet_NaN());
  return std::nullopt;
}

// strconv.ParseInt(text, 0, 64), or else ParseUint, which accepts no sign.
std::optional<PlainScalar> whole_number(std::string_view text) {
  PlainScalar scalar;
  scalar.kind = ScalarKind::kInteger;
  const bool is_signed = text.front() == '-' || text.front() == '+';
  scalar.negative = text.front() == '-';
  if (is_signed) text.remove_prefix(1);
  int base = 10;
  if (text.size() > 1 && text.front() == '0') {
    const char letter = static_cast<char>(text[1] | 0x20);  // lower case, if it is a letter
    base = letter == 'x' ? 16 : letter == 'b' ? 2 : 8;
    text.remove_prefix(letter == 'x' || letter == 'b' || letter == 'o' ? 2 : 1);
  }
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, scalar.magnitude, base);
  if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
  if (is_signed && scalar.magnitude > kNegativeMax - (scalar.negative ? 0 : 1)) return std::nullopt;
  scalar.negative = scalar.negative && scalar.magnitude != 0;
  scalar.number = static_cast<double>(scalar.magnitude) * (scalar.negative ? -1 : 1);
  return scalar;
}

std::size_t digits_at(std::string_view text, std::size_t at) {
  return std::min(text.find_first_not_of(kDigits, at), text.size()) - at;
}

// [-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?
bool looks_like_number(std::string_view text) {
  std::size_t at = !text.empty() && (text.front() == '-' || text.front() == '+') ? 1 : 0;
  const std::size_t whole = digits_at(text, at);
  at += whole;
  std::size_t fraction = 0;
  if (at < text.size() && text[at] == '.') {
    fraction = digits_at(text, ++at);
    at += fraction;
  }
  if (whole == 0 && fraction == 0) return false;
  if (at == text.size()) return true;
  if (text[at] != 'e' && text[at] != 'E') return false;
  ++at;
  if (at < text.size() && (text[at] == '-' || text[at] == '+')) ++at;
  const std::size_t exponent = digits_at(text, at);
  return exponent > 0 && at + exponent == text.size();
}

std::optional<PlainScalar> other_number(std::string_view text) {
  if (!looks_like_number(text)) return std::nullopt;
  if (text.front() == '+') text.remove_prefix(1);
  double value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // Too large is an error to Go, too small is zero.
  const bool tiny = error == std::errc::result_out_of_range && text.find_first_of("eE") != std::string_view::npos &&
                    text.find('-', text.find_first_of("eE")) != std::string_view::npos;
  if (tiny) return number(0);
  if (error != std::errc() || !std::isfinite(value)) return std::nullopt;
  return number(value);
}

}  // namespace

PlainScalar resolve_plain(std::string_view text) {
  if (const auto known = word(text)) return *known;
  const bool begins_as_number = kDigits.find(text.front()) != std::string_view::npos ||
                                std::string_view("+-.").find(text.front()) != std::string_view::npos;
  if (!begins_as_number) return {};
  std::string digits(text);
  // In a text that begins with a point, go-yaml keeps underscores, so it is no number.
  if (text.front() != '.') std::erase(digits, '_');
  if (const auto whole = whole_number(digits)) return *whole;
  return other_number(digits).value_or(PlainScalar());
}

std::string PlainScalar::json() const {
  switch (kind) {
    case ScalarKind::kBool:
      return truth ? "true" : "false";
    case ScalarKind::kInteger:
      return fmt::format("{}{}", negative ? "-" : "", magnitude);
    case ScalarKind::kFloat:
      if (!std::isfinite(number)) return {};
      // 80.0 becomes 80, as in Go; values above 2^53 are written with an exponent, since readers of JSON
      // reject integers of more than 64 bits.
      if (number == std::floor(number) && std::abs(number) <= kExactMax) return fmt::format("{:.0f}", number + 0.0);
      return fmt::format("{}", number);
    case ScalarKind::kNull:
    case ScalarKind::kString:
      break;
  }
  return {};
}

}  // namespace sluice
