// SPDX-License-Identifier: Apache-2.0
// ipvsadm as functions: a command line is executed on an engine, and the exit status returned.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ipvs/engine.h"
#include "ipvs/engine_choice.h"
#include "ipvs/text/names.h"

namespace sluice::ipvs::text {

struct Console {
  std::function<void(std::string_view)> out;
  std::function<void(std::string_view)> err;
  // Standard input, a line without its newline; nothing at its end.
  std::function<std::optional<std::string>()> read_line;
  // Whether read_line() returns at once. If not, the changes that earlier lines requested must not be delayed
  // further.
  std::function<bool()> line_ready = [] { return true; };
};
// stdin, stdout and stderr of this process. What cannot be written is lost silently, as in ipvsadm.
Console standard_console();

// Opens an engine that is built into this program; called once, before any other argument is handled.
using OpenEngine = std::function<Result<std::unique_ptr<Engine>>(EngineChoice choice)>;

struct Invocation {
  std::string program;                 // its name in messages: "ipvsadm"
  std::vector<std::string> arguments;  // without the program
  std::string engine = "auto";         // its word; unless the first argument is --engine
};

int run_ipvsadm(const Invocation& invocation, const OpenEngine& open_engine, Names& names, const Console& console);
// The two companion programs, which are scripts in Debian's package.
int run_ipvsadm_save(const Invocation& invocation, const OpenEngine& open_engine, Names& names, const Console& console);
int run_ipvsadm_restore(const Invocation& invocation, const OpenEngine& open_engine, Names& names,
                        const Console& console);

}  // namespace sluice::ipvs::text
