// SPDX-License-Identifier: Apache-2.0
// A probe is what a user's client does, reduced to the question that matters here: which pod answered, and if none, how
// did it fail? Refused, silent and unreachable are three different promises of Kubernetes (no endpoints: refused;
// outside the source ranges, or policy Local without a local endpoint: silent), so errno distinguishes them.
#include "lab/probe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <thread>

#include "base/mutex.h"
#include "sys/sockets.h"

namespace sluice::lab {
namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;
constexpr std::size_t kFailuresKept = 100;
constexpr std::size_t kAnswerLengthMax = 8192;
constexpr std::size_t kHttpLengthMax = 16 * 1024 * 1024;

ProbeFailure reason_of(const Error& error) {
  switch (sys::client_failure(error)) {
    case sys::ClientFailure::kRefused:
      return ProbeFailure::kRefused;
    case sys::ClientFailure::kTimedOut:
      return ProbeFailure::kTimedOut;
    case sys::ClientFailure::kUnreachable:
      return ProbeFailure::kUnreachable;
    case sys::ClientFailure::kOther:
      return ProbeFailure::kOther;
  }
  return ProbeFailure::kOther;
}

sys::ConnectSpec connect_spec(const std::string& netns, const Target& target, const ProbeOptions& options) {
  sys::ConnectSpec spec{.netns = netns,
                        .protocol = target.protocol,
                        .to = {target.address, target.port},
                        .from = std::nullopt,
                        .timeout = options.timeout};
  if (options.source || options.source_port != 0) {
    // Unspecified in the target's family: "::" for IPv6, 0.0.0.0 for IPv4.
    const IpAddress any = target.address.family() == Family::kIPv4 ? IpAddress::from_v4(0) : IpAddress();
    spec.from = sys::SocketAddress{options.source.value_or(any), options.source_port};
  }
  return spec;
}

milliseconds left_until(SteadyClock::time_point deadline) {
  return std::max(std::chrono::ceil<milliseconds>(deadline - SteadyClock::now()), milliseconds(0));
}

std::string join(const std::string& text, const std::string& part) {
  return text.empty() ? part : text + ", " + part;
}

void record(ProbeOutcome& outcome, const Result<LongConnection>& connection) {
  if (connection) {
    const Answer& answer = connection->first_answer();
    ++outcome.answers[answer.pod];
    outcome.clients.insert(answer.client.address);
    outcome.locals.insert(answer.local.address);
  } else {
    ++outcome.failures[reason_of(connection.error())];
    outcome.last_error = connection.error().what;
  }
}

}  // namespace

std::string to_string(const Target& target) {
  return fmt::format("{} {}", lower_name(target.protocol), join_host_port(target.address, target.port));
}

std::string_view to_string(ProbeFailure failure) {
  switch (failure) {
    case ProbeFailure::kRefused:
      return "refused";
    case ProbeFailure::kTimedOut:
      return "timeout";
    case ProbeFailure::kUnreachable:
      return "unreachable";
    case ProbeFailure::kOther:
      return "error";
  }
  return "error";
}

int ProbeOutcome::answered() const {
  int sum = 0;
  for (const auto& [pod, count] : answers) sum += count;
  return sum;
}

int ProbeOutcome::failed() const {
  int sum = 0;
  for (const auto& [reason, count] : failures) sum += count;
  return sum;
}

int ProbeOutcome::failed(ProbeFailure reason) const {
  const auto found = failures.find(reason);
  return found == failures.end() ? 0 : found->second;
}

bool ProbeOutcome::answered_only_by(const std::set<std::string>& pods) const {
  return !answers.empty() &&
         std::all_of(answers.begin(), answers.end(), [&](const auto& entry) { return pods.contains(entry.first); });
}

bool ProbeOutcome::answered_by_each(const std::set<std::string>& pods) const {
  return failed() == 0 && answered_only_by(pods) && answers.size() == pods.size();
}

std::string to_string(const ProbeOutcome& outcome) {
  std::string text;
  for (const auto& [pod, count] : outcome.answers) text = join(text, fmt::format("{} {}", pod, count));
  for (const auto& [reason, count] : outcome.failures)
    text = join(text, fmt::format("{} {}", to_string(reason), count));
  return text;
}

ProbeOutcome probe(const std::string& netns, const Target& target, const ProbeOptions& options) {
  ProbeOutcome outcome;
  for (int i = 0; i < options.count; ++i) record(outcome, LongConnection::open(netns, target, options));
  return outcome;
}

Result<LongConnection> LongConnection::open(const std::string& netns, const Target& target,
                                            const ProbeOptions& options) {
  SLUICE_TRY(UniqueFd socket, sys::connect_socket(connect_spec(netns, target, options)));
  LongConnection connection(std::move(socket), target.protocol, options.timeout);
  if (target.protocol == Protocol::kUdp)
    SLUICE_CHECK_OK(sys::send_within(connection.socket_, "who\n", options.timeout));
  SLUICE_TRY(const std::string line, connection.read_line());
  const auto answer = parse_answer(line);
  if (!answer)
    return fail(Errc::kInvalid, fmt::format("{}: '{}' is not an answer of a lab's server", to_string(target), line));
  connection.first_ = *answer;
  return connection;
}

Result<std::string> LongConnection::read_line() {
  const auto deadline = SteadyClock::now() + timeout_;
  while (received_.find('\n') == std::string::npos) {
    SLUICE_TRY(const std::string data, sys::receive_within(socket_, left_until(deadline)));
    if (data.empty()) return fail(Errc::kUnavailable, "the server has closed the connection", EPIPE);
    received_ += data;
    if (received_.size() > kAnswerLengthMax) return fail(Errc::kInvalid, "the server's answer has no end");
  }
  const std::size_t end = received_.find('\n');
  std::string line = received_.substr(0, end);
  received_.erase(0, end + 1);
  return line;
}

Result<std::string> LongConnection::exchange(std::string_view line) {
  SLUICE_CHECK_OK(sys::send_within(socket_, fmt::format("{}\n", line), timeout_));
  SLUICE_TRY(const std::string answered, read_line());
  std::string pod = answered.substr(0, answered.find(' '));
  const bool complete =
      protocol_ == Protocol::kUdp ? parse_answer(answered).has_value() : answered == fmt::format("{} {}", pod, line);
  if (!complete) return fail(Errc::kInvalid, fmt::format("'{}' does not answer '{}'", answered, line));
  return pod;
}

struct Pinger::State {
  std::string netns;
  Target target;
  milliseconds interval{0};
  ProbeOptions options;
  SteadyClock::time_point start = SteadyClock::now();
  mutable Mutex mutex;
  std::condition_variable_any wake;
  bool stopping SLUICE_GUARDED_BY(mutex) = false;
  Report report SLUICE_GUARDED_BY(mutex);
  SteadyClock::time_point last_answer SLUICE_GUARDED_BY(mutex) = start;
  std::thread thread;

  void note_silence() SLUICE_REQUIRES(mutex) {
    const auto silence = std::chrono::duration_cast<milliseconds>(SteadyClock::now() - last_answer);
    report.longest_silence = std::max(report.longest_silence, silence);
  }

  void add(const ProbeOutcome& outcome, SteadyClock::time_point begin) {
    const MutexLock lock(mutex);
    ++report.sent;
    for (const auto& [pod, count] : outcome.answers) report.answers[pod] += count;
    if (outcome.failed() == 0) {
      note_silence();
      last_answer = SteadyClock::now();
      return;
    }
    ++report.failures_total;
    if (report.failures.size() >= kFailuresKept) return;
    report.failures.push_back(
        {std::chrono::duration_cast<milliseconds>(begin - start), outcome.failures.begin()->first, outcome.last_error});
  }

  // Waits until `when`; true if it is over.
  bool wait_until(SteadyClock::time_point when) {
    mutex.lock();
    while (!stopping && SteadyClock::now() < when) wake.wait_until(mutex, when);
    const bool over = stopping;
    mutex.unlock();
    return over;
  }

  void run() {
    auto next = start;
    while (!wait_until(next)) {
      const auto begin = SteadyClock::now();
      add(probe(netns, target, options), begin);
      // Time lost by a probe that took longer than the interval is not made up.
      next = std::max(next + interval, SteadyClock::now());
    }
  }
};

Pinger::Pinger(std::string netns, const Target& target, milliseconds interval, const ProbeOptions& options)
    : state_(std::make_unique<State>()) {
  state_->netns = std::move(netns);
  state_->target = target;
  state_->interval = interval;
  state_->options = options;
  state_->options.count = 1;
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

Pinger::Pinger(Pinger&&) noexcept = default;

Pinger::~Pinger() {
  if (state_) stop();
}

Pinger::Report Pinger::report() const {
  const MutexLock lock(state_->mutex);
  return state_->report;
}

Pinger::Report Pinger::stop() {
  if (state_->thread.joinable()) {
    {
      const MutexLock lock(state_->mutex);
      state_->stopping = true;
    }
    state_->wake.notify_all();
    state_->thread.join();
    const MutexLock lock(state_->mutex);
    state_->note_silence();
  }
  return report();
}

Result<HttpAnswer> http_get(const std::string& netns, const sys::SocketAddress& server, const std::string& path,
                            milliseconds timeout) {
  const auto deadline = SteadyClock::now() + timeout;
  const std::string host = to_string(server);
  SLUICE_TRY(const UniqueFd socket,
             sys::connect_socket({.netns = netns, .to = server, .from = std::nullopt, .timeout = timeout}));
  SLUICE_CHECK_OK(sys::send_within(
      socket, fmt::format("GET {} HTTP/1.0\r\nHost: {}\r\nConnection: close\r\n\r\n", path, host), timeout));
  std::string text;
  while (true) {
    SLUICE_TRY(const std::string data, sys::receive_within(socket, left_until(deadline)));
    if (data.empty()) break;
    text += data;
    if (text.size() > kHttpLengthMax)
      return fail(Errc::kExhausted, fmt::format("http://{}{}: the answer has no end", host, path));
  }
  // "HTTP/1.1 200 OK", headers, an empty line, the body.
  constexpr std::size_t kStatusAt = 9;
  constexpr std::string_view kEmptyLine = "\r\n\r\n";
  const std::size_t body = text.find(kEmptyLine);
  HttpAnswer answer;
  if (!text.starts_with("HTTP/1.") || body == std::string::npos ||
      std::from_chars(text.data() + kStatusAt, text.data() + kStatusAt + 3, answer.status).ec != std::errc()) {
    return fail(Errc::kInvalid, fmt::format("http://{}{}: not an HTTP answer", host, path));
  }
  answer.body = text.substr(body + kEmptyLine.size());
  return answer;
}

}  // namespace sluice::lab
