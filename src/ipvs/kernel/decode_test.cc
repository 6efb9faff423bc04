// SPDX-License-Identifier: Apache-2.0
#include "ipvs/kernel/decode.h"

#include <gtest/gtest.h>
#include <linux/ip_vs.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "base/ip_literals.h"
#include "ipvs/kernel/encode.h"
#include "ipvs/kernel/golden.h"
#include "sys/genetlink.h"

namespace sluice::ipvs::kernel {
namespace {

TEST(KernelDecode, ReadsRecordedVirtualServers) {
  const auto replies = test::golden("GET_SERVICE dump").replies;
  ASSERT_EQ(replies.size(), 3U);

  const auto v6 = decode_virtual_server(replies[0]);
  ASSERT_TRUE(v6) << v6.error().what;
  VirtualServer wanted = VirtualServer::of(VirtualServerKey::of(Protocol::kTcp, ip("fd00:1::1"), 80));
  wanted.scheduler = "rr";
  EXPECT_EQ(v6->server, wanted);

  const auto one_packet = decode_virtual_server(replies[1]);
  ASSERT_TRUE(one_packet) << one_packet.error().what;
  wanted = VirtualServer::of(VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 81));
  wanted.scheduler = "rr";
  wanted.flags = kOnePacketFlag;  // without the kernel's own "hashed"
  EXPECT_EQ(one_packet->server, wanted);

  const auto mark = decode_virtual_server(replies[2]);
  ASSERT_TRUE(mark) << mark.error().what;
  EXPECT_EQ(mark->server.key, VirtualServerKey::of_mark(Family::kIPv4, 8));
}

TEST(KernelDecode, ReadsRecordedRealServers) {
  const auto replies = test::golden("GET_DEST dump").replies;
  ASSERT_EQ(replies.size(), 3U);
  RealServer local;
  local.key = RealServerKey::of(ip("10.0.0.1"), 80);
  local.method = ForwardMethod::kMasquerade;
  RealServer tunnel;
  tunnel.key = RealServerKey::of(ip("fd02::1"), 80);
  tunnel.method = ForwardMethod::kTunnel;
  RealServer route;
  route.key = RealServerKey::of(ip("10.2.0.12"), 8080);
  const std::vector<RealServer> wanted{local, tunnel, route};
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const auto got = decode_real_server(replies[i], Family::kIPv4);
    ASSERT_TRUE(got) << got.error().what;
    EXPECT_EQ(got->server, wanted[i]) << i;
  }
}

TEST(KernelDecode, ReadsRecordedDaemonsTimeoutsAndInfo) {
  const auto daemon = decode_daemon(test::golden("GET_DAEMON dump").replies.at(0));
  ASSERT_TRUE(daemon) << daemon.error().what;
  const SyncDaemon wanted{SyncRole::kMaster, "eth0", 300, 1472, ip("224.0.0.81"), 8848, 1};
  EXPECT_EQ(*daemon, wanted);

  const auto timeouts = decode_timeouts(test::golden("GET_CONFIG").replies.at(0));
  ASSERT_TRUE(timeouts) << timeouts.error().what;
  EXPECT_EQ(*timeouts, (Timeouts{77, 120, 300}));

  const auto info = decode_info(test::golden("GET_INFO").replies.at(0));
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_EQ(info->version, 0x010201U);
  EXPECT_EQ(info->connection_table_size, 256U);
}

// A request is laid out like a reply.
TEST(KernelDecode, ReturnsWhatWasEncoded) {
  VirtualServer server = VirtualServer::of(VirtualServerKey::of(Protocol::kSctp, ip("192.0.2.9"), 3565));
  server.scheduler = "mh";
  server.flags = kPersistentFlag | kSchedulerFlag2 | 0x80000000;
  server.persistence_timeout_s = 600;
  server.persistence_mask = 0xffffff00;
  server.persistence_engine = "sip";
  const auto again = decode_virtual_server(encode(AddVirtualServer{server}).attributes);
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->server, server);

  RealServer real;
  real.key = RealServerKey::of(ip("fd02::7"), 443);
  real.method = ForwardMethod::kTunnel;
  real.weight = 65536;
  real.upper_threshold = 9;
  real.lower_threshold = 4;
  real.tunnel = {TunnelType::kGre, 0, TunnelChecksum::kChecksum};
  const auto real_again = decode_real_server(encode(AddRealServer{server.key, real}).attributes, Family::kIPv4);
  ASSERT_TRUE(real_again) << real_again.error().what;
  EXPECT_EQ(real_again->server, real);
}

void put_u64(sys::AttributeWriter& out, std::uint16_t type, std::uint64_t value) {
  std::uint8_t bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  out.put(type, bytes);
}

std::vector<std::uint8_t> counters(bool whole, std::uint64_t base) {
  sys::AttributeWriter out;
  for (std::uint16_t type = IPVS_STATS_ATTR_CONNS; type <= IPVS_STATS_ATTR_OUTBPS; ++type) {
    const bool bytes = type == IPVS_STATS_ATTR_INBYTES || type == IPVS_STATS_ATTR_OUTBYTES;
    if (whole || bytes) {
      put_u64(out, type, base + type);
    } else {
      out.put_u32(type, static_cast<std::uint32_t>(base) + type);
    }
  }
  return std::move(out).take();
}

TEST(KernelDecode, UsesTheWholeCountersIfTheKernelHasThem) {
  struct Row {
    const char* name;
    bool has_whole;
    std::uint64_t base;
  };
  for (const Row& row : {Row{"6.1 sends both", true, 0x500000000}, Row{"only the cut ones", false, 70}}) {
    SCOPED_TRACE(row.name);
    auto attributes =
        encode(AddVirtualServer{VirtualServer::of(VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80))})
            .attributes;
    sys::AttributeWriter out;
    const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_SERVICE);
    sys::for_each_attribute(std::span(attributes).subspan(4),
                            [&](const sys::Attribute& a) { out.put(a.type, a.value); });
    out.put(IPVS_SVC_ATTR_STATS, counters(false, 70));
    if (row.has_whole) out.put(IPVS_SVC_ATTR_STATS64, counters(true, row.base));
    out.end_nest(nest);
    const auto state = decode_virtual_server(std::move(out).take());
    ASSERT_TRUE(state) << state.error().what;
    const Counters totals{row.base + 1, row.base + 2, row.base + 3, row.base + 4, row.base + 5};
    const Counters rates{row.base + 6, row.base + 7, row.base + 8, row.base + 9, row.base + 10};
    EXPECT_EQ(state->statistics.totals, totals);
    EXPECT_EQ(state->statistics.per_second, rates);
  }
}

TEST(KernelDecode, RefusesAReplyWithoutRequiredAttributes) {
  sys::AttributeWriter out;
  const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_SERVICE);
  out.put_u16(IPVS_SVC_ATTR_AF, 2);
  out.put_u32(IPVS_SVC_ATTR_FWMARK, 3);
  out.end_nest(nest);
  const auto state = decode_virtual_server(std::move(out).take());
  ASSERT_FALSE(state);
  EXPECT_NE(state.error().what.find("scheduler"), std::string::npos) << state.error().what;
  EXPECT_FALSE(decode_real_server({}, Family::kIPv4));
  EXPECT_FALSE(decode_daemon({}));
  EXPECT_FALSE(decode_timeouts({}));
  EXPECT_FALSE(decode_info({}));
}

// Every reply, cut at every byte and with every byte inverted, is read or refused, nothing else.
TEST(KernelDecode, SurvivesDamagedReplies) {
  const auto decode_all = [](const std::vector<std::uint8_t>& bytes) {
    const std::array read{static_cast<bool>(decode_virtual_server(bytes)),
                          static_cast<bool>(decode_real_server(bytes, Family::kIPv6)),
                          static_cast<bool>(decode_daemon(bytes)), static_cast<bool>(decode_timeouts(bytes)),
                          static_cast<bool>(decode_info(bytes))};
    return std::find(read.begin(), read.end(), true) != read.end();
  };
  std::size_t read = 0;
  for (const test::Exchange& exchange : test::read_golden()) {
    for (const auto& reply : exchange.replies) {
      for (std::size_t i = 0; i < reply.size(); ++i) {
        read += decode_all({reply.begin(), reply.begin() + static_cast<std::ptrdiff_t>(i)}) ? 1 : 0;
        auto turned = reply;
        turned[i] = static_cast<std::uint8_t>(~turned[i]);
        read += decode_all(turned) ? 1 : 0;
      }
    }
  }
  EXPECT_GT(read, 0U);
}

}  // namespace
}  // namespace sluice::ipvs::kernel
