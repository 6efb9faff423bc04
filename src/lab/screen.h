// SPDX-License-Identifier: Apache-2.0
// Output for users: headings, aligned columns, ticks and crosses. Colours only on a terminal, and never with NO_COLOR
// set.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::lab {

class Screen {
 public:
  explicit Screen(std::FILE* out);

  void title(std::string_view text);
  void step(std::string_view text);     // a numbered heading
  void heading(std::string_view text);  // a small one, within a step
  void note(std::string_view text);     // empty: a line between
  void quote(std::string_view text);    // what another program said, line by line
  // Columns are as wide as their widest cell; the first row is the head.
  void table(const std::vector<std::vector<std::string>>& rows);
  // One expectation: what was checked on the left, the result on the right; `wanted` is shown if it does not
  // hold.
  void check(bool holds, std::string_view asked, std::string_view found, std::string_view wanted);

  [[nodiscard]] int checks() const { return checks_; }
  [[nodiscard]] int failures() const { return failures_; }

 private:
  [[nodiscard]] std::string painted(std::string_view text, const char* code) const;
  std::FILE* out_;
  bool colours_;
  int steps_ = 0;
  int checks_ = 0;
  int failures_ = 0;
};

// Cells of one row per line, for `sluice lab status` and the like.
std::string format_table(const std::vector<std::vector<std::string>>& rows, std::string_view indent);

}  // namespace sluice::lab
