// SPDX-License-Identifier: Apache-2.0
// The wiring of ipvsadm: this process' streams and names, and the requested engine.
#include "ipvs/engines/command.h"

#include <cstdlib>

#include "base/file.h"
#include "ipvs/engines/open_engine.h"
#include "ipvs/text/ipvsadm.h"

namespace sluice::ipvs::engines {
namespace {

std::string engine_of_environment() {
  const char* choice = std::getenv("SLUICE_IPVS_ENGINE");
  return choice == nullptr || *choice == '\0' ? "auto" : choice;
}

}  // namespace

bool is_ipvsadm_name(std::string_view program) {
  const std::string_view name = base_name(program);
  return name == "ipvsadm" || name == "ipvsadm-save" || name == "ipvsadm-restore";
}

int run_ipvsadm(const std::string& program, const std::vector<std::string>& arguments) {
  const text::Invocation invocation{program, arguments, engine_of_environment()};
  text::SystemNames names;
  const text::Console console = text::standard_console();
  const std::string_view name = base_name(program);
  if (name == "ipvsadm-save") return text::run_ipvsadm_save(invocation, &open_engine, names, console);
  if (name == "ipvsadm-restore") return text::run_ipvsadm_restore(invocation, &open_engine, names, console);
  return text::run_ipvsadm(invocation, &open_engine, names, console);
}

}  // namespace sluice::ipvs::engines
