// SPDX-License-Identifier: Apache-2.0
#include "sys/nf_tables.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_nat.h>
#include <linux/netfilter/nf_tables.h>
#include <sys/socket.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/unique_fd.h"
#include "sys/process.h"
#include "sys/test_netns.h"

namespace sluice::sys {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;
using Bytes = std::vector<std::uint8_t>;
using enum NftField;

std::string nft(std::vector<std::string> arguments, std::string_view input = {}) {
  arguments.insert(arguments.begin(), "nft");
  const auto outcome = run_and_collect(std::move(arguments), input);
  EXPECT_TRUE(outcome && outcome->exit_status == 0) << (outcome ? outcome->error_output : outcome.error().what);
  return outcome ? outcome->output : "";
}

NftTable must_read(Family family, const std::string& name) {
  const auto read = read_nft_table(family, name);
  EXPECT_TRUE(read && *read) << (read ? "no such table" : read.error().what);
  return read && *read ? **read : NftTable{};
}

// Accepts on a port of 127.0.0.1 of the kernel's choice.
class Listener {
 public:
  Listener() : descriptor_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
    const sockaddr_in any = address("127.0.0.1", 0);
    EXPECT_EQ(::bind(descriptor_.get(), reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    EXPECT_EQ(::listen(descriptor_.get(), 16), 0);
  }
  static sockaddr_in address(const char* text, std::uint16_t port) {
    sockaddr_in result{};
    result.sin_family = AF_INET;
    result.sin_port = htons(port);
    ::inet_pton(AF_INET, text, &result.sin_addr);
    return result;
  }
  [[nodiscard]] std::uint16_t port() const {
    sockaddr_in bound{};
    socklen_t length = sizeof bound;
    ::getsockname(descriptor_.get(), reinterpret_cast<sockaddr*>(&bound), &length);
    return ntohs(bound.sin_port);
  }
  [[nodiscard]] int accepted() const {
    int count = 0;
    while (true) {
      const UniqueFd connection(::accept4(descriptor_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!connection) return count;
      ++count;
    }
  }

 private:
  UniqueFd descriptor_;
};

void connect_to(const char* address, std::uint16_t port) {
  const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in to = Listener::address(address, port);
  EXPECT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << std::strerror(errno);
}

const NftSet kPorts{"ports", {kInetService}, false};
const NftSet kRanges{"ranges", {kIPv4Address, kInetProtocol, kInetService}, true};

TEST(NftKeyLength, PadsFieldsOfConcatenationsAlone) {
  EXPECT_EQ(nft_key_length(std::vector{kInetService}), 2U);
  EXPECT_EQ(nft_key_length(std::vector{kIPv6Address}), 16U);
  EXPECT_EQ(nft_key_length(std::vector{kInetProtocol, kInetService}), 8U);
  EXPECT_EQ(nft_key_length(std::vector{kIPv4Address, kInetProtocol, kInetService, kIPv4Address}), 16U);
  EXPECT_EQ(nft_key_length(std::vector{kIPv6Address, kInetService, kMark}), 24U);
}

TEST(NftRule, ReadsLikeTheProgramThatItIs) {
  NftRule rule("chain", "why");
  rule.load_payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
      .load_meta(NFT_META_L4PROTO, 1)
      .load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 4);
  rule.lookup("set").verdict(static_cast<std::uint32_t>(NFT_JUMP), "other");
  EXPECT_EQ(rule.chain(), "chain");
  EXPECT_EQ(rule.text(),
            "[ payload load 4b @ network header + 16 => reg 1 ] [ meta load l4proto => reg 9 ] "
            "[ payload load 2b @ transport header + 2 => reg 2 ] [ lookup reg 1 set set 0x0 ] "
            "[ immediate reg 0 jump -> other ]");
}

TEST(NftBatch, WhatIsWrittenIsWhatIsRead) {
  in_fresh_netns([] {
    NftBatch batch(Family::kIPv4, "t");
    batch.add_table();
    batch.add_set(kPorts);
    batch.add_set(kRanges);
    const NftChain base{"base", NftHook{"filter", NF_INET_LOCAL_IN, -7, NF_DROP}};
    batch.add_chain(base);
    batch.add_chain({"plain", std::nullopt});
    NftRule rule("base", "a comment");
    rule.load_conntrack(NFT_CT_STATE).mask(2, 0U).compare(NFT_CMP_NEQ, 0U).verdict(NF_ACCEPT);
    batch.add_rule(rule);
    const std::vector<NftElement> ranges{
        {{10, 0, 0, 0, 6, 0, 0, 0, 0, 80, 0, 0}, {10, 255, 255, 255, 6, 0, 0, 0, 0, 81, 0, 0}}};
    batch.add_elements("ranges", ranges);
    EXPECT_EQ(batch.messages(), 7U);
    const auto committed = batch.commit();
    ASSERT_TRUE(committed) << committed.error().what;

    const NftTable wanted{.dormant = false,
                          .chains = {{"base", base}, {"plain", {"plain", std::nullopt}}},
                          .sets = {{"ports", kPorts}, {"ranges", kRanges}},
                          .rules = {{"base", {rule.text()}}}};
    EXPECT_EQ(must_read(Family::kIPv4, "t"), wanted);
    EXPECT_EQ(*read_nft_elements(Family::kIPv4, "t", "ranges"), ranges);
    EXPECT_THAT(*read_nft_elements(Family::kIPv4, "t", "ports"), IsEmpty());
    EXPECT_TRUE(*has_nft_table(Family::kIPv4, "t"));
    EXPECT_FALSE(*has_nft_table(Family::kIPv4, "tt"));
    EXPECT_FALSE(*has_nft_table(Family::kIPv6, "t"));
    EXPECT_FALSE(*read_nft_table(Family::kIPv6, "t")) << "the same name in another family is another table";
    const std::string listed = nft({"list", "table", "ip", "t"});
    EXPECT_THAT(listed, HasSubstr("type filter hook input priority filter - 7; policy drop;"));
    EXPECT_THAT(listed, HasSubstr("ct state established accept comment \"a comment\""));
    EXPECT_THAT(listed, HasSubstr("elements = { 10.0.0.0/8 . tcp . 80-81 }"));
  });
}

TEST(NftBatch, IsDoneAsAWholeOrNotAtAllAndNamesTheCulprit) {
  struct Row {
    const char* name;
    void (*spoil)(NftBatch&);
    const char* culprit;
    Errc code;
  };
  const std::vector<Row> rows{
      {"a set that is not there", [](NftBatch& b) { b.add_elements("none", std::vector<NftElement>{{{0, 1}, {}}}); },
       "nftables: table ip t: add 1 elements of set none: ", Errc::kNotFound},
      {"an element that is not there",
       [](NftBatch& b) { b.remove_elements("ports", std::vector<NftElement>{{{0, 1}, {}}}); },
       "nftables: table ip t: remove 1 elements of set ports: ", Errc::kNotFound},
      {"a key of another length",
       [](NftBatch& b) { b.add_elements("ports", std::vector<NftElement>{{{1, 2, 3, 4}, {}}}); },
       "nftables: table ip t: add 1 elements of set ports: ", Errc::kInvalid},
      {"a chain of an unknown type", [](NftBatch& b) { b.add_chain({"c", NftHook{"none", NF_INET_LOCAL_IN, 0}}); },
       "nftables: table ip t: add chain c: ", Errc::kNotFound},
      {"a jump to nowhere",
       [](NftBatch& b) {
         b.add_chain({"c", std::nullopt});
         b.add_rule(NftRule("c").verdict(static_cast<std::uint32_t>(NFT_JUMP), "none"));
       },
       "nftables: table ip t: add to chain c the rule [ immediate reg 0 jump -> none ]: ", Errc::kNotFound},
      {"ranges that overlap",
       [](NftBatch& b) {
         b.add_elements(
             "ranges",
             std::vector<NftElement>{{{10, 0, 0, 0, 6, 0, 0, 0, 0, 80, 0, 0}, {10, 0, 0, 9, 6, 0, 0, 0, 0, 80, 0, 0}},
                                     {{10, 0, 0, 5, 6, 0, 0, 0, 0, 80, 0, 0}, {10, 0, 0, 6, 6, 0, 0, 0, 0, 80, 0, 0}}});
       },
       "nftables: table ip t: add 2 elements of set ranges: ", Errc::kAlreadyExists},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    in_fresh_netns([&row] {
      NftBatch batch(Family::kIPv4, "t");
      batch.add_table();
      batch.add_set(kPorts);
      batch.add_set(kRanges);
      row.spoil(batch);
      batch.add_chain({"last", std::nullopt});
      const auto committed = batch.commit();
      ASSERT_FALSE(committed);
      EXPECT_EQ(committed.error().code, row.code);
      EXPECT_THAT(committed.error().what, StartsWith(row.culprit));
      EXPECT_NE(committed.error().sys_errno, 0);
      EXPECT_THAT(nft({"list", "ruleset"}), IsEmpty());
    });
  }
}

TEST(NftBatch, ElementsThatAreThereAreLeftAndOnesThatGoMakeRoom) {
  in_fresh_netns([] {
    const std::vector<NftElement> wide{
        {{10, 0, 0, 0, 6, 0, 0, 0, 0, 80, 0, 0}, {10, 255, 255, 255, 6, 0, 0, 0, 0, 80, 0, 0}}};
    const std::vector<NftElement> narrow{
        {{10, 1, 0, 0, 6, 0, 0, 0, 0, 80, 0, 0}, {10, 1, 255, 255, 6, 0, 0, 0, 0, 80, 0, 0}}};
    NftBatch first(Family::kIPv4, "t");
    first.add_table();
    first.add_set(kRanges);
    first.add_elements("ranges", wide);
    ASSERT_TRUE(first.commit());
    NftBatch again(Family::kIPv4, "t");
    again.add_elements("ranges", wide);
    EXPECT_TRUE(again.commit());
    NftBatch swap(Family::kIPv4, "t");
    swap.remove_elements("ranges", wide);
    swap.add_elements("ranges", narrow);
    const auto swapped = swap.commit();
    ASSERT_TRUE(swapped) << swapped.error().what;
    EXPECT_EQ(*read_nft_elements(Family::kIPv4, "t", "ranges"), narrow);
  });
}

TEST(NftBatch, OneElementIsOneMessageHoweverManyThereAre) {
  in_fresh_netns([] {
    const NftSet addresses{"addresses", {kIPv6Address}, false};
    std::vector<NftElement> all;
    for (unsigned i = 0; i < 65536; ++i) {
      Bytes key(16);
      key[14] = static_cast<std::uint8_t>(i >> 8);
      key[15] = static_cast<std::uint8_t>(i & 0xff);
      all.push_back({key, {}});
    }
    NftBatch batch(Family::kIPv6, "t");
    batch.add_table();
    batch.add_set(addresses);
    batch.add_elements("addresses", all);
    EXPECT_GT(batch.messages(), 20U) << "an attribute holds less than 64 KiB";
    const auto committed = batch.commit();
    ASSERT_TRUE(committed) << committed.error().what;
    // After so many the kernel resizes its hash table for a while (lib/rhashtable.c), and a dump meanwhile may miss
    // some.
    bool complete = false;
    for (int attempt = 0; attempt < 1000 && !complete; ++attempt) {
      complete = *read_nft_elements(Family::kIPv6, "t", "addresses") == all;
      if (!complete) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    EXPECT_TRUE(complete);
    NftBatch one(Family::kIPv6, "t");
    one.remove_elements("addresses", std::span(all).first(1));
    EXPECT_EQ(one.messages(), 1U);
    EXPECT_TRUE(one.commit());
    EXPECT_EQ(read_nft_elements(Family::kIPv6, "t", "addresses")->size(), 65535U);
  });
}

TEST(NftBatch, OfNothingAsksNothing) {
  in_fresh_netns([] { EXPECT_TRUE(NftBatch(Family::kIPv4, "t").commit()); });
}

TEST(NftBatch, ATableCanBeReplacedInOneGo) {
  in_fresh_netns([] {
    nft({"-f", "-"}, "table ip t { set old { type mark; }; chain c { accept; }; }");
    NftBatch batch(Family::kIPv4, "t");
    batch.delete_table();
    batch.add_table();
    batch.add_chain({"c", std::nullopt});
    ASSERT_TRUE(batch.commit());
    EXPECT_EQ(must_read(Family::kIPv4, "t"), (NftTable{.chains = {{"c", {"c", std::nullopt}}}}));
  });
}

TEST(ReadNftTable, TellsWhatOthersMake) {
  in_fresh_netns([] {
    EXPECT_FALSE(*read_nft_table(Family::kIPv4, "t"));
    nft({"-f", "-"},
        "table ip t {\n"
        " set plain { type inet_proto . inet_service; }\n"
        " set timed { type inet_service; timeout 1h; }\n"
        " set merged { type ipv4_addr; flags interval; auto-merge; }\n"
        " set other { type ether_addr; }\n"
        " map verdicts { type inet_service : verdict; }\n"
        " chain a { counter; }\n"
        "}\n"
        "table ip t { flags dormant; }\n"
        "table ip u { set more { type inet_service; }; chain b { accept; }; }\n");
    const NftTable read = must_read(Family::kIPv4, "t");
    EXPECT_TRUE(read.dormant);
    EXPECT_EQ(read.chains.size(), 1U);
    EXPECT_THAT(read.rules.at("a"), ElementsAre("[ counter pkts 0 bytes 0 ]"));
    EXPECT_EQ(read.sets.size(), 5U);
    EXPECT_EQ(read.sets.at("plain"), (NftSet{"plain", {kInetProtocol, kInetService}, false}));
    EXPECT_EQ(read.sets.at("timed").timeout, std::chrono::hours(1));
    EXPECT_TRUE(read.sets.at("verdicts").verdicts);
    for (const char* name : {"merged", "other"}) EXPECT_THAT(read.sets.at(name).key, IsEmpty()) << name;
  });
}

// A small balancer, as a data plane makes them: a map of verdicts leads a Service's address to a chain, which draws a
// number and takes the destination from a map that all Services share, and remembers the client.
const NftSet kServices{.name = "services", .key = {kIPv4Address, kInetProtocol, kInetService}, .verdicts = true};
const NftSet kEndpoints{
    .name = "endpoints", .key = {kIPv4Address, kInetService, kMark}, .value = {kIPv4Address, kInetService}};
const NftSet kClients{.name = "clients",
                      .key = {kIPv4Address},
                      .dynamic = true,
                      .timeout = std::chrono::seconds(0),
                      .elements_max = 1000};
const NftSet kSticky{.name = "sticky",
                     .key = {kIPv4Address},
                     .value = {kMark},
                     .dynamic = true,
                     .timeout = std::chrono::minutes(3),
                     .elements_max = 1000};

Bytes endpoint_key(std::uint32_t number) {
  Bytes key{10, 0, 0, 1, 0, 80, 0, 0};
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&number);
  key.insert(key.end(), bytes, bytes + sizeof number);
  return key;
}

NftElement endpoint(std::uint32_t number, std::uint16_t port) {
  return {.key = endpoint_key(number),
          .key_end = {},
          .value = {127, 0, 0, 1, static_cast<std::uint8_t>(port >> 8), static_cast<std::uint8_t>(port & 0xff), 0, 0}};
}

struct Balancer {
  NftBatch batch{Family::kIPv4, "t"};
  NftRule dispatch{"output"};
  NftRule balance{"of-two"};
  NftRule remember{"of-two"};
  std::vector<NftElement> services{
      {{10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0}, {}, {}, NftVerdict{static_cast<std::uint32_t>(NFT_GOTO), "of-two"}},
      {{10, 0, 0, 1, 6, 0, 0, 0, 0, 81, 0, 0}, {}, {}, NftVerdict{NF_DROP}}};
  std::vector<NftElement> endpoints;

  Balancer(std::uint16_t first, std::uint16_t second) : endpoints{endpoint(0, first), endpoint(1, second)} {
    dispatch.load_payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
        .load_meta(NFT_META_L4PROTO, 1)
        .load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 2)
        .verdict_of("services");
    remember.load_payload(NFT_PAYLOAD_NETWORK_HEADER, 12, 4)
        .update_element("clients", 0, std::chrono::hours(1))
        .load_value(Bytes{7, 0, 0, 0}, 1)
        .update_element("sticky", 0, {}, 1);
    balance.load_payload(NFT_PAYLOAD_NETWORK_HEADER, 16, 4)
        .load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 1)
        .load_number(NFT_NG_INCREMENTAL, 2, 2)
        .load_mapped("endpoints", 0, 8)
        .translate_destination(Family::kIPv4, 8, 9);
    batch.add_table();
    for (const NftSet& set : {kEndpoints, kClients, kSticky}) batch.add_set(set);
    batch.add_chain({"of-two", std::nullopt});
    batch.add_chain({"output", NftHook{"nat", NF_INET_LOCAL_OUT, -100}});
    batch.add_set(kServices);
    for (const NftRule* rule : {&dispatch, &remember, &balance}) batch.add_rule(*rule);
    batch.add_elements("services", services);
    batch.add_elements("endpoints", endpoints);
  }
};

TEST(NftMaps, WhatIsWrittenIsWhatIsReadAndWhatNftPrints) {
  in_fresh_netns([] {
    const Balancer balancer(8080, 8081);
    const auto committed = balancer.batch.commit();
    ASSERT_TRUE(committed) << committed.error().what;
    const NftTable live = must_read(Family::kIPv4, "t");
    for (const NftSet& set : {kServices, kEndpoints, kClients, kSticky}) EXPECT_EQ(live.sets.at(set.name), set);
    EXPECT_THAT(live.rules.at("output"), ElementsAre(balancer.dispatch.text()));
    EXPECT_THAT(live.rules.at("of-two"), ElementsAre(balancer.remember.text(), balancer.balance.text()));
    EXPECT_EQ(*read_nft_elements(Family::kIPv4, "t", "services"), balancer.services);
    EXPECT_EQ(*read_nft_elements(Family::kIPv4, "t", "endpoints"), balancer.endpoints);
    const std::string listed = nft({"list", "table", "ip", "t"});
    EXPECT_THAT(listed, HasSubstr("type ipv4_addr . inet_proto . inet_service : verdict"));
    EXPECT_THAT(listed, HasSubstr("10.0.0.1 . tcp . 80 : goto of-two"));
    EXPECT_THAT(listed, HasSubstr("10.0.0.1 . tcp . 81 : drop"));
    EXPECT_THAT(listed, HasSubstr("type ipv4_addr . inet_service . mark : ipv4_addr . inet_service"));
    EXPECT_THAT(listed, HasSubstr("10.0.0.1 . 80 . 0x00000001 : 127.0.0.1 . 8081"));
    EXPECT_THAT(listed, HasSubstr("ip daddr . meta l4proto . th dport vmap @services"));
    EXPECT_THAT(listed, HasSubstr("update @clients { ip saddr timeout 1h }"));
    EXPECT_THAT(listed, HasSubstr("update @sticky { ip saddr : 0x00000007 }"));
    EXPECT_THAT(listed, HasSubstr("dnat ip to ip daddr . th dport . numgen inc mod 2 map @endpoints"));
  });
}

TEST(NftMaps, TheKernelBalancesByThem) {
  in_fresh_netns([] {
    run({"ip", "link", "set", "lo", "up"});
    run({"ip", "address", "add", "10.0.0.1/32", "dev", "lo"});
    const Listener first;
    const Listener second;
    ASSERT_TRUE(Balancer(first.port(), second.port()).batch.commit());
    for (int i = 0; i < 4; ++i) connect_to("10.0.0.1", 80);
    EXPECT_EQ(first.accepted(), 2);
    EXPECT_EQ(second.accepted(), 2);
    const Bytes client{10, 0, 0, 1};  // the route's source
    EXPECT_EQ(*read_nft_elements(Family::kIPv4, "t", "clients"), (std::vector<NftElement>{{client, {}}}));
    EXPECT_EQ(*read_nft_elements(Family::kIPv4, "t", "sticky"),
              (std::vector<NftElement>{{client, {}, Bytes{7, 0, 0, 0}}}));
  });
}

TEST(NftMaps, NumbersBeginWhereTheyAreTold) {
  in_fresh_netns([] {
    NftBatch batch(Family::kIPv4, "t");
    batch.add_table();
    batch.add_set({"seen", {NftField::kMark}});
    batch.add_chain({"output", NftHook{"filter", NF_INET_LOCAL_OUT, 0}});
    NftRule rule("output");
    rule.load_number(NFT_NG_INCREMENTAL, 1000, 1, 65536).lookup("seen", 1).verdict(NF_DROP);
    batch.add_rule(rule);
    const auto committed = batch.commit();
    ASSERT_TRUE(committed) << committed.error().what;
    EXPECT_THAT(must_read(Family::kIPv4, "t").rules.at("output"), ElementsAre(rule.text()));
    EXPECT_THAT(nft({"list", "table", "ip", "t"}), HasSubstr("numgen inc mod 1000 offset 65536"));
  });
}

TEST(NftBatch, DeletesASetWithItsElements) {
  in_fresh_netns([] {
    NftBatch made(Family::kIPv4, "t");
    made.add_table();
    made.add_set({"ports", {NftField::kInetService}});
    made.add_elements("ports", std::vector<NftElement>{{{0, 80}, {}}});
    ASSERT_TRUE(made.commit());
    NftBatch deleted(Family::kIPv4, "t");
    deleted.delete_set("ports");
    ASSERT_TRUE(deleted.commit());
    EXPECT_EQ(must_read(Family::kIPv4, "t").sets.size(), 0u);
    EXPECT_EQ(deleted.commit().error().code, Errc::kNotFound);
  });
}

TEST(NftBatch, DeletesTheRulesOfAChainAndTheChain) {
  in_fresh_netns([] {
    NftBatch made(Family::kIPv4, "t");
    made.add_table();
    made.add_chain({"a", std::nullopt});
    made.add_chain({"b", std::nullopt});
    for (const char* chain : {"a", "a", "b"}) {
      NftRule rule(chain);
      rule.verdict(NF_DROP);
      made.add_rule(rule);
    }
    ASSERT_TRUE(made.commit());
    NftBatch emptied(Family::kIPv4, "t");
    emptied.delete_rules("a");
    emptied.delete_rules("a");  // there are none any more
    ASSERT_TRUE(emptied.commit());
    EXPECT_EQ(must_read(Family::kIPv4, "t").rules.size(), 1u);
    EXPECT_EQ(must_read(Family::kIPv4, "t").chains.size(), 2u);
    NftBatch deleted(Family::kIPv4, "t");
    deleted.delete_chain("a");
    ASSERT_TRUE(deleted.commit());
    EXPECT_EQ(must_read(Family::kIPv4, "t").chains.size(), 1u);
    EXPECT_EQ(deleted.commit().error().code, Errc::kNotFound);
  });
}

TEST(NftMaps, AnElementOfAnotherValueIsRefused) {
  in_fresh_netns([] {
    ASSERT_TRUE(Balancer(8080, 8081).batch.commit());
    NftBatch batch(Family::kIPv4, "t");
    batch.add_elements("endpoints", std::vector{endpoint(0, 9090)});
    const auto committed = batch.commit();
    ASSERT_FALSE(committed);
    EXPECT_EQ(committed.error().code, Errc::kAlreadyExists);
    NftBatch replace(Family::kIPv4, "t");
    replace.remove_elements("endpoints", std::vector{endpoint(0, 8080)});
    replace.add_elements("endpoints", std::vector{endpoint(0, 9090)});
    EXPECT_TRUE(replace.commit());
    EXPECT_EQ(*read_nft_elements(Family::kIPv4, "t", "endpoints"), (std::vector{endpoint(0, 9090), endpoint(1, 8081)}));
  });
}

TEST(NftMaps, SixteenByteAddressesFitTheRegisters) {
  in_fresh_netns([] {
    NftBatch batch(Family::kIPv6, "t");
    batch.add_table();
    batch.add_set(
        {.name = "endpoints", .key = {kIPv6Address, kInetService, kMark}, .value = {kIPv6Address, kInetService}});
    batch.add_chain({"c", NftHook{"nat", NF_INET_PRE_ROUTING, -100}});
    NftRule rule("c");
    rule.load_payload(NFT_PAYLOAD_NETWORK_HEADER, 24, 16)
        .load_payload(NFT_PAYLOAD_TRANSPORT_HEADER, 2, 2, 4)
        .load_number(NFT_NG_RANDOM, 3, 5)
        .load_mapped("endpoints", 0, 8)
        .translate_destination(Family::kIPv6, 8, 12);
    batch.add_rule(rule);
    const auto committed = batch.commit();
    ASSERT_TRUE(committed) << committed.error().what;
    EXPECT_THAT(must_read(Family::kIPv6, "t").rules.at("c"), ElementsAre(rule.text()));
    EXPECT_THAT(nft({"list", "table", "ip6", "t"}), HasSubstr("numgen random mod 3 map @endpoints"));
  });
}

TEST(NftRules, MasqueradeMayBeToARangeOfPorts) {
  in_fresh_netns([] {
    for (const Family family : kFamilies) {
      NftBatch batch(family, "t");
      batch.add_table();
      batch.add_chain({"c", NftHook{"nat", NF_INET_POST_ROUTING, 100}});
      NftRule rule("c");
      rule.load_value(Bytes{0x80, 0}, 8)
          .load_value(Bytes{0xff, 0xff}, 12)
          .masquerade_to_ports(NF_NAT_RANGE_PROTO_RANDOM_FULLY, 8, 12);
      batch.add_rule(rule);
      const auto committed = batch.commit();
      ASSERT_TRUE(committed) << committed.error().what;
      EXPECT_THAT(must_read(family, "t").rules.at("c"), ElementsAre(rule.text()));
      EXPECT_THAT(nft({"list", "table", family == Family::kIPv4 ? "ip" : "ip6", "t"}),
                  HasSubstr("masquerade to :32768-65535 fully-random"));
    }
  });
}

TEST(ReadNftElements, ASetThatIsNotThereIsNotFound) {
  in_fresh_netns([] {
    const auto read = read_nft_elements(Family::kIPv4, "t", "none");
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, Errc::kNotFound);
    EXPECT_THAT(read.error().what, HasSubstr("set none of table ip t"));
  });
}

TEST(NfTables, GenerationTellsWhetherAnythingChanged) {
  in_fresh_netns([] {
    const auto first = nft_generation();
    ASSERT_TRUE(first) << first.error().what;
    EXPECT_EQ(*nft_generation(), *first);
    run({"nft", "add", "table", "ip6", "others"});
    EXPECT_NE(*nft_generation(), *first);
  });
}

}  // namespace
}  // namespace sluice::sys
