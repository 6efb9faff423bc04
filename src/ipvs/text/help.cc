// SPDX-License-Identifier: Apache-2.0
// The help, made from the table of options so that it cannot list an option that does not exist.
#include <fmt/format.h>

#include "ipvs/engine_choice.h"
#include "ipvs/text/messages.h"

namespace sluice::ipvs::text {
namespace {

std::string word_line(const Word& word) {
  std::string names = word.short_name != 0 ? fmt::format("-{}", word.short_name) : "  ";
  if (!word.long_name.empty()) names += fmt::format("{} --{}", word.short_name != 0 ? "," : " ", word.long_name);
  if (!word.argument_name.empty()) names += fmt::format(" {}", word.argument_name);
  return fmt::format("  {:<38} {}\n", names, word.help);
}

std::string section(bool commands) {
  std::string text;
  for (const Word& word : words()) {
    if (word.is_command == commands && !word.help.empty()) text += word_line(word);
  }
  return text;
}

}  // namespace

std::string version_text() {
  return "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";
}

std::string help_text(const std::string& program) {
  return version_text() + fmt::format(
                              "Shows and changes the table of IP virtual servers.\n\n"
                              "usage: {0} [--engine {3}|auto] COMMAND [OPTION...]\n"
                              "       {0}   (without a word: -L)\n\n"
                              "commands, of which exactly one comes first:\n{1}\n"
                              "options:\n{2}\n"
                              "--engine, before the command, says whose table is meant; SLUICE_IPVS_ENGINE in the "
                              "environment says the same.\n"
                              "auto, the default, takes the kernel's where there is one.\n",
                              program, section(true), section(false), built_in_engines("|"));
}

}  // namespace sluice::ipvs::text
