// SPDX-License-Identifier: Apache-2.0
// Characters of texts from outside, which may contain anything: files, other programs' messages, the API server's.
#pragma once

#include <cstddef>
#include <string_view>

namespace sluice {

struct Rune {
  char32_t value = 0;     // for a byte that is not UTF-8: the byte
  std::size_t bytes = 1;  // its length in the text
  bool valid = true;
};

// The first character of a text that is not empty. By RFC 3629: no overlong forms, no surrogates, nothing above
// U+10FFFF; invalid UTF-8 yields one byte.
Rune first_rune(std::string_view text);

bool is_utf8(std::string_view text);

// Characters that a terminal or a reader of lines may interpret: control characters (C0, DEL, C1), line and paragraph
// separators, and the invisible ones that change the direction of the following text.
bool is_control(char32_t rune);

// The beginning of the text, at most `bytes` long, not cut within a character.
std::string_view at_most(std::string_view text, std::size_t bytes);

}  // namespace sluice
