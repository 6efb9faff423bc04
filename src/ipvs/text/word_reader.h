// SPDX-License-Identifier: Apache-2.0
// Splits a command line into options and their arguments, like the popt library in ipvsadm: scripts have come to
// rely on which spellings work and which do not.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ipvs/text/options.h"

namespace sluice::ipvs::text {

class WordReader {
 public:
  // `arguments` without the program's name; it must outlive the reader.
  explicit WordReader(const std::vector<std::string>& arguments) : arguments_(arguments) {}

  struct Event {
    enum class Kind : unsigned char { kOption, kError, kEnd } kind = Kind::kEnd;
    const Word* word = nullptr;           // of kOption
    std::optional<std::string> argument;  // of kOption; a word with Argument::kOptional may have none
    std::string_view problem;             // of kError: "unknown option"
  };
  Event next();

  // The last word read from the command line, for messages; for a group of short options the whole group.
  [[nodiscard]] const std::string& last_word() const;
  // Words that are neither options nor their arguments, so far.
  [[nodiscard]] const std::vector<std::string>& leftovers() const { return leftovers_; }

 private:
  Event read_long(std::string_view text);
  Event read_short();
  Event with_argument(const Word& word, std::optional<std::string> attached);

  const std::vector<std::string>& arguments_;
  std::size_t next_ = 0;              // index of the word to read
  std::optional<std::string> group_;  // the rest of a group of short options
  bool options_ended_ = false;        // after --
  std::vector<std::string> leftovers_;
};

}  // namespace sluice::ipvs::text
