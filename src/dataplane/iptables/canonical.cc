// SPDX-License-Identifier: Apache-2.0
// To leave correct rules alone, live rules must be compared with wanted ones; but
//
//   written  -m comment --comment "a b" -m tcp -p tcp -d 10.0.0.1 --dport 80 -m statistic --probability 0.3333333333 ...
//   saved    -d 10.0.0.1/32 -p tcp -m comment --comment "a b" -m tcp --dport 80 -m statistic --mode random
//            --probability 0.33333333349
//
// are the same rule. A rule is a conjunction of matches, so we split it into elements ("option and its values, maybe
// negated"), give every element one spelling, ignore their order, and drop what means nothing: "-m x" where an
// option of x follows anyway, and defaults that only iptables-save prints. The order of matches matters only
// for matches with side effects; of those we write one (recent --set), always beside the same neighbours.
//
// The hash of a rule is the sum of its elements' mixed hashes: independent of order, and nothing needs sorting or
// joining, which matters at 215,000 rules (5,000 Services of 10 real servers).
#include "dataplane/iptables/canonical.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

namespace sluice::dataplane::iptables {
namespace {

// Splits into words as iptables-restore does (xshared.c: add_param_to_argv): quotes group, a backslash within quotes
// escapes.
void split(std::string_view rule, std::vector<std::string>& words, std::size_t& count) {
  count = 0;
  std::size_t i = 0;
  while (i < rule.size()) {
    if (rule[i] == ' ' || rule[i] == '\t') {
      ++i;
      continue;
    }
    if (count == words.size()) words.emplace_back();
    std::string& word = words[count++];
    word.clear();
    bool quoted = false;
    for (; i < rule.size() && (quoted || (rule[i] != ' ' && rule[i] != '\t')); ++i) {
      if (rule[i] == '"') {
        quoted = !quoted;
      } else if (rule[i] == '\\' && quoted && i + 1 < rule.size()) {
        word += rule[++i];
      } else {
        word += rule[i];
      }
    }
  }
}

// "0x00004000" and "0x4000" alike.
std::string plain_number(std::string_view text) {
  std::uint64_t value = 0;
  const bool hex = text.starts_with("0x") || text.starts_with("0X");
  const std::string_view digits = hex ? text.substr(2) : text;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
  if (error != std::errc() || end != digits.data() + digits.size()) return std::string(text);
  return fmt::format("{:#x}", value);
}

std::string value_and_mask(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) return plain_number(text) + "/0xffffffff";
  return plain_number(text.substr(0, slash)) + "/" + plain_number(text.substr(slash + 1));
}

std::string prefix(Family family, const std::string& text) {
  if (const auto cidr = Cidr::parse(text)) return cidr->to_string();
  if (const auto address = IpAddress::parse(text))
    return Cidr(*address, family == Family::kIPv4 ? 32 : 128).to_string();
  return text;
}

std::string protocol_number(const std::string& text) {
  if (text == "tcp") return "6";
  if (text == "udp") return "17";
  if (text == "sctp") return "132";
  return text;
}

std::string sorted_list(std::string_view text) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t comma = text.find(',');
    parts.push_back(text.substr(0, comma));
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  std::sort(parts.begin(), parts.end());
  return fmt::format("{}", fmt::join(parts, ","));
}

// Brings an option and its value to one spelling; false if it means nothing.
bool normalise(Family family, Comments comments, bool negated, std::string& option, std::string& value) {
  if (option == "-s" || option == "-d") {
    value = prefix(family, value);
    return negated || !value.ends_with("/0");
  }
  if (option == "--comment") return comments == Comments::kKeep;
  if (option == "-m" || option == "--rsource") return false;
  if (option == "-p") {
    value = protocol_number(value);
  } else if (option == "--mask") {  // of the match recent: all bits by default
    return value != "255.255.255.255" && value != "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
  } else if (option == "--or-mark") {
    option = "--set-xmark";
    value = plain_number(value) + "/" + plain_number(value);
  } else if (option == "--xor-mark") {
    option = "--set-xmark";
    value = plain_number(value) + "/0x0";
  } else if (option == "--set-xmark" || option == "--mark") {
    value = value_and_mask(value);
  } else if (option == "--probability") {  // kept by the kernel in 31 bits (xt_statistic.h)
    value = std::to_string(std::llround(std::strtod(value.c_str(), nullptr) * 2147483648.0));
  } else if (option == "--reject-with") {
    return value != "icmp-port-unreachable" && value != "icmp6-port-unreachable";
  } else if (option == "--ctstate") {
    value = sorted_list(value);
  }
  return true;
}

// Calls `take` for every element of the rule that means something.
template <typename Take>
void for_each_element(Family family, std::string_view rule, Comments comments, std::vector<std::string>& words,
                      std::string& element, Take take) {
  std::size_t count = 0;
  split(rule, words, count);
  bool negated = false;
  for (std::size_t i = 0; i < count;) {
    if (words[i] == "!") {
      negated = true;
      ++i;
      continue;
    }
    std::string option = words[i++];
    std::string value;
    // A comment is one word whatever it looks like; other values end where the next option begins.
    if (option == "--comment" && i < count) {
      value = words[i++];
    } else {
      while (i < count && words[i] != "!" && !words[i].starts_with('-')) {
        if (!value.empty()) value += ' ';
        value += words[i++];
      }
    }
    if (normalise(family, comments, negated, option, value)) {
      element.assign(negated ? "! " : "").append(option);
      if (!value.empty()) element.append(" ").append(value);
      take(element);
    }
    negated = false;
  }
}

// The finaliser of MurmurHash3: a change of one bit changes half of the result's.
std::uint64_t mix(std::uint64_t value) {
  value ^= value >> 33;
  value *= 0xff51afd7ed558ccdULL;
  value ^= value >> 33;
  value *= 0xc4ceb9fe1a85ec53ULL;
  value ^= value >> 33;
  return value;
}

}  // namespace

std::string canonical_rule(Family family, std::string_view rule, Comments comments) {
  std::vector<std::string> words;
  std::string element;
  std::vector<std::string> elements;
  for_each_element(family, rule, comments, words, element, [&](const std::string& text) { elements.push_back(text); });
  std::sort(elements.begin(), elements.end());
  return fmt::format("{}", fmt::join(elements, " "));
}

std::uint64_t RuleHasher::hash(std::string_view rule, Comments comments) {
  std::uint64_t sum = 0;
  for_each_element(family_, rule, comments, words_, element_,
                   [&](const std::string& text) { sum += mix(std::hash<std::string_view>()(text)); });
  return sum;
}

std::uint64_t extend_digest(std::uint64_t digest, std::uint64_t rule_hash) {
  return mix(digest * 31 + rule_hash);
}

}  // namespace sluice::dataplane::iptables
