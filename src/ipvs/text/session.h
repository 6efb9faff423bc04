// SPDX-License-Identifier: Apache-2.0
// Command lines executed on one engine, one after the other. Changes of a restore are held back and sent to the engine
// in batches, which is visible from the outside only by the time it takes.
#pragma once

#include <string>
#include <vector>

#include "ipvs/engine.h"
#include "ipvs/text/ipvsadm.h"
#include "ipvs/text/request.h"

namespace sluice::ipvs::text {

class Session {
 public:
  Session(const std::string& program, Engine& engine, Names& names, const Console& console)
      : program_(program), engine_(engine), names_(names), console_(console) {}

  // One command line, which may be empty: then a list.
  int run(const std::vector<std::string>& arguments);
  // Lines from standard input until its end, or until one of them ends it.
  int restore();

 private:
  struct Ending {
    int status = 0;
    bool ends_restore = false;
  };
  struct Waiting {
    Command command;
    Change change;
  };
  enum class Source : unsigned char { kArguments, kStandardInput };

  Ending run_line(const std::vector<std::string>& arguments, Source source);
  Ending perform(const Request& request, Source source);
  Ending list(const Request& request);
  Ending list_connections(const Request& request);
  Ending list_table(const Request& request);
  Ending save(const Request& request);
  Ending refuse(const Refusal& refusal);
  // Prints the engine's message, if it refused.
  Ending answer(Command command, const Result<>& result, int status_of_refusal);
  Ending call(const Request& request);
  // Applies the waiting changes. The status is that of the last one.
  Ending apply_waiting();
  // Says, once, that the engine will drop what is sent to one of these real servers.
  void warn_of_methods(const std::vector<Change>& changes, const std::vector<Failure>& failures);

  const std::string& program_;
  Engine& engine_;
  Names& names_;
  const Console& console_;
  std::vector<Waiting> waiting_;
  bool warned_of_methods_ = false;
};

}  // namespace sluice::ipvs::text
