// SPDX-License-Identifier: Apache-2.0
// For tests: nf_tables' register machine, run over rules as sys::NftRule::text() has them, be they read from the kernel
// or just made. Where chance decides, every way is followed. It knows what our rules use, and fails on anything else.
#pragma once

#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstring>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/nft/elements.h"
#include "dataplane/nftables/layout.h"
#include "plan/route.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

// Where a packet may end.
struct Ending {
  enum class Kind : std::uint8_t { kUntouched, kTranslated, kRejected, kDropped };
  Kind kind = Kind::kUntouched;
  std::string target{};  // "10.244.1.1:8080"
  bool masqueraded = false;
  friend auto operator<=>(const Ending&, const Ending&) = default;
};

class RuleMachine {
 public:
  using Elements = std::map<std::string, nft::Elements>;
  // Chains without rules may be left out.
  RuleMachine(Family family, std::map<std::string, std::vector<std::string>> rules, Elements elements)
      : family_(family), elements_(std::move(elements)) {
    for (const sys::NftSet& set : sets(family)) sets_.emplace(set.name, set);
    for (const auto& [chain, texts] : rules) {
      for (const std::string& text : texts) rules_[chain].push_back(expressions(text));
    }
    for (auto& [set, all] : elements_) std::sort(all.begin(), all.end());
  }

  // Of a packet that opens a connection, and comes by an interface or from this node itself.
  std::set<Ending> endings(const plan::Packet& packet) {
    found_.clear();
    Walk walk{packet, {}, 0, {}, false};
    enter(walk, packet.interface.empty() && packet.from_node ? kOutput : kPrerouting);
    return found_;
  }

 private:
  using Words = std::vector<std::string>;
  using Rule = std::vector<Words>;
  struct Position {
    std::string chain;
    std::size_t rule = 0;
    std::size_t expression = 0;
  };
  struct Walk {
    plan::Packet packet;
    std::array<std::uint8_t, 64> registers;
    std::uint32_t mark;
    std::vector<Position> stack;  // where we are, last
    bool translated;
    std::string target{};
  };

  static Rule expressions(const std::string& text) {
    Rule rule;
    std::istringstream in(text);
    for (std::string word; in >> word;) {
      if (word == "[") {
        rule.emplace_back();
      } else if (word != "]") {
        rule.back().push_back(word);
      }
    }
    return rule;
  }

  static std::size_t offset(const std::string& reg) {
    const unsigned number = static_cast<unsigned>(std::stoul(reg));
    return number < 8 ? (number - 1) * 16 : (number - 8) * 4;
  }
  static std::string after(const Words& words, const std::string& mark, std::size_t skip = 0) {
    const auto found = std::find(words.begin(), words.end(), mark);
    if (found == words.end() || std::distance(found, words.end()) <= static_cast<std::ptrdiff_t>(1 + skip)) return "";
    return *(found + 1 + static_cast<std::ptrdiff_t>(skip));
  }
  // "0x0000f40a 0x..." from `from` on.
  static std::vector<std::uint8_t> data(const Words& words, std::size_t from) {
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = from; i < words.size() && words[i].starts_with("0x"); ++i) {
      const auto word = static_cast<std::uint32_t>(std::stoul(words[i], nullptr, 16));
      std::array<std::uint8_t, 4> four{};
      std::memcpy(four.data(), &word, four.size());
      bytes.insert(bytes.end(), four.begin(), four.end());
    }
    return bytes;
  }

  static void store(Walk& walk, std::size_t at, std::span<const std::uint8_t> bytes) {
    std::fill_n(walk.registers.begin() + static_cast<std::ptrdiff_t>(at), (bytes.size() + 3) / 4 * 4, std::uint8_t{0});
    std::copy(bytes.begin(), bytes.end(), walk.registers.begin() + static_cast<std::ptrdiff_t>(at));
  }
  static void store_number(Walk& walk, std::size_t at, std::uint32_t number) {
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), &number, bytes.size());
    store(walk, at, bytes);
  }
  static std::span<const std::uint8_t> load(const Walk& walk, std::size_t at, std::size_t length) {
    return std::span(walk.registers).subspan(at, length);
  }

  void enter(Walk walk, const std::string& chain) {
    walk.stack.push_back({chain});
    run(std::move(walk));
  }

  void end(const Walk& walk, Ending::Kind kind) {
    Ending ending{kind};
    if (kind == Ending::Kind::kTranslated) {
      ending.target = walk.target;
      ending.masqueraded = masquerades_;
    }
    found_.insert(ending);
  }

  // In postrouting with its new destination.
  bool is_masqueraded(Walk walk) {
    walk.stack = {{kPostrouting}};
    walk.translated = true;
    masquerades_ = false;
    in_postrouting_ = true;
    run(std::move(walk));
    in_postrouting_ = false;
    return masquerades_;
  }

  void run(Walk walk) {
    while (!walk.stack.empty()) {
      Position& at = walk.stack.back();
      const auto chain = rules_.find(at.chain);
      if (chain == rules_.end() || at.rule >= chain->second.size()) {
        walk.stack.pop_back();  // back to behind the jump
        continue;
      }
      const Rule& rule = chain->second[at.rule];
      if (at.expression >= rule.size()) {
        at = {at.chain, at.rule + 1, 0};
        continue;
      }
      const Words& words = rule[at.expression++];
      if (words[0] == "numgen") {
        const std::size_t reg = offset(after(words, "reg"));
        const auto modulus = static_cast<std::uint32_t>(std::stoul(after(words, "mod")));
        const std::string first = after(words, "offset");
        for (std::uint32_t i = 0; i < modulus; ++i) {
          Walk branch = walk;
          store_number(branch, reg, i + (first.empty() ? 0U : static_cast<std::uint32_t>(std::stoul(first))));
          run(std::move(branch));
        }
        return;
      }
      switch (step(walk, words)) {
        case Step::kGoOn:
          break;
        case Step::kNextRule: {
          Position& here = walk.stack.back();
          here = {here.chain, here.rule + 1, 0};
          break;
        }
        case Step::kEnd:
          return;
      }
    }
    if (!in_postrouting_) end(walk, Ending::Kind::kUntouched);
  }

  enum class Step : std::uint8_t { kGoOn, kNextRule, kEnd };

  Step step(Walk& walk, const Words& words) {
    if (words[0] == "payload") return load_payload(walk, words);
    if (words[0] == "meta") return meta(walk, words);
    if (words[0] == "fib") {
      const bool local = words[1] == "saddr" ? walk.packet.from_node : walk.packet.to_node_ports;
      store_number(walk, offset(after(words, "reg")), local ? 2 : 1);  // RTN_LOCAL, RTN_UNICAST
      return Step::kGoOn;
    }
    if (words[0] == "ct") {
      store_number(walk, offset(after(words, "reg")), walk.translated ? 1U << 5U : 0U);  // IPS_DST_NAT
      return Step::kGoOn;
    }
    if (words[0] == "bitwise") {
      const std::size_t at = offset(words[2]);
      const auto mark = std::find(words.begin(), words.end(), "&") - words.begin();
      const auto flip = std::find(words.begin(), words.end(), "^") - words.begin();
      const auto mask = data(words, static_cast<std::size_t>(mark) + 1);
      const auto flipped = data(words, static_cast<std::size_t>(flip) + 1);
      for (std::size_t i = 0; i < mask.size(); ++i)
        walk.registers.at(at + i) = static_cast<std::uint8_t>((walk.registers.at(at + i) & mask[i]) ^ flipped[i]);
      return Step::kGoOn;
    }
    if (words[0] == "cmp") {
      const auto wanted = data(words, 4);
      const bool equal = std::ranges::equal(load(walk, offset(words[3]), wanted.size()), wanted);
      return equal == (words[1] == "eq") ? Step::kGoOn : Step::kNextRule;
    }
    if (words[0] == "lookup") return look_up(walk, words);
    if (words[0] == "immediate") {
      if (words[2] != "0") {
        store(walk, offset(words[2]), data(words, 3));
        return Step::kGoOn;
      }
      return decide(walk, words[3], after(words, "->"));
    }
    if (words[0] == "dynset") return Step::kGoOn;  // no client is remembered
    if (words[0] == "nat") {
      const std::size_t length = family_ == Family::kIPv4 ? 4 : 16;
      const auto address = IpAddress::from_bytes(load(walk, offset(after(words, "addr_min", 1)), length));
      const auto port = load(walk, offset(after(words, "proto_min", 1)), 2);
      walk.target = join_host_port(*address, static_cast<std::uint16_t>(port[0] << 8 | port[1]));
      Walk behind = walk;
      behind.packet.to = *address;
      masquerades_ = is_masqueraded(behind);
      end(walk, Ending::Kind::kTranslated);
      return Step::kEnd;
    }
    if (words[0] == "masq") {
      masquerades_ = true;
      return Step::kEnd;
    }
    if (words[0] == "reject") {
      end(walk, Ending::Kind::kRejected);
      return Step::kEnd;
    }
    ADD_FAILURE() << "the rule machine does not know " << words[0];
    return Step::kEnd;
  }

  Step load_payload(Walk& walk, const Words& words) const {
    const std::size_t at = offset(after(words, "reg"));
    const std::size_t from = std::stoul(after(words, "+"));
    if (after(words, "@") == "transport") {
      const std::array<std::uint8_t, 2> port{static_cast<std::uint8_t>(walk.packet.port >> 8),
                                             static_cast<std::uint8_t>(walk.packet.port & 0xff)};
      EXPECT_EQ(from, 2u);
      store(walk, at, port);
      return Step::kGoOn;
    }
    const bool source = from == (family_ == Family::kIPv4 ? 12u : 8u);
    EXPECT_TRUE(source || from == (family_ == Family::kIPv4 ? 16u : 24u)) << from;
    store(walk, at, (source ? walk.packet.from : walk.packet.to).bytes());
    return Step::kGoOn;
  }

  static Step meta(Walk& walk, const Words& words) {
    const std::size_t at = offset(after(words, "reg"));
    if (words[1] == "set") {
      EXPECT_EQ(words[2], "mark");
      std::memcpy(&walk.mark, walk.registers.data() + at, sizeof walk.mark);
    } else if (words[2] == "mark") {
      store_number(walk, at, walk.mark);
    } else if (words[2] == "l4proto") {
      const std::uint8_t number = ip_protocol_number(walk.packet.protocol);
      store(walk, at, std::span(&number, 1));
    } else if (words[2] == "iifname") {
      std::array<std::uint8_t, 16> name{};
      std::copy(walk.packet.interface.begin(), walk.packet.interface.end(), name.begin());
      store(walk, at, name);
    } else {
      ADD_FAILURE() << "the rule machine does not know meta " << words[2];
    }
    return Step::kGoOn;
  }

  const sys::NftElement* element_of(const Walk& walk, const sys::NftSet& set, std::size_t at) const {
    const auto found = elements_.find(set.name);
    if (found == elements_.end()) return nullptr;
    const auto key = load(walk, at, sys::nft_key_length(set.key));
    const auto hit = std::find_if(found->second.begin(), found->second.end(), [&](const sys::NftElement& element) {
      if (element.key_end.empty()) return std::ranges::equal(element.key, key);
      std::size_t begin = 0;
      for (const sys::NftField field : set.key) {
        const std::size_t length = (sys::nft_field_length(field) + 3) / 4 * 4;
        const auto part = key.subspan(begin, length);
        const auto first = std::span(element.key).subspan(begin, length);
        const auto last = std::span(element.key_end).subspan(begin, length);
        if (std::ranges::lexicographical_compare(part, first) || std::ranges::lexicographical_compare(last, part))
          return false;
        begin += length;
      }
      return true;
    });
    return hit == found->second.end() ? nullptr : &*hit;
  }

  Step look_up(Walk& walk, const Words& words) {
    const std::string name = after(words, "set");
    if (name.starts_with("clients-")) return Step::kNextRule;  // no client is remembered
    const sys::NftSet& set = sets_.at(name);
    const sys::NftElement* element = element_of(walk, set, offset(after(words, "reg")));
    if (element == nullptr) return Step::kNextRule;
    const std::string to = after(words, "dreg");
    if (to.empty()) return Step::kGoOn;
    if (to != "0") {
      store(walk, offset(to), element->value);
      return Step::kGoOn;
    }
    const auto code = static_cast<std::int32_t>(element->verdict->code);
    return decide(walk, code == NFT_GOTO ? "goto" : code == NF_DROP ? "drop" : "?", element->verdict->chain);
  }

  Step decide(Walk& walk, const std::string& verdict, const std::string& chain) {
    if (verdict == "goto") {
      walk.stack.back() = {chain};
      return Step::kGoOn;
    }
    if (verdict == "jump") {
      Position& here = walk.stack.back();
      here = {here.chain, here.rule + 1, 0};
      walk.stack.push_back({chain});
      return Step::kGoOn;
    }
    if (verdict == "drop") {
      end(walk, Ending::Kind::kDropped);
      return Step::kEnd;
    }
    ADD_FAILURE() << "the rule machine does not know the verdict " << verdict;
    return Step::kEnd;
  }

  Family family_;
  std::map<std::string, sys::NftSet> sets_;
  std::map<std::string, std::vector<Rule>> rules_;
  Elements elements_;
  std::set<Ending> found_;
  bool in_postrouting_ = false;
  bool masquerades_ = false;
};

}  // namespace sluice::dataplane::nftables
