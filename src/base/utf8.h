// SPDX-License-Identifier: Apache-2.0
// Characters of texts that came from outside and may be anything: files, other programs' messages, the API server's.
#pragma once

#include <cstddef>
#include <string_view>

namespace sluice {

struct Rune {
  char32_t value = 0;     // of a byte that is no UTF-8: the byte
  std::size_t bytes = 1;  // how many of the text it takes
  bool valid = true;
};

// The first character of a text that is not empty. As RFC 3629 has it: no overlong forms, no surrogates, nothing above
// U+10FFFF; of what is not UTF-8 one byte is taken.
Rune first_rune(std::string_view text);

bool is_utf8(std::string_view text);

// What a terminal, or a reader of lines, may take for a command: control characters (C0, DEL, C1), line and paragraph
// separators, and the invisible ones that turn the direction of what follows.
bool is_control(char32_t rune);

// The beginning of the text, at most so many bytes, not cut within a character.
std::string_view at_most(std::string_view text, std::size_t bytes);

}  // namespace sluice
