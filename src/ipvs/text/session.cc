// SPDX-License-Identifier: Apache-2.0
// A restore of 10,000 virtual servers is 110,000 lines. One system call and one reply each would be most of its time,
// so changes wait until a line needs their result, until there are many, or until the next line has not arrived
// yet: if lines are typed, or written one by one, each is applied at once. Messages keep the order of their lines.
#include "ipvs/text/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "ipvs/text/listing.h"
#include "ipvs/text/messages.h"
#include "ipvs/text/order.h"

namespace sluice::ipvs::text {
namespace {

constexpr std::size_t kWaitingMax = 1024;
constexpr int kListFailed = 1;
constexpr int kChangeRefused = 255;

std::optional<Change> change_of(const Request& r) {
  const VirtualServerKey& key = r.virtual_server.key;
  switch (r.command) {
    case Command::kAddService:
      return AddVirtualServer{r.virtual_server};
    case Command::kEditService:
      return EditVirtualServer{r.virtual_server};
    case Command::kDeleteService:
      return RemoveVirtualServer{key};
    case Command::kAddServer:
      return AddRealServer{key, r.real_server};
    case Command::kEditServer:
      return EditRealServer{key, r.real_server};
    case Command::kDeleteServer:
      return RemoveRealServer{key, r.real_server.key};
    default:
      return std::nullopt;
  }
}

const RealServer* real_server_in(const Change& change) {
  if (const auto* added = std::get_if<AddRealServer>(&change)) return &added->server;
  const auto* edited = std::get_if<EditRealServer>(&change);
  return edited == nullptr ? nullptr : &edited->server;
}

// Without a service, or with one that has neither address nor port, everything is meant.
std::optional<VirtualServerKey> key_to_zero(const Request& request) {
  const VirtualServerKey& key = request.virtual_server.key;
  if (!request.options.has(Option::kService)) return std::nullopt;
  if (key.firewall_mark == 0 && key.port == 0 && key.address.is_unspecified()) return std::nullopt;
  return key;
}

// A NUL ends the word that contains it.
std::vector<std::string> split_words(const std::string& line) {
  constexpr std::string_view kBlanks = " \t\r\n";
  std::vector<std::string> words;
  std::size_t begin = line.find_first_not_of(kBlanks);
  while (begin != std::string::npos) {
    const std::size_t end = line.find_first_of(kBlanks, begin);
    std::string word = line.substr(begin, end - begin);
    word.resize(std::min(word.size(), word.find('\0')));
    if (word != "ipvsadm") words.push_back(std::move(word));
    begin = line.find_first_not_of(kBlanks, end);
  }
  return words;
}

}  // namespace

int Session::run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return list(Request{}).status;
  return run_line(arguments, Source::kArguments).status;
}

int Session::restore() {
  Ending last;
  while (true) {
    if (!waiting_.empty() && !console_.line_ready()) last = apply_waiting();
    const auto line = console_.read_line();
    if (!line) break;
    const std::vector<std::string> words = split_words(*line);
    if (words.empty()) continue;
    last = run_line(words, Source::kStandardInput);
    if (last.ends_restore) return last.status;
  }
  // If the last line is still waiting, its outcome counts.
  return waiting_.empty() ? last.status : apply_waiting().status;
}

Session::Ending Session::run_line(const std::vector<std::string>& arguments, Source source) {
  const Parsed parsed = parse_line(program_, arguments, names_);
  const auto* request = std::get_if<Request>(&parsed);
  if (request == nullptr) {
    static_cast<void>(apply_waiting());
    return refuse(std::get<Refusal>(parsed));
  }
  if (auto change = change_of(*request)) {
    waiting_.push_back({request->command, *std::move(change)});
    const bool wait = source == Source::kStandardInput && waiting_.size() < kWaitingMax;
    return wait ? Ending{} : apply_waiting();
  }
  static_cast<void>(apply_waiting());
  return perform(*request, source);
}

Session::Ending Session::refuse(const Refusal& refusal) {
  console_.err(refusal.message + '\n');
  return {refusal.status, refusal.ends_restore};
}

Session::Ending Session::answer(Command command, const Result<>& result, int status_of_refusal) {
  if (result) return {};
  console_.err(engine_message(command, result.error()) + '\n');
  return {status_of_refusal, status_of_refusal == kListFailed};
}

Session::Ending Session::apply_waiting() {
  if (waiting_.empty()) return {};
  const std::vector<Waiting> batch = std::exchange(waiting_, {});
  std::vector<Change> changes;
  changes.reserve(batch.size());
  for (const Waiting& each : batch) changes.push_back(each.change);
  const auto failures = engine_.apply(changes);
  if (!failures) {
    console_.err(engine_message(batch.back().command, failures.error()) + '\n');
    return {kChangeRefused, false};
  }
  for (const Failure& failure : *failures)
    console_.err(engine_message(batch[failure.index].command, failure.error) + '\n');
  warn_of_methods(changes, *failures);
  const bool last_failed = !failures->empty() && failures->back().index + 1 == batch.size();
  return {last_failed ? kChangeRefused : 0, false};
}

void Session::warn_of_methods(const std::vector<Change>& changes, const std::vector<Failure>& failures) {
  if (warned_of_methods_ || !engine_.description().only_masquerades) return;
  auto failure = failures.begin();
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const bool failed = failure != failures.end() && failure->index == i;
    if (failed) ++failure;
    const RealServer* server = failed ? nullptr : real_server_in(changes[i]);
    if (server == nullptr || server->method == ForwardMethod::kMasquerade) continue;
    warned_of_methods_ = true;
    console_.err(fmt::format(
        "{}: the engine {} forwards by masquerading (-m) only, and drops what would be sent by another method\n",
        to_string(server->key), engine_.name()));
    return;
  }
}

Session::Ending Session::perform(const Request& request, Source source) {
  switch (request.command) {
    case Command::kList:
      return list(request);
    case Command::kSave:
      return save(request);
    case Command::kRestore:
      // A restore inside a restore would read its own input.
      if (source == Source::kStandardInput) return refuse(usage_refusal(program_));
      return {restore(), false};
    case Command::kHelp:
      console_.out(help_text(program_));
      return {0, true};
    case Command::kVersion:
      console_.out(version_text());
      return {0, true};
    default:
      return call(request);
  }
}

Session::Ending Session::call(const Request& request) {
  const auto tell = [&](const Result<>& result) { return answer(request.command, result, kChangeRefused); };
  switch (request.command) {
    case Command::kFlush:
      return tell(engine_.flush());
    case Command::kZero:
      return tell(engine_.zero(key_to_zero(request)));
    case Command::kSet:
      return tell(engine_.set_timeouts(request.timeouts));
    case Command::kStartDaemon:
      return tell(engine_.start_sync_daemon(request.daemon));
    case Command::kStopDaemon:
      return tell(engine_.stop_sync_daemon(request.daemon.role));
    default:
      SLUICE_CHECK(false);
  }
  return {};
}

Session::Ending Session::list(const Request& request) {
  if (request.options.has(Option::kConnection)) return list_connections(request);
  if (request.options.has(Option::kTimeout)) {
    const auto timeouts = engine_.timeouts();
    if (!timeouts) return answer(request.command, tl::unexpected(timeouts.error()), kListFailed);
    console_.out(timeout_line(*timeouts));
    return {};
  }
  if (request.options.has(Option::kDaemon)) {
    const auto daemons = engine_.sync_daemons();
    if (!daemons) return answer(request.command, tl::unexpected(daemons.error()), kListFailed);
    for (const SyncDaemon& daemon : *daemons) console_.out(daemon_line(daemon));
    return {};
  }
  return list_table(request);
}

Session::Ending Session::list_connections(const Request& request) {
  AddressWriter addresses(names_, request.options.has(Option::kNumeric));
  const bool engine_data = request.options.has(Option::kPersistentConn);
  bool titled = false;
  const auto title = [&] {
    if (!std::exchange(titled, true)) console_.out(connection_titles(engine_data));
  };
  const Result<> result = engine_.connections([&](const Connection& connection) {
    title();
    console_.out(connection_line(connection, engine_data, addresses));
  });
  if (!result) {
    const Errc code = result.error().code;
    if (code != Errc::kNotFound && code != Errc::kPermission) return answer(request.command, result, kListFailed);
    console_.err("cannot open file /proc/net/ip_vs_conn\n");
    return {kListFailed, true};
  }
  title();
  return {};
}

Session::Ending Session::list_table(const Request& request) {
  const ListStyle style{columns_of(request.options), request.options.has(Option::kNumeric),
                        request.options.has(Option::kExact)};
  const bool sorted = !request.options.has(Option::kNoSort);
  AddressWriter addresses(names_, style.numeric);
  std::vector<VirtualServerState> servers;
  if (request.options.has(Option::kService)) {
    auto server = engine_.find(request.virtual_server.key);
    if (!server) return answer(request.command, tl::unexpected(server.error()), kListFailed);
    servers.push_back(*std::move(server));
  } else {
    const auto info = engine_.info();
    if (!info) return answer(request.command, tl::unexpected(info.error()), kListFailed);
    console_.out(version_line(*info));
    auto all = list_all(engine_);
    if (!all) return answer(request.command, tl::unexpected(all.error()), kListFailed);
    servers = *std::move(all);
  }
  if (sorted) sort_virtual_servers(servers);
  console_.out(title_lines(style.columns));
  for (VirtualServerState& server : servers) {
    if (sorted) sort_real_servers(server.real_servers);
    console_.out(list_lines(server, style, addresses));
  }
  return {};
}

Session::Ending Session::save(const Request& request) {
  AddressWriter addresses(names_, request.options.has(Option::kNumeric));
  auto servers = list_all(engine_);
  if (!servers) return answer(request.command, tl::unexpected(servers.error()), kListFailed);
  sort_virtual_servers(*servers);
  for (VirtualServerState& server : *servers) {
    sort_real_servers(server.real_servers);
    console_.out(save_lines(server, addresses));
  }
  return {};
}

}  // namespace sluice::ipvs::text
