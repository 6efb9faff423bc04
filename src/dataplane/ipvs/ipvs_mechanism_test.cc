// SPDX-License-Identifier: Apache-2.0
// Against the kernel, in the test's own network namespace, except for the engine, the settings and the notes.
#include "dataplane/ipvs/ipvs_mechanism.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "dataplane/ipvs/record.h"
#include "dataplane/ipvs/test_world.h"
#include "ipvs/borrowed_engine.h"
#include "sys/fake_sysctls.h"
#include "sys/links.h"
#include "sys/nf_tables.h"
#include "sys/test_netns.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::AddRealServer;
using sluice::ipvs::AddVirtualServer;
using sluice::ipvs::FakeEngine;
using sluice::ipvs::RealServer;
using sluice::ipvs::RealServerKey;
using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

// kube-proxy's rules in iptables: so many chains, one per piece.
class FakeRules : public RulesInIptables {
 public:
  explicit FakeRules(std::size_t& chains, std::size_t& looks) : chains_(chains), looks_(looks) {}
  Leftovers leftovers() override {
    ++looks_;
    return all();
  }
  Removal remove(Leftovers) override {
    --chains_;
    Removal removal;
    removal.removed.push_back({"chain", "chains", 1});
    removal.left = all();
    return removal;
  }

 private:
  [[nodiscard]] Leftovers all() const {
    Leftovers found;
    if (chains_ > 0) found.objects.push_back({"chain", "chains", chains_});
    return found;
  }
  std::size_t& chains_;
  std::size_t& looks_;
};

class IpvsMechanismTest : public testing::Test {
 protected:
  IpvsMechanismTest() {
    char name[] = "/tmp/sluice-state-XXXXXX";
    folder_ = ::mkdtemp(name);
  }
  ~IpvsMechanismTest() override { std::filesystem::remove_all(folder_); }

  IpvsMechanism mechanism(MechanismSettings settings = {}) {
    settings.plane.state_folder = folder_;
    settings.plane.drain_timeout = std::chrono::minutes(15);
    Surroundings surroundings;
    surroundings.open_engine = borrow(first_);
    surroundings.engines_in_use = [this] {
      return std::vector<Surroundings::OpenEngine>{borrow(first_), borrow(second_)};
    };
    surroundings.kube_proxys_rules = std::make_unique<FakeRules>(chains_, looks_);
    surroundings.notes = sysctls_.notes_access();
    return {std::move(settings), std::move(surroundings), sysctls_.journal()};
  }
  static Surroundings::OpenEngine borrow(FakeEngine& engine) {
    return [&engine]() -> Result<std::unique_ptr<sluice::ipvs::Engine>> {
      return std::unique_ptr<sluice::ipvs::Engine>(std::make_unique<sluice::ipvs::BorrowedEngine>(engine));
    };
  }
  static void add(FakeEngine& engine, const VirtualServerKey& key,
                  std::initializer_list<const char*> real_servers = {}) {
    std::vector<TableChange> changes{AddVirtualServer{VirtualServer::of(key)}};
    for (const char* address : real_servers) {
      RealServer server;
      server.key = RealServerKey::of(ip(address), 8080);
      server.method = sluice::ipvs::ForwardMethod::kMasquerade;
      changes.emplace_back(AddRealServer{key, server});
    }
    const auto failures = engine.apply(changes);
    ASSERT_TRUE(failures && failures->empty());
  }
  static void make_node() {
    ASSERT_TRUE(sys::add_bridge(kServiceDevice));
    ASSERT_TRUE(open_service_device()->add(std::vector<IpAddress>{ip("172.30.0.1"), ip("fd00::1")}));
    ASSERT_TRUE(sys::add_bridge("eth0"));
    ASSERT_TRUE(sys::add_address("eth0", ip("192.0.2.1"), 24));
  }
  static std::vector<std::string> words(const std::vector<Objects>& objects) {
    std::vector<std::string> texts;
    for (const Objects& each : objects) texts.push_back(each.to_string());
    return texts;
  }

  std::string folder_;
  FakeEngine first_;
  FakeEngine second_;
  sys::FakeSysctls sysctls_{{{"net/ipv4/vs/conntrack", "0"}}, {}};
  std::size_t chains_ = 0;
  std::size_t looks_ = 0;
};

TEST_F(IpvsMechanismTest, RemovesWhatIsOnTheDeviceOrOnARecordedNodePortOfEveryEngine) {
  in_fresh_netns([this] {
    make_node();
    ASSERT_TRUE(NodePortRecord(folder_, Family::kIPv4).before({{Protocol::kTcp, 30080}}));
    const std::vector<VirtualServerKey> keys{tcp("172.30.0.1", 443),     tcp("fd00::1", 443),
                                             tcp("192.0.2.1", 30080),    udp("192.0.2.1", 30080),
                                             tcp("198.51.100.1", 30080), VirtualServerKey::of_mark(Family::kIPv4, 7)};
    for (const auto& key : keys) add(first_, key);
    add(second_, tcp("172.30.0.1", 80));
    IpvsMechanism mechanism = this->mechanism();
    const Leftovers found = mechanism.leftovers({});
    EXPECT_THAT(words(found.objects),
                ElementsAre("4 virtual servers", "the device kube-ipvs0", "our record of node ports"));
    EXPECT_EQ(found.drain_timeout, std::chrono::minutes(15));
    const Removal done = remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(words(done.removed), ElementsAre("4 virtual servers", "the device kube-ipvs0"));
    for (std::size_t i = 0; i < keys.size(); ++i)
      EXPECT_EQ(first_.live(keys[i]) == nullptr, i < 3) << sluice::ipvs::to_string(keys[i]);
    EXPECT_EQ(second_.live(tcp("172.30.0.1", 80)), nullptr);
    EXPECT_FALSE(*sys::link_exists(kServiceDevice));
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
    EXPECT_TRUE(mechanism.leftovers({}).none()) << "a second look";
  });
}

// The folder is lost, as in a container without the mount: the table knows.
TEST_F(IpvsMechanismTest, NodePortsAreKnownWithoutTheFolder) {
  in_fresh_netns([this] {
    make_node();
    HelperElements elements;
    elements.service_addresses = {ip("172.30.0.1")};
    elements.masqueraded_node_ports = {{Protocol::kTcp, 30080}};
    elements.unmasqueraded_node_ports = {{Protocol::kUdp, 30053}};
    const auto table = open_helper_table({});
    ASSERT_TRUE(table && (*table)->replace(elements));
    for (const auto& key : {tcp("192.0.2.1", 30080), udp("192.0.2.1", 30053), udp("192.0.2.1", 30080)})
      add(first_, key, {"10.1.0.2"});
    IpvsMechanism mechanism = this->mechanism();
    const Removal done = remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_THAT(words(done.removed),
                ElementsAre("2 virtual servers", "the device kube-ipvs0", "the nftables table ip sluice-ipvs"));
    EXPECT_NE(first_.live(udp("192.0.2.1", 30080)), nullptr) << "no record calls it ours";
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

TEST_F(IpvsMechanismTest, TheTableKnowsTheAddressesAlsoWhereTheDeviceWasDeleted) {
  in_fresh_netns([this] {
    HelperSettings settings;
    settings.family = Family::kIPv6;
    HelperElements elements;
    elements.service_addresses = {ip("fd00::1")};
    const auto table = open_helper_table(settings);
    ASSERT_TRUE(table && (*table)->replace(elements));
    for (const char* address : {"fd00::1", "fd00::2"}) add(first_, tcp(address, 443));
    IpvsMechanism mechanism = this->mechanism();
    const Removal done = remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_THAT(words(done.removed), ElementsAre("1 virtual server", "the nftables table ip6 sluice-ipvs"));
    EXPECT_NE(first_.live(tcp("fd00::2", 443)), nullptr) << "not recorded";
  });
}

// Neither file nor table: what looks like a node port is named, and is not removed, until it is gone.
TEST_F(IpvsMechanismTest, UnrecordedVirtualServersAreReportedAndStay) {
  in_fresh_netns([this] {
    make_node();
    add(first_, tcp("172.30.0.1", 80), {"10.1.0.2", "10.1.0.3"});
    add(first_, tcp("192.0.2.1", 30080), {"10.1.0.2"});
    add(first_, tcp("192.0.2.1", 80), {"10.9.9.9"});
    add(first_, tcp("192.0.2.1", 81));
    IpvsMechanism mechanism = this->mechanism();
    EXPECT_THAT(mechanism.leftovers({}).unsure, ElementsAre(HasSubstr("TCP 192.0.2.1:30080")));
    EXPECT_THAT(remove_all(mechanism, mechanism.leftovers({})).problems, IsEmpty());
    EXPECT_NE(first_.live(tcp("192.0.2.1", 30080)), nullptr);
    EXPECT_NE(first_.live(tcp("192.0.2.1", 80)), nullptr);
    // Nothing of a Service is left to compare with, but it is still reported.
    IpvsMechanism another = this->mechanism();
    EXPECT_THAT(another.leftovers({}).unsure, ElementsAre(HasSubstr("TCP 192.0.2.1:30080")));
    EXPECT_FALSE(another.leftovers({}).none());
    ASSERT_TRUE(first_.apply(std::vector<TableChange>{sluice::ipvs::RemoveVirtualServer{tcp("192.0.2.1", 30080)}}));
    EXPECT_THAT(another.leftovers({}).unsure, IsEmpty());
    (void)remove_all(another, another.leftovers({}));
    EXPECT_TRUE(another.leftovers({}).none());
    EXPECT_THAT(sysctls_.notes, IsEmpty());
  });
}

// The mode came back with its records: what was named for want of them is ours, and goes.
TEST_F(IpvsMechanismTest, WhatWasNamedAndIsOnRecordNowGoes) {
  in_fresh_netns([this] {
    make_node();
    add(first_, tcp("172.30.0.1", 80), {"10.1.0.2"});
    add(first_, tcp("192.0.2.1", 30080), {"10.1.0.2"});
    IpvsMechanism mechanism = this->mechanism();
    (void)remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_THAT(mechanism.leftovers({}).unsure, ElementsAre(HasSubstr("TCP 192.0.2.1:30080")));
    ASSERT_TRUE(NodePortRecord(folder_, Family::kIPv4).before({{Protocol::kTcp, 30080}}));
    EXPECT_THAT(mechanism.leftovers({}).unsure, IsEmpty());
    (void)remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_TRUE(mechanism.leftovers({}).none()) << "a second look";
    EXPECT_EQ(first_.live(tcp("192.0.2.1", 30080)), nullptr);
  });
}

// The device deleted by hand and nf_tables flushed: the folder says that the mode was here, nothing says on which addresses.
TEST_F(IpvsMechanismTest, AddressesThatNoRecordExplainsAreNamed) {
  in_fresh_netns([this] {
    ASSERT_TRUE(sys::add_bridge("eth0"));
    ASSERT_TRUE(sys::add_address("eth0", ip("192.0.2.1"), 24));
    ASSERT_TRUE(NodePortRecord(folder_, Family::kIPv4).before({{Protocol::kTcp, 30080}}));
    add(first_, tcp("172.30.0.1", 80), {"10.1.0.2"});
    add(first_, tcp("172.30.0.2", 80));
    add(first_, tcp("192.0.2.1", 30080), {"10.1.0.2"});
    add(first_, tcp("192.0.2.1", 80), {"10.1.0.2"});
    add(first_, VirtualServerKey::of_mark(Family::kIPv4, 7));
    const sluice::ipvs::AddVirtualServer tunnelled{VirtualServer::of(tcp("172.30.0.3", 80))};
    RealServer server;
    server.key = RealServerKey::of(ip("10.1.0.2"), 80);
    server.method = sluice::ipvs::ForwardMethod::kTunnel;
    ASSERT_TRUE(first_.apply(std::vector<TableChange>{tunnelled, AddRealServer{tunnelled.server.key, server}}));
    IpvsMechanism mechanism = this->mechanism();
    const auto named = ElementsAre(HasSubstr("TCP 172.30.0.1:80"), HasSubstr("TCP 172.30.0.2:80"));
    const Leftovers found = mechanism.leftovers({});
    EXPECT_THAT(found.unsure, named);
    EXPECT_THAT(found.unrecognised, IsEmpty());
    EXPECT_THAT(words(remove_all(mechanism, mechanism.leftovers({})).removed), Contains("1 virtual server"));
    EXPECT_THAT(mechanism.leftovers({}).unsure, named) << "a second look";
    EXPECT_NE(first_.live(tcp("172.30.0.1", 80)), nullptr);
  });
}

TEST_F(IpvsMechanismTest, WhereNothingIsOnRecordWhatStandsIsCounted) {
  in_fresh_netns([this] {
    for (const char* address : {"172.30.0.1", "172.30.0.2"}) add(first_, tcp(address, 80), {"10.1.0.2"});
    add(first_, VirtualServerKey::of_mark(Family::kIPv4, 7));
    const Leftovers found = mechanism().leftovers({});
    EXPECT_THAT(words(found.unrecognised), ElementsAre("2 virtual servers"));
    EXPECT_TRUE(found.none()) << "others' most likely";
    make_node();
    EXPECT_THAT(mechanism().leftovers({}).unrecognised, IsEmpty());
  });
}

TEST_F(IpvsMechanismTest, ManyVirtualServersAreRemovedInPieces) {
  in_fresh_netns([this] {
    make_node();
    constexpr std::size_t kServers = 2 * IpvsMechanism::kPiece + 1;
    for (std::size_t i = 0; i < kServers; ++i) add(first_, tcp("172.30.0.1", static_cast<std::uint16_t>(1 + i)));
    IpvsMechanism mechanism = this->mechanism();
    Leftovers left = mechanism.leftovers({});
    for (const std::size_t expected : {kServers - IpvsMechanism::kPiece, std::size_t{1}}) {
      Removal removal = mechanism.remove(std::move(left));
      EXPECT_EQ(removal.left.objects.front(), (Objects{"virtual server", "virtual servers", expected}));
      left = std::move(removal.left);
      EXPECT_TRUE(*sys::link_exists(kServiceDevice)) << "what receives packets is removed first";
    }
    (void)remove_all(mechanism, std::move(left));
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

TEST_F(IpvsMechanismTest, ConnectionsOfLeftoversAreCounted) {
  in_fresh_netns([this] {
    make_node();
    for (const char* address : {"172.30.0.1", "192.0.2.1"}) {
      add(first_, tcp(address, 80), {"10.1.0.2"});
      first_.live(tcp(address, 80))->real_servers.front().active_connections = 3;
    }
    ASSERT_TRUE(NodePortRecord(folder_, Family::kIPv4).before({{Protocol::kTcp, 30080}}));
    EXPECT_EQ(mechanism().leftovers({}).connections, 3u) << "those of others do not keep us";
  });
}

TEST_F(IpvsMechanismTest, SettingsAreChangedByTheFirstApplyAndRestoredByRemoval) {
  in_fresh_netns([this] {
    IpvsMechanism mechanism = this->mechanism();
    auto plane = mechanism.open({.family = Family::kIPv4, .detector = {}});
    ASSERT_TRUE(plane) << plane.error().what;
    EXPECT_EQ(mechanism.flavour(), "fake");
    EXPECT_EQ(sysctls_.values["net/ipv4/vs/conntrack"], "0") << "opening writes nothing";
    Changes nothing;
    nothing.full = true;
    (void)(*plane)->apply(nothing);
    EXPECT_EQ(sysctls_.values["net/ipv4/vs/conntrack"], "1");
    const std::vector<Family> serving{Family::kIPv4, Family::kIPv6};
    EXPECT_THAT(words(mechanism.leftovers(serving).objects), IsEmpty()) << "beside what serves";
    const Removal done = remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(words(done.removed), Contains("our value of net/ipv4/vs/conntrack (it is 0 again)"));
    EXPECT_EQ(sysctls_.values["net/ipv4/vs/conntrack"], "0");
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

// A node that was dual-stack and serves IPv4 alone now.
TEST_F(IpvsMechanismTest, TheFamilyThatIsNotServedIsLeftOver) {
  in_fresh_netns([this] {
    make_node();
    HelperElements elements;
    elements.service_addresses = {ip("fd00::1")};
    const auto table = open_helper_table({.family = Family::kIPv6, .masquerade = {}});
    ASSERT_TRUE(table && (*table)->replace(elements));
    add(first_, tcp("fd00::1", 443));
    add(first_, tcp("172.30.0.1", 443));
    IpvsMechanism mechanism = this->mechanism();
    const std::vector<Family> serving{Family::kIPv4};
    const Removal done = remove_all(mechanism, mechanism.leftovers(serving));
    EXPECT_THAT(words(done.removed),
                ElementsAre("1 virtual server", "1 address of kube-ipvs0", "the nftables table ip6 sluice-ipvs"));
    EXPECT_NE(first_.live(tcp("172.30.0.1", 443)), nullptr);
    EXPECT_TRUE(*sys::link_exists(kServiceDevice));
    EXPECT_TRUE(mechanism.leftovers(serving).none());
  });
}

// An engine that needs neither: no device, and of the table what replaces the source of what it marks.
TEST_F(IpvsMechanismTest, ABareEngineGetsRulesAndNoDevice) {
  in_fresh_netns([this] {
    first_.describe(kBareEngine);
    IpvsMechanism mechanism = this->mechanism();
    ASSERT_TRUE(mechanism.probe(Family::kIPv4));
    auto plane = mechanism.open({.family = Family::kIPv4, .detector = {}});
    ASSERT_TRUE(plane) << plane.error().what;
    EXPECT_EQ(mechanism.flavour(), "bare");
    const auto applied = (*plane)->apply(full({service_port("shop/web", "172.30.0.1")}));
    ASSERT_TRUE(applied) << applied.error().what;
    EXPECT_NE(first_.live(tcp("172.30.0.1", 80)), nullptr);
    EXPECT_FALSE(*sys::link_exists(kServiceDevice));
    const auto table = sys::read_nft_table(Family::kIPv4, kMasqueradeTableName);
    ASSERT_TRUE(table && table->has_value());
    EXPECT_THAT((*table)->sets, IsEmpty());
    EXPECT_EQ((*table)->chains.size(), 1U);
    EXPECT_EQ(first_.rules().read(Family::kIPv4)->rules.size(), 1U);
    EXPECT_EQ(sysctls_.values["net/ipv4/vs/conntrack"], "0") << "no setting of ip_vs";

    add(first_, tcp("198.51.100.9", 80));
    EXPECT_TRUE(mechanism.leftovers(kFamilies).none()) << "beside what serves";
    const Removal done = remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(words(done.removed), Contains("1 virtual server"));
    EXPECT_EQ(first_.live(tcp("172.30.0.1", 80)), nullptr) << "the record knew its address";
    EXPECT_NE(first_.live(tcp("198.51.100.9", 80)), nullptr) << "made by hand";
    EXPECT_THAT(words(done.removed), Contains("2 rules of engine bare")) << "its rule and the route of its address";
    EXPECT_TRUE(first_.rules().empty());
    EXPECT_TRUE(first_.in_node()) << "it serves what was made by hand";
    EXPECT_FALSE(*sys::has_nft_table(Family::kIPv4, kMasqueradeTableName));
    EXPECT_TRUE(std::filesystem::is_empty(folder_));
    EXPECT_TRUE(mechanism.leftovers({}).none());
  });
}

TEST_F(IpvsMechanismTest, AnEngineThatServesNothingLeavesTheNode) {
  in_fresh_netns([this] {
    first_.describe(kBareEngine);
    IpvsMechanism mechanism = this->mechanism();
    EXPECT_TRUE(mechanism.leftovers({}).none()) << "it was never there";
    std::filesystem::remove_all(folder_);
    add(first_, tcp("172.30.0.1", 80));
    add(first_, tcp("192.0.2.1", 30080));
    ASSERT_TRUE(sys::add_bridge("eth0"));
    ASSERT_TRUE(sys::add_address("eth0", ip("192.0.2.1"), 24));
    const VirtualServerKey node_port = tcp("0.0.0.0", 30080);
    ASSERT_TRUE(first_.rules().replace(
        {}, {{{tcp("172.30.0.1", 80), 0}, {node_port, sluice::ipvs::kAnyOwnAddress}}, {}, {ip("172.30.0.1")}}));
    const Leftovers found = mechanism.leftovers({});
    EXPECT_THAT(words(found.objects),
                ElementsAre("2 virtual servers", "3 rules of engine bare", "the programs of engine bare"))
        << "the rules say whose the virtual servers are, where no file does";
    const Removal done = remove_all(mechanism, mechanism.leftovers({}));
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(words(done.removed),
                ElementsAre("2 virtual servers", "3 rules of engine bare", "the programs of engine bare"));
    EXPECT_FALSE(first_.in_node());
    EXPECT_TRUE(mechanism.leftovers({}).none());

    // As ipvsadm -A and -D leave it.
    add(first_, tcp("198.51.100.9", 80));
    ASSERT_TRUE(first_.flush());
    EXPECT_THAT(words(remove_all(mechanism, mechanism.leftovers({})).removed),
                ElementsAre("the programs of engine bare"));
    EXPECT_FALSE(first_.in_node());
  });
}

TEST_F(IpvsMechanismTest, AnEngineThatGotAVirtualServerMeanwhileStaysAndIsNamed) {
  in_fresh_netns([this] {
    first_.describe(kBareEngine);
    IpvsMechanism mechanism = this->mechanism();
    ASSERT_TRUE(first_.rules().replace({}, {{{tcp("172.30.0.1", 80), 0}}, {}, {}}));
    add(first_, tcp("172.30.0.1", 80));
    Leftovers found = mechanism.leftovers({});
    EXPECT_THAT(words(found.objects), Contains("the programs of engine bare"));
    add(first_, tcp("198.51.100.9", 80));
    const Removal done = remove_all(mechanism, std::move(found));
    EXPECT_THAT(words(done.removed), Not(Contains("the programs of engine bare")));
    EXPECT_THAT(done.problems, ElementsAre(HasSubstr("the programs of engine bare stay")));
    EXPECT_TRUE(first_.in_node());
  });
}

// Such as that of an administrator's ipvsadm, seen from a container without the node's BPF file system.
TEST_F(IpvsMechanismTest, AnEngineWhoseTableIsOutOfSightStaysUnlessAllIsToGo) {
  in_fresh_netns([this] {
    first_.describe(kBareEngine);
    add(first_, tcp("198.51.100.9", 80));
    ASSERT_TRUE(first_.flush());
    first_.out_of_sight = true;
    IpvsMechanism mechanism = this->mechanism();
    const Leftovers found = mechanism.leftovers({});
    EXPECT_THAT(found.objects, IsEmpty());
    EXPECT_THAT(found.unsure,
                ElementsAre(AllOf(HasSubstr("the programs of engine bare"), HasSubstr("sluice cleanup"))));
    MechanismSettings settings;
    settings.remove_engines_out_of_sight = true;
    IpvsMechanism cleanup = this->mechanism(settings);
    EXPECT_THAT(words(remove_all(cleanup, cleanup.leftovers({})).removed), ElementsAre("the programs of engine bare"));
    EXPECT_FALSE(first_.in_node());
  });
}

TEST_F(IpvsMechanismTest, StrictArpWithoutEffectIsNamedOnce) {
  std::vector<std::string> warnings;
  MechanismSettings settings;
  settings.strict_arp = true;
  settings.plane.warn = [&](const Warning& warning) { warnings.push_back(warning.what); };
  in_fresh_netns([&] {
    first_.describe(kBareEngine);
    IpvsMechanism mechanism = this->mechanism(settings);
    ASSERT_TRUE(mechanism.prepare_node({}));
    ASSERT_TRUE(mechanism.prepare_node({}));
    EXPECT_THAT(warnings, ElementsAre(HasSubstr("ipvs.strictARP has no effect with engine bare")));
    EXPECT_EQ(first_.prepared, 2u);
    first_.describe(sluice::ipvs::describe_ip_vs("kernel"));
    ASSERT_TRUE(this->mechanism(settings).prepare_node({}));
    EXPECT_EQ(warnings.size(), 1u);
  });
}

// ipvs.engine was changed: what the other engine needed goes, and only that.
TEST_F(IpvsMechanismTest, WhatAnotherEngineNeededIsLeftOverWhileThisOneServes) {
  in_fresh_netns([this] {
    make_node();
    HelperElements elements;
    elements.service_addresses = {ip("172.30.0.1"), ip("172.30.0.2")};
    const auto table = open_helper_table({});
    ASSERT_TRUE(table && (*table)->replace(elements));
    second_.describe(sluice::ipvs::describe_ip_vs("kernel"));
    for (const char* address : {"172.30.0.1", "172.30.0.2"}) add(second_, tcp(address, 80));

    first_.describe(kBareEngine);
    IpvsMechanism mechanism = this->mechanism();
    const std::vector<Family> serving{Family::kIPv4};
    auto plane = mechanism.open({.family = Family::kIPv4, .detector = {}});
    ASSERT_TRUE(plane && (*plane)->apply(full({service_port("shop/web", "172.30.0.1")})));
    const Removal done = remove_all(mechanism, mechanism.leftovers(serving));
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(words(done.removed),
                ElementsAre("2 virtual servers", "the device kube-ipvs0", "the nftables table ip sluice-ipvs"));
    EXPECT_TRUE(*sys::has_nft_table(Family::kIPv4, kMasqueradeTableName));
    EXPECT_NE(first_.live(tcp("172.30.0.1", 80)), nullptr);
    EXPECT_TRUE(mechanism.leftovers(serving).none());
  });
}

TEST_F(IpvsMechanismTest, WhatABareEngineServedIsLeftOverWhileTheKernelsServes) {
  in_fresh_netns([this] {
    make_node();
    ASSERT_TRUE(AddressRecord(folder_, Family::kIPv4).before({ip("172.30.0.1"), ip("172.30.0.2")}));
    second_.describe(kBareEngine);
    for (const char* address : {"172.30.0.1", "172.30.0.2"}) add(second_, tcp(address, 80));
    ASSERT_TRUE(second_.rules().replace({}, {{{tcp("172.30.0.1", 80), 0}}, {}, {}}));

    first_.describe(sluice::ipvs::describe_ip_vs("kernel"));
    IpvsMechanism mechanism = this->mechanism();
    const std::vector<Family> serving{Family::kIPv4};
    auto plane = mechanism.open({.family = Family::kIPv4, .detector = {}});
    ASSERT_TRUE(plane && (*plane)->apply(full({service_port("shop/web", "172.30.0.1")})));
    const Removal done = remove_all(mechanism, mechanism.leftovers(serving));
    EXPECT_THAT(done.problems, IsEmpty());
    EXPECT_THAT(words(done.removed), ElementsAre("2 virtual servers", "1 rule of engine bare",
                                                 "1 address of kube-ipvs0", "the programs of engine bare"))
        << "the address is one of the family that is not served";
    EXPECT_NE(first_.live(tcp("172.30.0.1", 80)), nullptr);
    EXPECT_EQ(second_.live(tcp("172.30.0.1", 80)), nullptr);
    EXPECT_FALSE(second_.in_node());
    EXPECT_TRUE(*sys::link_exists(kServiceDevice));
    EXPECT_FALSE(AddressRecord(folder_, Family::kIPv4).exists());
    EXPECT_TRUE(mechanism.leftovers(serving).none());
  });
}

// kube-proxy's rules are read where its IP sets are, or where nothing serves; the sets go last.
TEST_F(IpvsMechanismTest, KubeProxysRulesAndIpSetsAreRemoved) {
  for (const bool serves : {false, true}) {
    for (const bool sets : {false, true}) {
      SCOPED_TRACE(testing::Message() << serves << " " << sets);
      in_fresh_netns([&] {
        chains_ = 3;
        looks_ = 0;
        if (sets) run({"ipset", "create", "KUBE-CLUSTER-IP", "hash:ip,port"});
        run({"ipset", "create", "mine", "hash:ip"});
        IpvsMechanism mechanism = this->mechanism();
        const std::vector<Family> both{Family::kIPv4, Family::kIPv6};
        const auto serving = serves ? std::span<const Family>(both) : std::span<const Family>();
        const Removal done = remove_all(mechanism, mechanism.leftovers(serving));
        EXPECT_EQ(looks_, serves && !sets ? 0u : 1u);
        EXPECT_EQ(chains_, serves && !sets ? 3u : 0u);
        EXPECT_EQ(run({"ipset", "list", "-n"}), "mine\n");
        if (sets) {
          EXPECT_THAT(words(done.removed), ElementsAre("3 chains", "1 IP set"));
        }
      });
    }
  }
}

}  // namespace
}  // namespace sluice::dataplane::ipvs
