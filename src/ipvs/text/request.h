// SPDX-License-Identifier: Apache-2.0
// One parsed command line: what to do, and to what.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "ipvs/engine.h"
#include "ipvs/text/names.h"
#include "ipvs/text/options.h"

namespace sluice::ipvs::text {

struct Request {
  Command command = Command::kList;
  OptionSet options;
  VirtualServer virtual_server;
  RealServer real_server;
  Timeouts timeouts;
  SyncDaemon daemon;
};

// Why a line was refused.
struct Refusal {
  int status = 2;
  std::string message;  // for stderr, without its newline
  // Ends a whole restore. Errors of the option parser do not: the next line is tried.
  bool ends_restore = true;
};
Refusal refusal(std::string message);
Refusal usage_refusal(const std::string& program);  // "Try `ipvsadm -h' or ..."

using Parsed = std::variant<Request, Refusal>;

// Reads the words after the program's name and checks everything that can be checked without an engine. Not for an
// empty line.
Parsed parse_line(const std::string& program, const std::vector<std::string>& arguments, Names& names);

// The second half of it: checks that the options fit the command and each other. Fills in defaults that depend on that.
std::optional<Refusal> check_request(Request& request);

}  // namespace sluice::ipvs::text
