// SPDX-License-Identifier: Apache-2.0
// The programs ipvsadm, ipvsadm-save and ipvsadm-restore. The engine is opened before any argument is read, so without
// one even --help fails: that is how scripts find out whether there is IPVS. Only --engine, which is ours, is handled
// before, and only as the first argument.
#include "ipvs/text/ipvsadm.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <memory>
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

// Lines of standard input. Not stdio's: it does not report whether the next read would block.
class StandardInput {
 public:
  // A line ends at its newline, or with the input.
  std::optional<std::string> read_line() {
    std::size_t end = find_newline();
    while (end == std::string::npos && !ended_) {
      fill();
      end = find_newline();
    }
    if (end == std::string::npos && buffer_.size() == begin_) return std::nullopt;
    std::string line = buffer_.substr(begin_, end == std::string::npos ? end : end - begin_);
    begin_ = std::min(buffer_.size(), begin_ + line.size() + 1);
    return line;
  }

  bool line_ready() {
    pollfd input{STDIN_FILENO, POLLIN, 0};
    while (!ended_ && find_newline() == std::string::npos) {
      if (::poll(&input, 1, 0) == 0) return false;
      fill();
    }
    return true;
  }

 private:
  [[nodiscard]] std::size_t find_newline() const { return buffer_.find('\n', begin_); }

  void fill() {
    buffer_.erase(0, std::exchange(begin_, 0));
    const std::size_t had = buffer_.size();
    buffer_.resize(had + kPieceSize);
    ssize_t got = 0;
    do {
      got = ::read(STDIN_FILENO, buffer_.data() + had, kPieceSize);
    } while (got < 0 && errno == EINTR);
    ended_ = got <= 0;
    buffer_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  }

  static constexpr std::size_t kPieceSize = 64 * 1024;
  std::string buffer_;
  std::size_t begin_ = 0;  // of the unread part
  bool ended_ = false;
};

// Removes a leading --engine from the arguments. Returns a message if its value is missing.
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

Result<> has_info(Engine& engine) {
  SLUICE_CHECK_OK(engine.info());
  return {};
}

// Opens the engine and passes it on; the status is that of `use`, or of an earlier error. A missing IPVS
// is reported as often as the original's programs would. What the engine cannot do in this node is said at the end.
int with_engine(Invocation invocation, const OpenEngine& open_engine, const Console& console,
                const std::function<int(const Invocation&, Engine&)>& use, int programs = 1) {
  if (const auto problem = take_engine(invocation)) {
    console.err(*problem + '\n');
    return kUsage;
  }
  const auto choice = parse_engine_choice(invocation.engine);
  const Result<> there = choice ? check_built_in(*choice) : tl::unexpected(choice.error());
  if (!there) {
    console.err(there.error().what + '\n');
    return kUsage;
  }
  auto engine = open_engine(*choice);
  // As the original does: an engine may be open and have a table that it cannot show.
  const Result<> ready = engine ? has_info(**engine) : tl::unexpected(engine.error());
  if (!ready) {
    for (int i = 0; i < programs; ++i) console.err(opening_message(ready.error()) + '\n');
    return kUsage;
  }
  const int status = use(invocation, **engine);
  for (const std::string& complaint : (*engine)->take_complaints()) console.err(complaint + '\n');
  return status;
}

}  // namespace

Console standard_console() {
  const auto input = std::make_shared<StandardInput>();
  return {[](std::string_view text) { write_all(stdout, text); },
          [](std::string_view text) { write_all(stderr, text); }, [input] { return input->read_line(); },
          [input] { return input->line_ready(); }};
}

int run_ipvsadm(const Invocation& invocation, const OpenEngine& open_engine, Names& names, const Console& console) {
  return with_engine(invocation, open_engine, console, [&](const Invocation& rest, Engine& engine) {
    return Session(rest.program, engine, names, console).run(rest.arguments);
  });
}

// Handles its options before anything else, and ignores words that are none.
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
// The original is a script that calls ipvsadm twice, whatever the result of the first call, -C.
int run_ipvsadm_restore(const Invocation& invocation, const OpenEngine& open_engine, Names& names,
                        const Console& console) {
  const auto use = [&](const Invocation&, Engine& engine) {
    std::vector<std::string> lines;
    while (auto line = console.read_line()) {
      if (!line->starts_with('#')) lines.push_back(*std::move(line));
    }
    std::size_t next = 0;
    Console replay = console;
    replay.line_ready = [] { return true; };
    replay.read_line = [&]() -> std::optional<std::string> {
      if (next == lines.size()) return std::nullopt;
      return lines[next++];
    };
    const std::string program = "ipvsadm";
    static_cast<void>(Session(program, engine, names, replay).run({"-C"}));
    return Session(program, engine, names, replay).restore();
  };
  return with_engine(invocation, open_engine, console, use, 2);
}

}  // namespace sluice::ipvs::text
