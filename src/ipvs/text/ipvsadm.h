// SPDX-License-Identifier: Apache-2.0
// ipvsadm as functions: what stands on a command line is done on an engine, and the exit status comes back.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ipvs/engine.h"
#include "ipvs/text/names.h"

namespace sluice::ipvs::text {

struct Console {
  std::function<void(std::string_view)> out;
  std::function<void(std::string_view)> err;
  std::function<std::optional<std::string>()>
      read_line;  // standard input, a line without its newline; nothing at its end
  // Whether read_line() answers at once. Where it does not, nobody may be kept waiting for what earlier lines asked
  // for.
  std::function<bool()> line_ready = [] { return true; };
};
// stdin, stdout and stderr of this process. What cannot be written is lost without a word, as ipvsadm has it.
Console standard_console();

// Opens the engine of that name ("kernel", "ebpf", "auto"); asked once, before any other word is looked at. An Error
// without sys_errno is about the choice itself and is shown as it is.
using OpenEngine = std::function<Result<std::unique_ptr<Engine>>(std::string_view choice)>;

struct Invocation {
  std::string program;                 // as messages name it: "ipvsadm"
  std::vector<std::string> arguments;  // without the program
  std::string engine = "auto";         // unless the first argument is --engine
};

int run_ipvsadm(const Invocation& invocation, const OpenEngine& open_engine, Names& names, const Console& console);
// The two companions that Debian's package has as scripts.
int run_ipvsadm_save(const Invocation& invocation, const OpenEngine& open_engine, Names& names, const Console& console);
int run_ipvsadm_restore(const Invocation& invocation, const OpenEngine& open_engine, Names& names,
                        const Console& console);

}  // namespace sluice::ipvs::text
