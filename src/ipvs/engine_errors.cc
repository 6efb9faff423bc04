// SPDX-License-Identifier: Apache-2.0
// The kernel refuses with only a number. "add real server 10.2.0.1:80 to TCP 10.0.0.1:80: No such process" helps no
// user, so each number is translated by the table of netlink errors that ip_vs_ctl.c returns: the same ESRCH and ENOENT
// for every engine.
#include "ipvs/engine_errors.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace sluice::ipvs {
namespace {

template <typename... Visitors>
struct Overloaded : Visitors... {
  using Visitors::operator()...;
};

Errc code_of(int error) {
  switch (error) {
    case ESRCH:
    case ENOENT:
    case ENODEV:
      return Errc::kNotFound;
    case EEXIST:
      return Errc::kAlreadyExists;
    case EINVAL:
    case ERANGE:
    case EAFNOSUPPORT:
      return Errc::kInvalid;
    case EPERM:
    case EACCES:
      return Errc::kPermission;
    case EOPNOTSUPP:
    case ENOPROTOOPT:
      return Errc::kUnsupported;
    case ENOMEM:
    case ENOBUFS:
    case EMSGSIZE:
      return Errc::kExhausted;
    case EAGAIN:
    case ETIMEDOUT:
      return Errc::kUnavailable;
    default:
      return Errc::kInternal;
  }
}

std::string general_reason(int error) {
  if (error == EPERM) return "not permitted: CAP_NET_ADMIN over the network namespace is needed";
  if (error == ENOPROTOOPT) return "this kernel has no IP virtual server, and its module cannot be loaded";
  if (error == EAFNOSUPPORT) return "this address family is not supported";
  return std::strerror(error);
}

// A scheduler or persistence engine that is not there is something this machine cannot do; anything else with ENOENT or
// ESRCH is not there.
Errc code_of(const Change& change, int error) {
  if (settings_in(change) == nullptr) return code_of(error);
  if (error == ENOENT) return Errc::kUnsupported;
  return code_of(error) == Errc::kUnsupported ? Errc::kInvalid : code_of(error);
}

Error refusal(const std::string& what, const std::string& reason, int error) {
  return Error{code_of(error), fmt::format("ipvs: {}: {}", what, reason), error};
}

std::string virtual_server_reason(const VirtualServer& server, int error) {
  switch (error) {
    case EEXIST:
      return "it exists already";
    case ESRCH:
      return "there is no such virtual server";
    case ENOENT:
      if (server.persistence_engine.empty()) return fmt::format("scheduler '{}' is not known", server.scheduler);
      return fmt::format("scheduler '{}' or persistence engine '{}' is not known", server.scheduler,
                         server.persistence_engine);
    case EINVAL:
      return "a setting is out of range (scheduler name, prefix length)";
    default:
      return general_reason(error);
  }
}

std::string real_server_reason(int error) {
  switch (error) {
    case EEXIST:
      return "it exists already";
    case ESRCH:
      return "there is no such virtual server";
    case ENOENT:
      return "there is no such real server";
    case EINVAL:
      return "the address is not unicast, its family does not fit, or a setting is out of range";
    case ERANGE:
      return "the weight is negative, or the lower threshold is above the upper one";
    default:
      return general_reason(error);
  }
}

std::string daemon_reason(const SyncDaemon& daemon, int error) {
  switch (error) {
    case EEXIST:
      return "it runs already";
    case ENODEV:
      return fmt::format("there is no interface '{}'", daemon.interface);
    case EOPNOTSUPP:
      return "this engine has none";
    case EINVAL:
      return "the group is not multicast, or real servers of another family than their virtual server's exist";
    default:
      return general_reason(error);
  }
}

const char* role_name(SyncRole role) {
  return role == SyncRole::kMaster ? "master" : "backup";
}

}  // namespace

Error refused(const Change& change, int error) {
  const std::string reason = std::visit(
      Overloaded{
          [&](const AddVirtualServer& c) { return virtual_server_reason(c.server, error); },
          [&](const EditVirtualServer& c) { return virtual_server_reason(c.server, error); },
          [&](const RemoveVirtualServer& c) { return virtual_server_reason(VirtualServer::of(c.key), error); },
          [&](const auto&) { return real_server_reason(error); },
      },
      change);
  return Error{code_of(change, error), fmt::format("ipvs: {}: {}", to_string(change), reason), error};
}

Error refused_key(const char* doing, const VirtualServerKey& key, int error) {
  const std::string reason = error == ESRCH ? "there is no such virtual server" : general_reason(error);
  return refusal(fmt::format("{} {}", doing, to_string(key)), reason, error);
}

Error refused_start(const SyncDaemon& daemon, int error) {
  return refusal(fmt::format("start the {} sync daemon", role_name(daemon.role)), daemon_reason(daemon, error), error);
}

Error refused_stop(SyncRole role, int error) {
  const std::string reason = error == ESRCH ? "it does not run" : general_reason(error);
  return refusal(fmt::format("stop the {} sync daemon", role_name(role)), reason, error);
}

Error refused_call(const char* doing, int error) {
  return refusal(doing, general_reason(error), error);
}

}  // namespace sluice::ipvs
