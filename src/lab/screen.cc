// SPDX-License-Identifier: Apache-2.0
// Every line is flushed at once, so that a reader of a pipe sees the steps as they happen.
#include "lab/screen.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

namespace sluice::lab {
namespace {

constexpr const char* kBold = "1";
constexpr const char* kDim = "2";
constexpr const char* kGreen = "32";
constexpr const char* kRed = "31;1";
constexpr std::size_t kAskedWidth = 64;

bool wants_colours(std::FILE* out) {
  return ::isatty(::fileno(out)) == 1 && std::getenv("NO_COLOR") == nullptr;
}

void write_line(std::FILE* out, std::string_view text) {
  fmt::print(out, "{}\n", text);
  std::fflush(out);
}

}  // namespace

Screen::Screen(std::FILE* out) : out_(out), colours_(wants_colours(out)) {}

std::string Screen::painted(std::string_view text, const char* code) const {
  return colours_ ? fmt::format("\x1b[{}m{}\x1b[0m", code, text) : std::string(text);
}

void Screen::title(std::string_view text) {
  write_line(out_, painted(text, kBold));
  write_line(out_, std::string(text.size(), '='));
}

void Screen::step(std::string_view text) {
  const std::string line = fmt::format("Step {}. {}", ++steps_, text);
  write_line(out_, "\n" + painted(line, kBold));
  write_line(out_, std::string(line.size(), '-'));
}

void Screen::heading(std::string_view text) {
  write_line(out_, fmt::format("\n  {}", painted(text, kBold)));
}

void Screen::note(std::string_view text) {
  write_line(out_, text.empty() ? std::string() : fmt::format("  {}", text));
}

void Screen::quote(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    write_line(out_, fmt::format("    {}", painted(text.substr(0, end), kDim)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void Screen::table(const std::vector<std::vector<std::string>>& rows) {
  fmt::print(out_, "{}", format_table(rows, "  "));
  std::fflush(out_);
}

void Screen::check(bool holds, std::string_view asked, std::string_view found, std::string_view wanted) {
  ++checks_;
  const std::string mark = holds ? painted("✓", kGreen) : painted("✗", kRed);
  write_line(out_, fmt::format("  {} {:<{}} {}", mark, asked, kAskedWidth, found));
  if (holds) return;
  ++failures_;
  write_line(out_, painted(fmt::format("    wanted: {}", wanted), kRed));
}

std::string format_table(const std::vector<std::vector<std::string>>& rows, std::string_view indent) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line(indent);
    for (std::size_t i = 0; i < row.size(); ++i) line += fmt::format("{:<{}}", row[i], widths[i] + 2);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace sluice::lab
