// SPDX-License-Identifier: Apache-2.0
// The programs ipvsadm, ipvsadm-save and ipvsadm-restore. The engine is opened before a word is read, so without one
// even --help fails: that is how scripts find out whether there is IPVS. Only --engine, which is ours, is looked at
// before, and only as the first word.
#include "ipvs/text/ipvsadm.h"

#include <fmt/format.h>

#include <array>
#include <cstdio>
#include <utility>

#include "ipvs/text/messages.h"
#include "ipvs/text/session.h"

namespace sluice::ipvs::text {
namespace {

constexpr int kUsage = 2;
constexpr std::string_view kEngineOption = "--engine";

void write_all(std::FILE* file, std::string_view text) {
  static_cast<void>(std::fwrite(text.data(), 1, text.size(), file));
}

std::optional<std::string> read_stdin_line() {
  std::string line;
  std::array<char, 4096> piece{};
  while (std::fgets(piece.data(), static_cast<int>(piece.size()), stdin) != nullptr) {
    line += piece.data();
    if (line.ends_with('\n')) {
      line.pop_back();
      return line;
    }
  }
  if (line.empty()) return std::nullopt;
  return line;
}

// Takes a leading --engine out of the arguments. The message why not, where it lacks its value.
std::optional<std::string> take_engine(Invocation& invocation) {
  std::vector<std::string>& words = invocation.arguments;
  if (words.empty() || !words.front().starts_with(kEngineOption)) return std::nullopt;
  const std::string rest = words.front().substr(kEngineOption.size());
  if (rest.starts_with('=')) {
    invocation.engine = rest.substr(1);
    words.erase(words.begin());
  } else if (rest.empty()) {
    if (words.size() < 2) return "--engine: missing argument";
    invocation.engine = words[1];
    words.erase(words.begin(), words.begin() + 2);
  }
  return std::nullopt;
}

// Opens the engine and hands it over; the status is that of `use`, or of what went wrong before.
int with_engine(Invocation invocation, const OpenEngine& open_engine, const Console& console,
                const std::function<int(const Invocation&, Engine&)>& use) {
  if (const auto problem = take_engine(invocation)) {
    console.err(*problem + '\n');
    return kUsage;
  }
  auto engine = open_engine(invocation.engine);
  if (!engine) {
    const bool choice = engine.error().sys_errno == 0;
    console.err((choice ? engine.error().what : opening_message(engine.error())) + '\n');
    return kUsage;
  }
  return use(invocation, **engine);
}

}  // namespace

Console standard_console() {
  return {[](std::string_view text) { write_all(stdout, text); },
          [](std::string_view text) { write_all(stderr, text); }, [] { return read_stdin_line(); }};
}

int run_ipvsadm(const Invocation& invocation, const OpenEngine& open_engine, Names& names, const Console& console) {
  return with_engine(invocation, open_engine, console, [&](const Invocation& rest, Engine& engine) {
    return Session(rest.program, engine, names, console).run(rest.arguments);
  });
}

// Looks at its options before anything else, and past words that are none.
int run_ipvsadm_save(const Invocation& invocation, const OpenEngine& open_engine, Names& names,
                     const Console& console) {
  Invocation rest = invocation;
  if (const auto problem = take_engine(rest)) {
    console.err(*problem + '\n');
    return kUsage;
  }
  std::vector<std::string> words{"-S"};
  for (const std::string& word : rest.arguments) {
    if (word == "-n") {
      words.assign({"-S", "-n"});
    } else if (word.starts_with('-')) {
      console.err(
          "ipvsadm-save: Script to save the IPVS table to stdout.\n"
          "   With the -n option, prints out the table in numeric format.\n");
      return 1;
    }
  }
  return with_engine(invocation, open_engine, console, [&](const Invocation&, Engine& engine) {
    return Session("ipvsadm", engine, names, console).run(words);
  });
}

// All of the input is read before the table is cleared: "ipvsadm-save | ipvsadm-restore" must not save an empty table.
int run_ipvsadm_restore(const Invocation& invocation, const OpenEngine& open_engine, Names& names,
                        const Console& console) {
  return with_engine(invocation, open_engine, console, [&](const Invocation&, Engine& engine) {
    std::vector<std::string> lines;
    while (auto line = console.read_line()) {
      if (!line->starts_with('#')) lines.push_back(*std::move(line));
    }
    std::size_t next = 0;
    Console replay = console;
    replay.read_line = [&]() -> std::optional<std::string> {
      if (next == lines.size()) return std::nullopt;
      return lines[next++];
    };
    const std::string program = "ipvsadm";
    if (const int status = Session(program, engine, names, replay).run({"-C"}); status != 0) return status;
    return Session(program, engine, names, replay).restore();
  });
}

}  // namespace sluice::ipvs::text
