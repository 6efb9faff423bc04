// SPDX-License-Identifier: Apache-2.0
// Clients of a lab. Their sockets are created in the network namespace of their host; no program is run. All
// calls block, with the bounds in their options. `netns` is a namespace's full name, see Lab::netns(); tests
// mostly use Lab's own shortcuts.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "lab/answer.h"

namespace sluice::lab {

// Where to, and how.
struct Target {
  Protocol protocol = Protocol::kTcp;
  IpAddress address;
  std::uint16_t port = 0;
};
std::string to_string(const Target& target);  // "tcp 10.96.0.1:443"

struct ProbeOptions {
  int count = 1;  // one after the other, each a new connection from a new port (UDP: a new socket)
  // For each. Long enough if an answer is expected: a busy machine and the guest are slow.
  std::chrono::milliseconds timeout{10000};
  std::optional<IpAddress> source = std::nullopt;
  std::uint16_t source_port = 0;  // 0 = any
};

// Why a probe got no answer.
enum class ProbeFailure : std::uint8_t {
  kRefused,      // a reset or ICMP port unreachable: an explicit refusal
  kTimedOut,     // no answer at all
  kUnreachable,  // no route, or ICMP host or network unreachable
  kOther,        // a broken connection, an invalid answer, an unknown host
};
std::string_view to_string(ProbeFailure failure);  // "refused", "timeout", "unreachable", "error"

struct ProbeOutcome {
  std::map<std::string, int> answers;    // by pod
  std::map<ProbeFailure, int> failures;  // by reason
  std::set<IpAddress> clients;           // the client's address, as the servers saw it
  std::set<IpAddress> locals;            // the server's own address of the connection
  std::string last_error;                // of the last failure, for users

  [[nodiscard]] int answered() const;  // in all
  [[nodiscard]] int failed() const;    // in all
  [[nodiscard]] int failed(ProbeFailure reason) const;
  [[nodiscard]] bool all_answered() const { return failed() == 0 && answered() > 0; }
  [[nodiscard]] bool all_failed(ProbeFailure reason) const {
    return answered() == 0 && failed() > 0 && failed(reason) == failed();
  }
  [[nodiscard]] bool answered_only_by(const std::set<std::string>& pods) const;  // by no other; at least one answer
  [[nodiscard]] bool answered_by_each(
      const std::set<std::string>& pods) const;  // by each of them, no other, and no failure
};
std::string to_string(const ProbeOutcome& outcome);  // "web-1 4, web-2 6, refused 1"

ProbeOutcome probe(const std::string& netns, const Target& target, const ProbeOptions& options = {});

// A TCP connection that stays open, or a UDP flow that keeps its port: is it alive, and which pod is its other end.
class LongConnection {
 public:
  static Result<LongConnection> open(const std::string& netns, const Target& target, const ProbeOptions& options = {});
  [[nodiscard]] const Answer& first_answer() const { return first_; }
  // Sends a line and waits for its answer: the pod that answered. An Error means that the connection is dead (or
  // silent).
  Result<std::string> exchange(std::string_view line = "ping");

 private:
  LongConnection(UniqueFd socket, Protocol protocol, std::chrono::milliseconds timeout)
      : socket_(std::move(socket)), protocol_(protocol), timeout_(timeout) {}
  Result<std::string> read_line();
  UniqueFd socket_;
  Protocol protocol_;
  std::chrono::milliseconds timeout_;
  Answer first_;
  std::string received_;
};

// Steady traffic from a thread of its own: a new connection every `interval`, until stop(). For "traffic never stops"
// tests.
class Pinger {
 public:
  struct Failure {
    std::chrono::milliseconds at;  // since the start
    ProbeFailure reason;
    std::string what;
  };
  struct Report {
    int sent = 0;
    std::map<std::string, int> answers;
    int failures_total = 0;
    std::vector<Failure> failures;                 // the first 100 of them
    std::chrono::milliseconds longest_silence{0};  // between two answers, or the start or end
  };

  Pinger(std::string netns, const Target& target, std::chrono::milliseconds interval, const ProbeOptions& options = {});
  Pinger(Pinger&&) noexcept;
  Pinger& operator=(Pinger&&) = delete;
  ~Pinger();                            // stops
  [[nodiscard]] Report report() const;  // so far
  Report stop();                        // waits for the current probe; a second call returns the same report

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// One HTTP/1.0 GET, for the daemons' own pages. An Error if there is no complete answer.
struct HttpAnswer {
  int status = 0;
  std::string body;
};
Result<HttpAnswer> http_get(const std::string& netns, const sys::SocketAddress& server, const std::string& path,
                            std::chrono::milliseconds timeout = std::chrono::milliseconds(2000));

}  // namespace sluice::lab
