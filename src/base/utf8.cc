// SPDX-License-Identifier: Apache-2.0
#include "base/utf8.h"

#include <array>
#include <utility>

namespace sluice {

Rune first_rune(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const Rune no_utf8{byte(0), 1, false};
  if (byte(0) < 0x80) return {byte(0), 1, true};
  const std::size_t bytes = byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : 2;
  if (byte(0) < 0xc2 || byte(0) > 0xf4 || text.size() < bytes) return no_utf8;
  char32_t value = byte(0) & (0x7fU >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0U) != 0x80U) return no_utf8;
    value = value << 6U | (byte(i) & 0x3fU);
  }
  constexpr std::array<char32_t, 5> kLeast{0, 0, 0x80, 0x800, 0x10000};
  const bool surrogate = value >= 0xd800 && value <= 0xdfff;
  if (value < kLeast[bytes] || surrogate || value > 0x10ffff) return no_utf8;
  return {value, bytes, true};
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    const Rune rune = first_rune(text);
    if (!rune.valid) return false;
    text.remove_prefix(rune.bytes);
  }
  return true;
}

bool is_control(char32_t rune) {
  // The last three: direction marks and embeddings with the separators; isolates; the byte order mark.
  constexpr std::array<std::pair<char32_t, char32_t>, 6> kRanges{
      {{0x00, 0x1f}, {0x7f, 0x9f}, {0x200b, 0x200f}, {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}}};
  for (const auto& [first, last] : kRanges) {
    if (rune >= first && rune <= last) return true;
  }
  return false;
}

std::string_view at_most(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0U) == 0x80U) --bytes;
  return text.substr(0, bytes);
}

}  // namespace sluice
