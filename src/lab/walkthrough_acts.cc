// SPDX-License-Identifier: Apache-2.0
// The tour judges only by what clients see. This file runs the clients and compares their answers with what was
// promised.
#include "lab/walkthrough_acts.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "base/ip_literals.h"
#include "lab/interrupt.h"
#include "lab/state.h"

namespace sluice::lab {
namespace {

constexpr milliseconds kPatience{120000};  // for a proxy to start, or to follow a change
constexpr milliseconds kPollInterval{25};
constexpr std::uint16_t kHealthPort = 10256;

std::string last_lines(const std::string& text, int count) {
  std::size_t start = text.size();
  for (int i = 0; i <= count && start != std::string::npos && start > 0; ++i) start = text.rfind('\n', start - 1);
  return start == std::string::npos || start == 0 ? text : text.substr(start + 1);
}

bool healthy(const Lab& lab, const std::string& node) {
  const auto health = lab.get(node, {loopback(), kHealthPort}, "/healthz");
  return health && health->status == 200;
}

std::string asked(const Question& question) {
  std::string from = question.from;
  if (question.options.source) from += " (" + question.options.source->to_string() + ")";
  return fmt::format("from {:<24} to {}:", from, to_string(question.target));
}

}  // namespace

IpAddress loopback() {
  return ip("127.0.0.1");
}
Target tcp(std::string_view address, std::uint16_t port) {
  return {Protocol::kTcp, ip(address), port};
}
Target udp(std::string_view address, std::uint16_t port) {
  return {Protocol::kUdp, ip(address), port};
}

milliseconds since(SteadyClock::time_point start) {
  return std::chrono::duration_cast<milliseconds>(SteadyClock::now() - start);
}

bool eventually(const std::function<bool()>& holds) {
  const auto deadline = SteadyClock::now() + kPatience;
  while (!holds()) {
    if (SteadyClock::now() >= deadline || interrupted() != 0) return false;
    std::this_thread::sleep_for(kPollInterval);
  }
  return true;
}

// ---- proxies ----

Result<> start_proxy(const Walkthrough& walkthrough, const std::string& node, const std::string& config) {
  const auto started =
      walkthrough.lab.spawn({.node = node,
                             .name = "proxy",
                             .arguments = {walkthrough.program, "proxy", "--config=" + config,
                                           "--manifests=" + walkthrough.manifests, "--hostname-override=" + node}});
  if (!started) return tl::unexpected(started.error());
  return {};
}

std::string lines_with(const std::string& text, std::initializer_list<std::string_view> words, std::size_t count) {
  std::string found;
  std::size_t begin = 0;
  while (begin < text.size() && count > 0) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (std::all_of(words.begin(), words.end(),
                    [line](std::string_view word) { return line.find(word) != std::string_view::npos; })) {
      found += std::string(line) + "\n";
      --count;
    }
    begin = end + 1;
  }
  return found;
}

Result<> wait_for_proxy(const Walkthrough& walkthrough, const std::string& node, const std::function<bool()>& serves) {
  const Lab& lab = walkthrough.lab;
  bool ended = false;
  const bool up = eventually([&] {
    const auto process = lab.process(node, "proxy");
    ended = !process || !process->alive;
    return ended || (healthy(lab, node) && serves());
  });
  if (up && !ended) return {};
  const auto log = read_text(lab.log_file(node, "proxy"));
  return fail(Errc::kUnavailable,
              fmt::format("the proxy of {} {}; the end of its log:\n{}", node,
                          ended ? "has ended" : "does not become ready", log ? last_lines(*log, 15) : std::string()));
}

Result<> restart_in_mode(Walkthrough& walkthrough, const std::string& node, const std::string& mode,
                         const std::function<bool()>& serves, const std::string& second_document) {
  const Lab& lab = walkthrough.lab;
  const std::string config = fmt::format("{}/config-{}.conf", lab.folder(), node);
  SLUICE_CHECK_OK(write_text(config, proxy_config(mode) + second_document));
  SLUICE_CHECK_OK(lab.signal(node, "proxy", SIGTERM));
  if (!eventually([&] { return !lab.process(node, "proxy")->alive; }))
    return fail(Errc::kUnavailable, "the proxy does not end");
  const auto start = SteadyClock::now();
  SLUICE_CHECK_OK(start_proxy(walkthrough, node, config));
  SLUICE_CHECK_OK(wait_for_proxy(walkthrough, node, serves));
  walkthrough.screen.note(fmt::format("it serves in the new mode after {} ms", since(start).count()));
  return {};
}

std::string nat_rules(const Lab& lab, const std::string& node) {
  for (const char* program : {"iptables-nft-save", "iptables-legacy-save"}) {
    const auto saved = lab.run(node, {program, "-t", "nat"});
    if (saved && saved->output.find("KUBE-SERVICES") != std::string::npos) return saved->output;
  }
  return {};
}

void check_mode(Walkthrough& walkthrough, const std::string& node, const std::string& mode) {
  Lab& lab = walkthrough.lab;
  Screen& screen = walkthrough.screen;
  const std::string wanted = fmt::format("Using {} Proxier", mode);
  screen.heading(fmt::format("{}: what its log says", node));
  // Only the log of this run: an earlier run's lines are before the line that every run begins with.
  const auto log = read_text(lab.log_file(node, "proxy"));
  const std::size_t begin = log ? log->rfind("\"Sluice starts\"") : std::string::npos;
  const std::string line = begin == std::string::npos ? std::string() : lines_with(log->substr(begin), {wanted}, 1);
  screen.quote(line);
  screen.check(!line.empty(), "the log", line.empty() ? "no word of it" : "names the mode", "a line with: " + wanted);

  screen.heading(fmt::format("{}# curl localhost:{}/proxyMode", node, kMetricsPort));
  std::string answer;
  eventually([&] {
    const auto got = lab.get(node, {loopback(), kMetricsPort}, "/proxyMode");
    answer = got ? got->body : got.error().what;
    return static_cast<bool>(got);
  });
  screen.quote(answer);
  screen.check(answer == mode, "the proxy's own page", answer, mode);
}

// ---- expectations ----

ProbeOutcome ask(Walkthrough& walkthrough, const Question& question, const Holds& holds, std::string_view wanted) {
  ProbeOutcome outcome = walkthrough.lab.probe(question.from, question.target, question.options);
  std::string found = (outcome.answered() > 0 ? "answers " : "") + to_string(outcome);
  walkthrough.screen.check(holds(outcome), asked(question), found, wanted);
  return outcome;
}

void ask_each(Walkthrough& walkthrough, const Question& question, const std::set<std::string>& pods) {
  ask(
      walkthrough, question, [&pods](const ProbeOutcome& outcome) { return outcome.answered_by_each(pods); },
      fmt::format("answers of each of {}, no failure", fmt::join(pods, ", ")));
}

void ask_in_turn(Walkthrough& walkthrough, const Question& question, const std::set<std::string>& pods) {
  const int share = question.options.count / static_cast<int>(pods.size());
  ask(
      walkthrough, question,
      [&](const ProbeOutcome& outcome) {
        return outcome.answered_by_each(pods) &&
               std::all_of(outcome.answers.begin(), outcome.answers.end(),
                           [share](const auto& entry) { return std::abs(entry.second - share) <= 1; });
      },
      fmt::format("{} answers of each of {}", share, fmt::join(pods, ", ")));
}

void ask_one_pod(Walkthrough& walkthrough, const Question& question) {
  ask(
      walkthrough, question,
      [](const ProbeOutcome& outcome) { return outcome.all_answered() && outcome.answers.size() == 1; },
      "every answer from one pod");
}

void ask_failure(Walkthrough& walkthrough, const Question& question, ProbeFailure reason) {
  ask(
      walkthrough, question, [reason](const ProbeOutcome& outcome) { return outcome.all_failed(reason); },
      to_string(reason));
}

const std::set<std::string>& web_pods() {
  static const std::set<std::string> pods{"web-1", "web-2", "web-3"};
  return pods;
}

// ---- changes ----

Result<> write_service(const Walkthrough& walkthrough, const ExampleService& service) {
  return write_text(fmt::format("{}/{}.yaml", walkthrough.manifests, service.name),
                    service_manifest(service, walkthrough.lab.topology()));
}

Result<Pinger> keep_asking(const Walkthrough& walkthrough, const Question& question, milliseconds interval) {
  return walkthrough.lab.ping(question.from, question.target, interval, question.options);
}

void check_steady_traffic(Walkthrough& walkthrough, const std::string& what, const Pinger::Report& report) {
  const std::string found =
      report.failures.empty()
          ? fmt::format("{} connections, none failed; {} ms at most between two answers", report.sent,
                        report.longest_silence.count())
          : fmt::format("{} of {} failed, the first at {} ms: {}", report.failures_total, report.sent,
                        report.failures.front().at.count(), report.failures.front().what);
  walkthrough.screen.check(report.failures_total == 0 && report.sent > 0, what, found, "none failed");
}

Result<LongConnection> hold_connection(const Walkthrough& walkthrough, const Question& question,
                                       const std::string& pod) {
  constexpr int kAttemptsMax = 200;
  for (int attempt = 0; attempt < kAttemptsMax; ++attempt) {
    SLUICE_TRY(LongConnection connection, walkthrough.lab.connect(question.from, question.target, question.options));
    if (connection.first_answer().pod == pod) return connection;
  }
  return fail(Errc::kUnavailable, fmt::format("no connection to {} landed on {}", to_string(question.target), pod));
}

void check_long_connection(Walkthrough& walkthrough, const std::string& what, LongConnection& connection) {
  const auto pod = connection.exchange("still there?");
  const bool alive = pod && *pod == connection.first_answer().pod;
  walkthrough.screen.check(alive, what,
                           alive ? fmt::format("alive, with {}", *pod)
                           : pod ? "another pod"
                                 : pod.error().what,
                           "alive");
}

// ---- users ----

Result<Users> Users::start(const Walkthrough& walkthrough) {
  const Question outside{"client", tcp("192.168.231.122", 31947)};
  const Question pod{"coredns-1", tcp("10.104.247.10", 80)};
  const milliseconds interval{100};  // the guest, which has no KVM, is slow enough
  SLUICE_TRY(LongConnection held_outside, hold_connection(walkthrough, outside, "web-2"));
  SLUICE_TRY(LongConnection held_by_pod, hold_connection(walkthrough, pod, "web-3"));
  SLUICE_TRY(Pinger from_outside, keep_asking(walkthrough, outside, interval));
  SLUICE_TRY(Pinger from_pod, keep_asking(walkthrough, pod, interval));
  return Users(std::move(held_outside), std::move(held_by_pod), std::move(from_outside), std::move(from_pod));
}

void Users::check(Walkthrough& walkthrough) && {
  check_steady_traffic(walkthrough, "new connections from outside to its node port meanwhile", from_outside_.stop());
  check_steady_traffic(walkthrough, "new connections from its pod coredns-1 to the cluster IP", from_pod_.stop());
  check_long_connection(walkthrough, "the client's connection from before the switch", held_outside_);
  check_long_connection(walkthrough, "the pod's connection from before the switch", held_by_pod_);
}

Users::Users(LongConnection held_outside, LongConnection held_by_pod, Pinger from_outside, Pinger from_pod)
    : held_outside_(std::move(held_outside)),
      held_by_pod_(std::move(held_by_pod)),
      from_outside_(std::move(from_outside)),
      from_pod_(std::move(from_pod)) {}

}  // namespace sluice::lab
