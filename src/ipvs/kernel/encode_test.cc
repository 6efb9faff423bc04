// SPDX-License-Identifier: Apache-2.0
#include "ipvs/kernel/encode.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "base/ip_literals.h"
#include "ipvs/kernel/golden.h"

namespace sluice::ipvs::kernel {
namespace {

VirtualServerKey tcp(const char* address, std::uint16_t port) {
  return VirtualServerKey::of(Protocol::kTcp, ip(address), port);
}

VirtualServer server(const VirtualServerKey& key, const char* scheduler = "rr", std::uint32_t flags = 0) {
  VirtualServer s = VirtualServer::of(key);
  s.scheduler = scheduler;
  s.flags = flags;
  return s;
}

RealServer real(const char* address, ForwardMethod method = ForwardMethod::kMasquerade) {
  RealServer r;
  r.key = RealServerKey::of(ip(address), 80);
  r.method = method;
  return r;
}

struct Row {
  const char* name;  // of the recorded exchange
  sys::GenericRequest request;
};

std::vector<Row> rows() {
  const VirtualServerKey key = tcp("10.0.0.1", 80);
  const VirtualServerKey v6 = tcp("fd00:1::1", 80);
  const auto add = [&](const RealServer& r) { return encode(AddRealServer{key, r}); };
  RealServer weighty = real("10.2.0.2");
  weighty.weight = 0x7fffffff;
  RealServer gue = real("10.2.0.8", ForwardMethod::kTunnel);
  gue.tunnel = {TunnelType::kGue, 6080, TunnelChecksum::kChecksum};
  RealServer other_port = real("10.2.0.12", ForwardMethod::kDirectRoute);
  other_port.key.port = 8080;
  RealServer edited = real("10.2.0.1", ForwardMethod::kDirectRoute);
  edited.weight = 9;
  edited.upper_threshold = 4;
  edited.lower_threshold = 1;
  const RealServer v6_tunnel = real("fd02::1", ForwardMethod::kTunnel);
  VirtualServer forever = server(tcp("10.0.0.1", 83), "rr", kPersistentFlag);
  forever.persistence_timeout_s = 0xffffffff;
  VirtualServer icmp = server(key);
  icmp.key.protocol = 1;
  VirtualServer no_mask = server(key);
  no_mask.persistence_mask = 0;
  return {
      {"NEW_SERVICE proto 1 (icmp)", encode(AddVirtualServer{icmp})},
      {"NEW_SERVICE again", encode(AddVirtualServer{server(key)})},
      {"NEW_SERVICE netmask 0 v4", encode(AddVirtualServer{no_mask})},
      {"NEW_SERVICE v6 plen 128", encode(AddVirtualServer{server(v6)})},
      {"NEW_SERVICE fwmark", encode(AddVirtualServer{server(VirtualServerKey::of_mark(Family::kIPv4, 7))})},
      {"NEW_SERVICE ops on tcp", encode(AddVirtualServer{server(tcp("10.0.0.1", 81), "rr", kOnePacketFlag)})},
      {"NEW_SERVICE timeout 0xffffffff", encode(AddVirtualServer{forever})},
      {"SET_SERVICE wlc", encode(EditVirtualServer{server(key, "wlc")})},
      {"DEL_SERVICE missing", encode(RemoveVirtualServer{tcp("10.0.0.1", 999)})},
      {"GET_SERVICE missing", encode_find(tcp("10.0.0.1", 999))},
      {"GET_SERVICE fwmark 8", encode_find(VirtualServerKey::of_mark(Family::kIPv4, 8))},
      {"GET_SERVICE dump", encode_list()},
      {"NEW_DEST", add(real("10.2.0.1"))},
      {"NEW_DEST weight 2^31-1", add(weighty)},
      {"NEW_DEST gue with port", add(gue)},
      {"NEW_DEST fwd 1 (local)", add(real("10.2.0.4", ForwardMethod::kLocal))},
      {"NEW_DEST fwd 4 (bypass)", add(real("10.2.0.5", ForwardMethod::kBypass))},
      {"NEW_DEST route, port differs from service", add(other_port)},
      {"NEW_DEST af 10 on v4 service, tunnel", add(v6_tunnel)},
      {"NEW_DEST no af, v6 service", encode(AddRealServer{v6, real("fd02::1")})},
      {"SET_DEST", encode(EditRealServer{key, edited})},
      {"DEL_DEST missing", encode(RemoveRealServer{key, RealServerKey::of(ip("10.2.0.99"), 80)})},
      {"DEL_DEST tunnel v6", encode(RemoveRealServer{key, v6_tunnel.key})},
      {"GET_DEST dump", encode_list_real_servers(key)},
      {"NEW_DAEMON master",
       encode_start({.role = SyncRole::kMaster, .interface = "eth0", .sync_id = 300, .group = {}})},
      {"NEW_DAEMON group not multicast",
       encode_start({.role = SyncRole::kMaster, .interface = "eth0", .sync_id = 1, .group = ip("10.0.0.1")})},
      {"NEW_DAEMON group6 not multicast",
       encode_start({.role = SyncRole::kMaster, .interface = "eth0", .sync_id = 1, .group = ip("fd00::1")})},
      {"DEL_DAEMON master", encode_stop(SyncRole::kMaster)},
      {"GET_DAEMON dump", encode_list_daemons()},
      {"SET_CONFIG zero", encode_set_timeouts({0, 0, 0})},
      {"GET_CONFIG", encode_timeouts()},
      {"GET_INFO", encode_info()},
      {"ZERO all", encode_zero(std::nullopt)},
      {"ZERO one", encode_zero(key)},
      {"FLUSH", encode_flush()},
  };
}

TEST(KernelEncode, RequestsEqualTheRecordedOnes) {
  for (const Row& row : rows()) {
    SCOPED_TRACE(row.name);
    const test::Exchange wanted = test::golden(row.name);
    EXPECT_EQ(wanted.name, row.name);
    EXPECT_EQ(row.request.command, wanted.command);
    EXPECT_EQ(row.request.attributes, wanted.attributes);
  }
}

// Recorded with the engine's name last; the kernel accepts both, and we write it where its own replies have it.
TEST(KernelEncode, ThePersistenceEngineFollowsTheScheduler) {
  VirtualServer named = server(tcp("10.0.0.1", 80));
  named.persistence_engine = "nosuch";
  auto attributes = test::golden("NEW_SERVICE pe nosuch").attributes;
  const auto name = test::from_hex("0b000b006e6f737563680000");
  ASSERT_TRUE(std::equal(name.begin(), name.end(), attributes.end() - 12));
  attributes.erase(attributes.end() - 12, attributes.end());
  attributes.insert(attributes.begin() + 48 + 8, name.begin(), name.end());
  EXPECT_EQ(encode(AddVirtualServer{named}).attributes, attributes);
}

// ::ffff:10.0.0.1 is an IPv6 address for IPVS.
TEST(KernelEncode, AMappedAddressIsSentInFullIfTheFamilyIsIPv6) {
  VirtualServerKey key = tcp("10.0.0.1", 80);
  key.family = Family::kIPv6;
  const auto attributes = encode_find(key).attributes;
  const auto address = test::from_hex("1400030000000000000000000000ffff0a000001");
  EXPECT_NE(std::search(attributes.begin(), attributes.end(), address.begin(), address.end()), attributes.end());
}

}  // namespace
}  // namespace sluice::ipvs::kernel
