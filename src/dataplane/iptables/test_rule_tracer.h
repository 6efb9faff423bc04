// SPDX-License-Identifier: Apache-2.0
// Traces packets through the rules of one Service port. The tracer models of netfilter what the rules use: a
// packet that nat translates is forwarded, and passes filter with its new destination, which no rule of a Service port
// matches. One that nat leaves alone meets filter's KUBE-PROXY-FIREWALL, KUBE-SERVICES and KUBE-EXTERNAL-SERVICES with
// its own. Random choices and remembered clients may go either way, so both ways are followed.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <compare>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/ip_literals.h"
#include "dataplane/iptables/encode.h"
#include "dataplane/iptables/iptables_data_plane.h"
#include "plan/route.h"

namespace sluice::dataplane::iptables {

using plan::Packet;

// One way through nat.
struct Outcome {
  std::string target;  // "ip:port", or empty: not translated
  bool masqueraded = false;
  friend auto operator<=>(const Outcome&, const Outcome&) = default;
};

inline std::vector<std::string> words_of(const std::string& rule) {
  std::vector<std::string> words;
  std::istringstream in(rule);
  std::string word;
  while (in >> word) {
    if (word.starts_with('"')) {  // a comment, which is ignored
      while (!word.ends_with('"') && in >> word) continue;
      word = "(comment)";
    }
    words.push_back(word);
  }
  return words;
}

struct ParsedRule {
  bool matches = true;
  bool maybe = false;  // depends on chance or memory
  std::string jump;
  std::string translated;  // --to-destination
};

inline bool holds(const std::string& option, const std::string& value, const Packet& packet) {
  if (option == "-d" || option == "-s") {
    const IpAddress& address = option == "-d" ? packet.to : packet.from;
    return value.find('/') == std::string::npos ? ip(value) == address : cidr(value).contains(address);
  }
  if (option == "--dport") return std::to_string(packet.port) == value;
  if (option == "--src-type") return packet.from_node;
  if (option == "--dst-type") return packet.to_node_ports;
  if (option == "-i") {
    return value.ends_with('+') ? packet.interface.starts_with(value.substr(0, value.size() - 1))
                                : packet.interface == value;
  }
  if (option == "-p") return value == lower_name(packet.protocol);
  static const std::set<std::string> kNoCondition{"-m", "--comment", "--mode", "--probability", "--name", "--seconds"};
  if (!kNoCondition.contains(option)) ADD_FAILURE() << "the tracer does not know " << option;
  return true;
}

inline ParsedRule parse(const std::vector<std::string>& words, const Packet& packet) {
  ParsedRule parsed;
  bool negated = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "!") {
      negated = true;
      continue;
    }
    if (word == "--rcheck" || word == "--reap" || word == "--set") {
      parsed.maybe = parsed.maybe || word == "--rcheck";
      continue;
    }
    const std::string& value = words.at(++i);
    if (word == "-j") {
      parsed.jump = value;
    } else if (word == "--to-destination") {
      parsed.translated = value;
    } else {
      if (word == "--probability") parsed.maybe = true;
      if (holds(word, value, packet) == negated) {
        parsed.matches = false;
        return parsed;
      }
    }
    negated = false;
  }
  return parsed;
}

class Tracer {
 public:
  explicit Tracer(const PortRules& rules) { add(rules); }
  Tracer() = default;

  void add(const PortRules& rules) {
    for (const DispatchRule& rule : rules.dispatch) {
      (table_of(rule.chain) == Table::kNat ? nat_ : filter_)[std::string(name_of(rule.chain))].push_back(
          words_of(rule.rule));
    }
    for (const PortChain& chain : rules.chains) {
      auto& split = nat_[chain.name];
      for (const std::string& rule : chain.rules) split.push_back(words_of(rule));
    }
  }

  std::set<Outcome> nat(const Packet& packet) {
    std::set<Outcome> outcomes;
    for (const auto& [masqueraded, ended] : walk(std::string(kServicesChain), packet, {{false}}, outcomes)) {
      if (packet.to_node_ports) {
        walk(std::string(kNodePortsChain), packet, {{masqueraded}}, outcomes, true);
      } else {
        outcomes.insert({"", masqueraded});
      }
    }
    return outcomes;
  }

  // What filter does to a packet that nat left alone: "reject", "drop" or "pass".
  std::string filter(const Packet& packet) {
    std::vector<std::string_view> chains{kProxyFirewallChain};
    const bool arrives = packet.to_node_ports;  // INPUT, also from the node itself by lo
    const bool leaves = packet.from_node;       // OUTPUT
    if (leaves || !arrives) chains.push_back(kServicesChain);
    if (arrives || !leaves) chains.push_back(kExternalServicesChain);
    for (const std::string_view chain : chains) {
      for (const auto& rule : filter_[std::string(chain)]) {
        const ParsedRule parsed = parse(rule, packet);
        if (!parsed.matches) continue;
        if (parsed.jump == "REJECT") return "reject";
        if (parsed.jump == "DROP") return "drop";
      }
    }
    return "pass";
  }

 private:
  struct State {
    bool masqueraded = false;
    bool ended = false;
    friend auto operator<=>(const State&, const State&) = default;
  };

  // The states in which packets reach the chain's end.
  std::set<State> walk(const std::string& chain, const Packet& packet, std::set<State> states,
                       std::set<Outcome>& outcomes, bool last = false) {
    for (const auto& rule : nat_[chain]) {
      const ParsedRule parsed = parse(rule, packet);
      if (!parsed.matches || parsed.jump.empty()) continue;
      std::set<State> next;
      if (parsed.maybe) next = states;
      for (const State& state : states) {
        if (parsed.jump == kMarkMasqChain) {
          next.insert({true});
        } else if (parsed.jump == "DNAT") {
          outcomes.insert({parsed.translated, state.masqueraded});
        } else {
          EXPECT_TRUE(nat_.contains(parsed.jump)) << chain << " jumps to a chain that is not there: " << parsed.jump;
          for (const State& back : walk(parsed.jump, packet, {state}, outcomes)) next.insert(back);
        }
      }
      states = std::move(next);
    }
    if (last) {
      for (const State& state : states) outcomes.insert({"", state.masqueraded});
    }
    return states;
  }

  using Chains = std::map<std::string, std::vector<std::vector<std::string>>>;  // each rule as its words
  Chains nat_;
  Chains filter_;
};

// What the rules do to the packet is what the plan requires.
inline void expect_routed(Tracer& tracer, const Packet& packet, const plan::Routing& routing) {
  plan::Fate fate = routing.fate;
  if (fate == plan::Fate::kFiltered && !routing.service_port->has_endpoints &&
      !mode_capabilities().can(Gap::kFilterBeforeRefusal))
    fate = plan::Fate::kReject;
  std::set<Outcome> wanted;
  for (const plan::Candidate& candidate : routing.candidates) {
    wanted.insert({candidate.server.to_string(), candidate.masquerade});
  }
  const std::set<Outcome> outcomes = tracer.nat(packet);
  if (fate == plan::Fate::kForward) {
    ASSERT_EQ(outcomes, wanted);
    return;
  }
  for (const Outcome& outcome : outcomes) ASSERT_EQ(outcome.target, "") << "translated";
  const bool refused = fate == plan::Fate::kReject || fate == plan::Fate::kDrop;
  const bool own_to_external = packet.from_node && !packet.to_node_ports && !routing.frontend.internal();
  if (refused && own_to_external && !mode_capabilities().can(Gap::kRefuseOwnPackets)) {
    ASSERT_EQ(tracer.filter(packet), "pass") << "a gap that is none";
    return;
  }
  ASSERT_EQ(tracer.filter(packet), fate == plan::Fate::kReject    ? "reject"
                                   : fate == plan::Fate::kNotOurs ? "pass"
                                                                  : "drop");
}

inline std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
  return out << (outcome.target.empty() ? "untranslated" : outcome.target) << (outcome.masqueraded ? "+masq" : "");
}

}  // namespace sluice::dataplane::iptables
