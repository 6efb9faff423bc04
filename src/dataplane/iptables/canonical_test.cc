// SPDX-License-Identifier: Apache-2.0
#include "dataplane/iptables/canonical.h"

#include <gtest/gtest.h>

#include <map>

#include "dataplane/iptables/test_plans.h"
#include "dataplane/iptables/tool.h"

namespace sluice::dataplane::iptables {
namespace {

struct Pair {
  const char* name;
  Family family;
  const char* written;
  const char* saved;
};

TEST(Canonical, WrittenAndSavedFormsAreOneRule) {
  const std::vector<Pair> rows{
      {"full prefix and order", Family::kIPv4, "-m comment --comment \"a b\" -m tcp -p tcp -d 10.0.0.1 --dport 80 -j X",
       "-d 10.0.0.1/32 -p tcp -m comment --comment \"a b\" -m tcp --dport 80 -j X"},
      {"full prefix, IPv6", Family::kIPv6, "-m udp -p udp -d fd00::1 --dport 53 -j X",
       "-d fd00::1/128 -p udp -m udp --dport 53 -j X"},
      {"quoting", Family::kIPv4, "-m comment --comment a/b:c -j X", "-m comment --comment \"a/b:c\" -j X"},
      {"or-mark", Family::kIPv4, "-j MARK --or-mark 0x00004000", "-j MARK --set-xmark 0x4000/0x4000"},
      {"xor-mark", Family::kIPv4, "-j MARK --xor-mark 0x00004000", "-j MARK --set-xmark 0x4000/0x0"},
      {"mark", Family::kIPv4, "-m mark ! --mark 0x00004000/0x00004000 -j RETURN",
       "-m mark ! --mark 0x4000/0x4000 -j RETURN"},
      {"probability", Family::kIPv4, "-m statistic --mode random --probability 0.3333333333 -j X",
       "-m statistic --mode random --probability 0.33333333349 -j X"},
      {"recent", Family::kIPv4, "-m recent --name L --rcheck --seconds 10800 --reap -j X",
       "-m recent --rcheck --seconds 10800 --reap --name L --mask 255.255.255.255 --rsource -j X"},
      {"recent, IPv6", Family::kIPv6, "-m recent --name L --set -j X",
       "-m recent --set --name L --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource -j X"},
      {"reject", Family::kIPv4, "-d 10.0.0.1 -j REJECT",
       "-d 10.0.0.1/32 -j REJECT --reject-with icmp-port-unreachable"},
      {"reject, IPv6", Family::kIPv6, "-d fd00::1 -j REJECT",
       "-d fd00::1/128 -j REJECT --reject-with icmp6-port-unreachable"},
      {"negated source", Family::kIPv4, "-d 127.0.0.0/8 ! -s 127.0.0.0/8 -j DROP",
       "! -s 127.0.0.0/8 -d 127.0.0.0/8 -j DROP"},
      {"states", Family::kIPv4, "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP",
       "-m conntrack ! --ctstate DNAT,RELATED,ESTABLISHED -j DROP"},
      {"protocol by number", Family::kIPv4, "-m sctp -p sctp --dport 5 -j X", "-p 132 -m sctp --dport 5 -j X"},
      {"every source", Family::kIPv4, "-s 0.0.0.0/0 -j X", "-j X"},
      {"host bits", Family::kIPv4, "-s 10.1.2.3/8 -j X", "-s 10.0.0.0/8 -j X"},
  };
  for (const Pair& row : rows) {
    EXPECT_EQ(canonical_rule(row.family, row.written, Comments::kKeep),
              canonical_rule(row.family, row.saved, Comments::kKeep))
        << row.name;
    RuleHasher hasher(row.family);
    EXPECT_EQ(hasher.hash(row.written, Comments::kKeep), hasher.hash(row.saved, Comments::kKeep)) << row.name;
  }
}

TEST(Canonical, DifferentRulesStayDifferent) {
  const std::vector<Pair> rows{
      {"negation", Family::kIPv4, "-s 10.0.0.0/8 -j X", "! -s 10.0.0.0/8 -j X"},
      {"source and destination", Family::kIPv4, "-s 10.0.0.1 -j X", "-d 10.0.0.1 -j X"},
      {"prefix", Family::kIPv4, "-s 10.0.0.0/8 -j X", "-s 10.0.0.0/9 -j X"},
      {"target", Family::kIPv4, "-j X", "-j Y"},
      {"protocol", Family::kIPv4, "-p tcp --dport 80 -j X", "-p udp --dport 80 -j X"},
      {"port", Family::kIPv4, "-p tcp --dport 80 -j X", "-p tcp --dport 81 -j X"},
      {"comment", Family::kIPv4, "-m comment --comment \"a b\" -j X", "-m comment --comment \"a  b\" -j X"},
      {"probability", Family::kIPv4, "--probability 0.3333333333 -j X", "--probability 0.3333333433 -j X"},
      {"mask", Family::kIPv4, "-j MARK --or-mark 0x4000", "-j MARK --xor-mark 0x4000"},
      {"other refusal", Family::kIPv4, "-j REJECT", "-j REJECT --reject-with tcp-reset"},
      {"a match twice as strict", Family::kIPv4, "-m addrtype --dst-type LOCAL -j X",
       "-m addrtype --src-type LOCAL -j X"},
      {"fully random", Family::kIPv4, "-j MASQUERADE", "-j MASQUERADE --random-fully"},
      {"no target", Family::kIPv4, "-m comment --comment a", "-m comment --comment a -j ACCEPT"},
  };
  RuleHasher hasher(Family::kIPv4);
  for (const Pair& row : rows) {
    EXPECT_NE(canonical_rule(row.family, row.written, Comments::kKeep),
              canonical_rule(row.family, row.saved, Comments::kKeep))
        << row.name;
    EXPECT_NE(hasher.hash(row.written, Comments::kKeep), hasher.hash(row.saved, Comments::kKeep)) << row.name;
  }
}

TEST(Canonical, CommentsCountOnlyWhereAsked) {
  const std::string with = "-m comment --comment \"shop/web:http -> 10.0.0.1:80\" -j X";
  RuleHasher hasher(Family::kIPv4);
  EXPECT_EQ(hasher.hash(with, Comments::kIgnore), hasher.hash("-j X", Comments::kIgnore));
  EXPECT_NE(hasher.hash(with, Comments::kKeep), hasher.hash("-j X", Comments::kKeep));
}

TEST(Canonical, CommentsAreOneWordWhateverTheyContain) {
  EXPECT_EQ(canonical_rule(Family::kIPv4, "-m comment --comment \"a \\\"q\\\" \\\\ -j ! b\" -j X", Comments::kKeep),
            "--comment a \"q\" \\ -j ! b -j X");
}

TEST(Canonical, OddInputIsKeptAsItIs) {
  for (const char* odd :
       {"", "!", "-s", "--mark", "--mark /", "-j", "\"", "--comment", "--probability x", "-p", "\\", "--ctstate"}) {
    (void)canonical_rule(Family::kIPv4, odd, Comments::kKeep);
  }
  EXPECT_EQ(canonical_rule(Family::kIPv4, "-s not-an-address -j X", Comments::kKeep), "-j X -s not-an-address");
}

TEST(Canonical, OrderOfRulesInAChainCounts) {
  EXPECT_NE(extend_digest(extend_digest(kEmptyDigest, 1), 2), extend_digest(extend_digest(kEmptyDigest, 2), 1));
}

// The whole worked example, as kube-proxy writes it and as real iptables-save showed it.
class ByChain : public SaveVisitor {
 public:
  void begin() override { rules.clear(); }
  void chain(std::string_view, std::string_view) override {}
  void rule(std::string_view table, std::string_view chain, std::string_view rule) override {
    if (!chain.starts_with("KUBE-")) return;
    rules[std::string(table) + " " + std::string(chain)].push_back(
        canonical_rule(Family::kIPv4, rule, Comments::kKeep));
  }
  std::map<std::string, std::vector<std::string>> rules;
};

TEST(Canonical, WorkedExampleWrittenEqualsSaved) {
  ByChain written;
  ByChain saved;
  SaveReader(written).feed(read_file(testdata("worked_example.restore")));
  SaveReader(saved).feed(read_file(testdata("worked_example.saved")));
  ASSERT_EQ(written.rules.size(), 15u);
  EXPECT_EQ(written.rules, saved.rules);
}

TEST(SaveReader, PiecesMayEndAnywhere) {
  const std::string text = read_file(testdata("worked_example.saved"));
  ByChain whole;
  SaveReader(whole).feed(text);
  for (const std::size_t size : {1u, 2u, 7u, 1000u}) {
    ByChain pieces;
    SaveReader reader(pieces);
    for (std::size_t i = 0; i < text.size(); i += size) reader.feed(std::string_view(text).substr(i, size));
    EXPECT_EQ(pieces.rules, whole.rules) << size;
  }
}

}  // namespace
}  // namespace sluice::dataplane::iptables
