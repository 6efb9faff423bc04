// SPDX-License-Identifier: Apache-2.0
// Monitoring scripts look for "No such service" and "Service already exists", so an errno becomes exactly the text that
// libipvs has for it (ipvs_strerror()): first by command, then in general, then the C library's.
#include "ipvs/text/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace sluice::ipvs::text {
namespace {

struct CommandText {
  Command command;
  int error;
  const char* text;
};
constexpr auto kCommandTexts = std::to_array<CommandText>({
    {Command::kAddService, EEXIST, "Service already exists"},
    {Command::kAddService, ENOENT, "Scheduler or persistence engine not found"},
    {Command::kEditService, ESRCH, "No such service"},
    {Command::kEditService, ENOENT, "Scheduler or persistence engine not found"},
    {Command::kDeleteService, ESRCH, "No such service"},
    {Command::kZero, ESRCH, "No such service"},
    {Command::kList, ESRCH, "No such service"},
    {Command::kAddServer, ESRCH, "Service not defined"},
    {Command::kAddServer, EEXIST, "Destination already exists"},
    {Command::kEditServer, ESRCH, "Service not defined"},
    {Command::kEditServer, ENOENT, "No such destination"},
    {Command::kDeleteServer, ESRCH, "Service not defined"},
    {Command::kDeleteServer, ENOENT, "No such destination"},
    {Command::kStartDaemon, EEXIST, "Daemon has already run"},
    // Not the kernel's: of an engine of ours.
    {Command::kStartDaemon, EOPNOTSUPP, "Sync daemons are not supported by this engine"},
    {Command::kStopDaemon, ESRCH, "No daemon is running"},
});

const char* general_text(int error) {
  switch (error) {
    case EPERM:
      return "Permission denied (you must be root)";
    case EINVAL:
      return "Invalid operation.  Possibly wrong module version, address not unicast, ...";
    case ENOPROTOOPT:
      return "Protocol not available";
    case ENOMEM:
      return "Memory allocation problem";
    case EOPNOTSUPP:
      return "Operation not supported with IPv6";
    case EAFNOSUPPORT:
      return "Operation not supported with specified address family";
    case EMSGSIZE:
      return "Module is wrong version";
    default:
      return std::strerror(error);
  }
}

}  // namespace

std::string engine_message(Command command, const Error& error) {
  if (error.sys_errno == 0) return error.what;
  const auto found = std::find_if(kCommandTexts.begin(), kCommandTexts.end(), [&](const CommandText& each) {
    return each.command == command && each.error == error.sys_errno;
  });
  return found != kCommandTexts.end() ? found->text : general_text(error.sys_errno);
}

// Without IPVS, the original lets modprobe print the reason first; we print it ourselves. An engine of ours has a reason instead of an errno, and
// no module.
std::string opening_message(const Error& error) {
  if (error.sys_errno == 0) return "Can't initialize ipvs: " + error.what;
  const bool none = error.code == Errc::kUnavailable || error.code == Errc::kUnsupported;
  const std::string why = none ? error.what + '\n' : "";
  return fmt::format(
      "{}Can't initialize ipvs: {}\nAre you sure that IP Virtual Server is built in the kernel or as module?", why,
      general_text(error.sys_errno));
}

}  // namespace sluice::ipvs::text
