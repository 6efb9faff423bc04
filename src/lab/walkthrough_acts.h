// SPDX-License-Identifier: Apache-2.0
// Building blocks of the guided tour's steps: starting proxies, running clients and judging their answers, traffic
// that continues meanwhile.
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <set>
#include <string>
#include <string_view>

#include "base/ip_literals.h"
#include "lab/walkthrough.h"
#include "lab/walkthrough_files.h"

namespace sluice::lab {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

inline constexpr milliseconds kSilenceProbe{400};  // long enough where silence is expected
inline constexpr std::uint16_t kMetricsPort = 10249;

IpAddress loopback();
Target tcp(std::string_view address, std::uint16_t port);
Target udp(std::string_view address, std::uint16_t port);
milliseconds since(SteadyClock::time_point start);
// Polls until `holds` returns true, the time is over or a signal interrupts.
bool eventually(const std::function<bool()>& holds);

// ---- proxies ----
Result<> start_proxy(const Walkthrough& walkthrough, const std::string& node, const std::string& config);
// Waits until it is healthy and `serves` returns true. Ends early if the program ends.
Result<> wait_for_proxy(const Walkthrough& walkthrough, const std::string& node, const std::function<bool()>& serves);
// Restarts the node's proxy with another mode, and `second_document`, in its configuration file.
Result<> restart_in_mode(Walkthrough& walkthrough, const std::string& node, const std::string& mode,
                         const std::function<bool()>& serves, const std::string& second_document = {});
// Checks that the proxy reports this mode, in its log and on its page /proxyMode.
void check_mode(Walkthrough& walkthrough, const std::string& node, const std::string& mode);
// The nat table of a node, of whichever iptables the node uses; empty if there are no rules for Services.
std::string nat_rules(const Lab& lab, const std::string& node);
// The first `count` lines of `text` that have all `words`.
std::string lines_with(const std::string& text, std::initializer_list<std::string_view> words, std::size_t count);

// ---- expectations ----
using Holds = std::function<bool(const ProbeOutcome&)>;
struct Question {
  std::string from;
  Target target;
  ProbeOptions options = {};
};
ProbeOutcome ask(Walkthrough& walkthrough, const Question& question, const Holds& holds, std::string_view wanted);
void ask_each(Walkthrough& walkthrough, const Question& question, const std::set<std::string>& pods);
// The pods take turns: each gives its share of the answers. One more or less is allowed: a UDP client may get a port
// that it had before, and then belongs to a flow that already has its pod.
void ask_in_turn(Walkthrough& walkthrough, const Question& question, const std::set<std::string>& pods);
void ask_one_pod(Walkthrough& walkthrough, const Question& question);
void ask_failure(Walkthrough& walkthrough, const Question& question, ProbeFailure reason);
const std::set<std::string>& web_pods();

// ---- changes ----
Result<> write_service(const Walkthrough& walkthrough, const ExampleService& service);
// New connections of this kind all the time, until its stop().
Result<Pinger> keep_asking(const Walkthrough& walkthrough, const Question& question, milliseconds interval);
void check_steady_traffic(Walkthrough& walkthrough, const std::string& what, const Pinger::Report& report);
// A connection that a client holds to `pod`: new ones are opened until one lands there.
Result<LongConnection> hold_connection(const Walkthrough& walkthrough, const Question& question,
                                       const std::string& pod);
void check_long_connection(Walkthrough& walkthrough, const std::string& what, LongConnection& connection);

// Users of k8s-node1 while its mode changes: a client outside and a pod, each with a connection that stays open and with
// new ones all the time.
class Users {
 public:
  static Result<Users> start(const Walkthrough& walkthrough);
  // Ends them; none of them may have been affected.
  void check(Walkthrough& walkthrough) &&;

 private:
  Users(LongConnection held_outside, LongConnection held_by_pod, Pinger from_outside, Pinger from_pod);
  LongConnection held_outside_;
  LongConnection held_by_pod_;
  Pinger from_outside_;
  Pinger from_pod_;
};

}  // namespace sluice::lab
