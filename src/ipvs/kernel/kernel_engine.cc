// SPDX-License-Identifier: Apache-2.0
// ip_vs_ctl.c accepts one change per netlink message and works under one global mutex; our cost is in system calls, so
// many messages go into one datagram (sys/genetlink). It sends no notifications, and a dump continues by counting
// entries: another process' change between two pieces of it can list an entry twice (dropped here) or not at all. Real
// servers are listed for one virtual server at a time, 30 microseconds each.
#include "ipvs/kernel/kernel_engine.h"

#include <fmt/format.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <fstream>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "ipvs/engine_errors.h"
#include "ipvs/kernel/connection_file.h"
#include "ipvs/kernel/decode.h"
#include "ipvs/kernel/encode.h"
#include "ipvs/kernel/modules.h"

namespace sluice::ipvs::kernel {
namespace {

constexpr const char* kFamilyName = "IPVS";
// Unloading and loading the module while we run gives the family another number; family_moved() notices.
constexpr const char* kModule = "ip_vs";
// DEL_DAEMON right after NEW_DAEMON may stop the daemon and send no reply (the thread that never ran ends with EINTR,
// which netlink does not acknowledge). Retried, or seen to be gone, after this time.
constexpr std::chrono::milliseconds kStopPatience = std::chrono::seconds(1);
constexpr int kStopAttemptsMax = 5;

std::string kernel_release() {
  utsname names{};
  return ::uname(&names) == 0 ? names.release : "?";
}

// Passes on the kernel's replies, and remembers the first one that could not be read.
template <typename Decode, typename Take>
sys::GenericNetlink::Answer reader(Result<>& problem, Decode decode, Take take) {
  return [&problem, decode, take](std::span<const std::uint8_t> attributes) {
    auto value = decode(attributes);
    if (value) {
      take(*std::move(value));
    } else if (problem) {
      problem = tl::unexpected(value.error());
    }
  };
}

// Without permission to load modules it is unknown whether there is one.
Error no_ipvs(const std::string& reason) {
  if (::geteuid() != 0) return refused_call("open the kernel's engine", EPERM);
  return {Errc::kUnavailable,
          fmt::format("ipvs: this kernel ({}) has no IP virtual server: {}", kernel_release(), reason), ENOPROTOOPT};
}

Result<sys::GenericNetlink> open_family() {
  auto netlink = sys::GenericNetlink::open(kFamilyName);
  if (!netlink && netlink.error().code == Errc::kUnsupported) {
    if (const auto loaded = load_module(kModule); !loaded) return tl::unexpected(no_ipvs(loaded.error().what));
    netlink = sys::GenericNetlink::open(kFamilyName);
  }
  if (!netlink) return tl::unexpected(no_ipvs(netlink.error().what));
  return netlink;
}

// Refused as unknown: an unknown scheduler, a missing real server, or no such family.
bool all_unheard_of(std::span<const Change> changes, const std::vector<Failure>& failures) {
  return failures.size() == changes.size() && std::all_of(failures.begin(), failures.end(), [](const Failure& each) {
           return each.error.code == Errc::kUnsupported || each.error.code == Errc::kNotFound;
         });
}

}  // namespace

bool KernelEngine::in_use(const std::string& path) {
  constexpr int kTitleLines = 3;
  std::ifstream file(path);
  std::string line;
  for (int i = 0; i < kTitleLines; ++i) std::getline(file, line);
  return static_cast<bool>(std::getline(file, line));
}

Result<std::unique_ptr<Engine>> KernelEngine::open() {
  SLUICE_TRY(auto netlink, open_family());
  std::unique_ptr<KernelEngine> engine(new KernelEngine(std::move(netlink)));
  if (const auto info = engine->info(); !info) return tl::unexpected(info.error());
  return engine;
}

Result<bool> KernelEngine::family_moved() {
  SLUICE_TRY(auto netlink, open_family());
  if (netlink.family() == netlink_.family()) return false;
  netlink_ = std::move(netlink);
  return true;
}

// kUnsupported: the kernel has no such family, or none of that number any more.
Result<> KernelEngine::ask(const sys::GenericRequest& request, const sys::GenericNetlink::Answer& answer) {
  const Result<> asked = netlink_.ask(request, answer);
  if (asked || asked.error().code != Errc::kUnsupported) return asked;
  SLUICE_TRY(const bool moved, family_moved());
  return moved ? netlink_.ask(request, answer) : asked;
}

Result<> KernelEngine::dump(const sys::GenericRequest& request, const sys::GenericNetlink::Answer& answer) {
  const Result<> asked = netlink_.dump(request, answer);
  if (asked || asked.error().code != Errc::kUnsupported) return asked;
  SLUICE_TRY(const bool moved, family_moved());
  return moved ? netlink_.dump(request, answer) : asked;
}

Result<EngineInfo> KernelEngine::info() {
  EngineInfo found;
  Result<> problem;
  const auto asked = ask(encode_info(), reader(problem, decode_info, [&](EngineInfo info) { found = info; }));
  if (!asked) return tl::unexpected(refused_call("ask for the version", asked.error().sys_errno));
  SLUICE_CHECK_OK(problem);
  return found;
}

Result<> KernelEngine::list_real_servers(VirtualServerState& state) {
  Result<> problem;
  std::set<RealServerKey> seen;
  const Family family = state.server.key.family;
  const auto decode = [family](Bytes attributes) { return decode_real_server(attributes, family); };
  const auto take = [&](const RealServerState& real) {
    if (seen.insert(real.server.key).second) state.real_servers.push_back(real);
  };
  const auto asked = dump(encode_list_real_servers(state.server.key), reader(problem, decode, take));
  if (!asked) return tl::unexpected(refused_key("list real servers of", state.server.key, asked.error().sys_errno));
  return problem;
}

Result<> KernelEngine::list(const Wanted& wanted, const std::function<void(VirtualServerState)>& visit) {
  Result<> problem;
  std::set<VirtualServerKey> seen;
  std::vector<VirtualServerState> servers;
  const auto take = [&](VirtualServerState state) {
    if (seen.insert(state.server.key).second && wanted(state.server.key)) servers.push_back(std::move(state));
  };
  const auto asked = dump(encode_list(), reader(problem, decode_virtual_server, take));
  if (!asked) return tl::unexpected(refused_call("list virtual servers", asked.error().sys_errno));
  SLUICE_CHECK_OK(problem);
  for (VirtualServerState& state : servers) {
    SLUICE_CHECK_OK(list_real_servers(state));
    visit(std::move(state));
  }
  return {};
}

Result<VirtualServerState> KernelEngine::find(const VirtualServerKey& key) {
  VirtualServerState found;
  Result<> problem;
  const auto take = [&](VirtualServerState state) { found = std::move(state); };
  const auto asked = ask(encode_find(key), reader(problem, decode_virtual_server, take));
  if (!asked) return tl::unexpected(refused_key("find", key, asked.error().sys_errno));
  SLUICE_CHECK_OK(problem);
  SLUICE_CHECK_OK(list_real_servers(found));
  return found;
}

Result<> KernelEngine::connections(const std::function<void(const Connection&)>& visit) {
  return read_connections(visit);
}

Result<std::vector<Failure>> KernelEngine::apply_once(std::span<const Change> changes) {
  std::vector<sys::GenericRequest> requests;
  requests.reserve(changes.size());
  for (const Change& change : changes) requests.push_back(encode(change));
  SLUICE_TRY(const std::vector<int> outcomes, netlink_.transact(requests));
  std::vector<Failure> failures;
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    if (outcomes[i] != 0) failures.push_back({i, refused(changes[i], outcomes[i])});
  }
  return failures;
}

// Names the missing module, and retries once what failed for lack of one that could be loaded, with what depends
// on it.
void KernelEngine::load_missing_modules(std::span<const Change> changes, std::vector<Failure>& failures) {
  std::set<VirtualServerKey> servers;
  for (Failure& failure : failures) {
    const VirtualServer* server = settings_in(changes[failure.index]);
    if (server == nullptr || failure.error.code != Errc::kUnsupported) continue;
    std::vector<std::string> modules{"ip_vs_" + server->scheduler};
    if (!server->persistence_engine.empty()) modules.push_back("ip_vs_pe_" + server->persistence_engine);
    for (const std::string& module : modules) {
      if (!modules_tried_.insert(module).second) continue;
      if (const auto loaded = load_module(module); loaded) {
        servers.insert(server->key);
      } else {
        failure.error.what += " (" + loaded.error().what + ")";
      }
    }
  }
  if (servers.empty()) return;
  std::vector<Failure> remaining;
  for (Failure& failure : failures) {
    const Change& change = changes[failure.index];
    if (servers.contains(virtual_server_of(change))) {
      const auto again = transact_one(encode(change));
      if (again && *again == 0) continue;
      if (again) failure.error = refused(change, *again);
    }
    remaining.push_back(std::move(failure));
  }
  failures = std::move(remaining);
}

Result<std::vector<Failure>> KernelEngine::apply(std::span<const Change> changes) {
  SLUICE_TRY(std::vector<Failure> failures, apply_once(changes));
  if (!changes.empty() && all_unheard_of(changes, failures)) {
    SLUICE_TRY(const bool moved, family_moved());
    if (moved) {
      SLUICE_TRY(failures, apply_once(changes));
    }
  }
  if (!failures.empty()) load_missing_modules(changes, failures);
  return failures;
}

Result<int> KernelEngine::transact_one(const sys::GenericRequest& request) {
  SLUICE_TRY(const std::vector<int> outcomes, netlink_.transact({&request, 1}));
  return outcomes.front();
}

Result<> KernelEngine::flush() {
  SLUICE_TRY(const int error, transact_one(encode_flush()));
  if (error != 0) return tl::unexpected(refused_call("flush", error));
  return {};
}

Result<> KernelEngine::zero(const std::optional<VirtualServerKey>& key) {
  SLUICE_TRY(const int error, transact_one(encode_zero(key)));
  if (error != 0) return tl::unexpected(key ? refused_key("zero", *key, error) : refused_call("zero", error));
  return {};
}

Result<Timeouts> KernelEngine::timeouts() {
  Timeouts found;
  Result<> problem;
  const auto asked = ask(encode_timeouts(), reader(problem, decode_timeouts, [&](Timeouts t) { found = t; }));
  if (!asked) return tl::unexpected(refused_call("ask for timeouts", asked.error().sys_errno));
  SLUICE_CHECK_OK(problem);
  return found;
}

Result<> KernelEngine::set_timeouts(const Timeouts& timeouts) {
  SLUICE_TRY(const int error, transact_one(encode_set_timeouts(timeouts)));
  if (error != 0) return tl::unexpected(refused_call("set timeouts", error));
  return {};
}

Result<std::vector<SyncDaemon>> KernelEngine::sync_daemons() {
  std::vector<SyncDaemon> daemons;
  Result<> problem;
  const auto take = [&](SyncDaemon daemon) { daemons.push_back(std::move(daemon)); };
  const auto asked = dump(encode_list_daemons(), reader(problem, decode_daemon, take));
  if (!asked) return tl::unexpected(refused_call("list sync daemons", asked.error().sys_errno));
  SLUICE_CHECK_OK(problem);
  return daemons;
}

Result<> KernelEngine::start_sync_daemon(const SyncDaemon& daemon) {
  SLUICE_TRY(const int error, transact_one(encode_start(daemon)));
  if (error != 0) return tl::unexpected(refused_start(daemon, error));
  return {};
}

Result<> KernelEngine::stop_sync_daemon(SyncRole role) {
  const sys::GenericRequest request = encode_stop(role);
  for (int attempt = 0; attempt < kStopAttemptsMax; ++attempt) {
    const auto outcome = netlink_.transact({&request, 1}, kStopPatience);
    if (outcome) {
      if (outcome->front() != 0) return tl::unexpected(refused_stop(role, outcome->front()));
      return {};
    }
    if (outcome.error().code != Errc::kUnavailable) return tl::unexpected(outcome.error());
    SLUICE_TRY(const std::vector<SyncDaemon> running, sync_daemons());
    const bool runs =
        std::any_of(running.begin(), running.end(), [&](const SyncDaemon& each) { return each.role == role; });
    if (!runs) return {};
  }
  return tl::unexpected(refused_stop(role, ETIMEDOUT));
}

}  // namespace sluice::ipvs::kernel
