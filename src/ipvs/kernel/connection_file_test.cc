// SPDX-License-Identifier: Apache-2.0
#include "ipvs/kernel/connection_file.h"

#include <gtest/gtest.h>
#include <netinet/in.h>

#include <cerrno>
#include <vector>

#include "base/ip_literals.h"

namespace sluice::ipvs::kernel {
namespace {

TEST(ConnectionFile, ReadsTheKernelsLines) {
  const auto tcp = parse_connection("TCP 0A010001 0FA1 0A000001 0050 0A020002 1F90 ESTABLISHED     897");
  ASSERT_TRUE(tcp);
  Connection wanted;
  wanted.protocol = IPPROTO_TCP;
  wanted.client = {ip("10.1.0.1"), 4001};
  wanted.virtual_end = {ip("10.0.0.1"), 80};
  wanted.real = {ip("10.2.0.2"), 8080};
  wanted.state = "ESTABLISHED";
  wanted.expires_s = 897;
  EXPECT_EQ(*tcp, wanted);

  const auto v6 = parse_connection(
      "UDP fd01:0000:0000:0000:0000:0000:0000:0001 1388 fd00:0001:0000:0000:0000:0000:0000:0001 0035 "
      "0A020001 0035 UDP             299");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->family, Family::kIPv6);
  EXPECT_EQ(v6->client, (ConnectionEnd{ip("fd01::1"), 5000}));
  EXPECT_EQ(v6->real_family, Family::kIPv4);
  EXPECT_EQ(v6->real, (ConnectionEnd{ip("10.2.0.1"), 53}));

  const auto mark = parse_connection("IP  0A010501 0000 00000005 0000 0A020006 0000 ASSURED          28");
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->protocol, 0);
  EXPECT_EQ(mark->virtual_end, (ConnectionEnd{ip("0.0.0.5"), 0}));

  const auto sip =
      parse_connection("UDP 0A010001 0000 0A000001 13C4 0A020001 13C4 UDP              60 sip call-1@host");
  ASSERT_TRUE(sip);
  EXPECT_EQ(sip->persistence_engine, "sip");
  EXPECT_EQ(sip->engine_data, "call-1@host");

  const auto odd = parse_connection("IP_47 0A010001 0000 0A000001 0000 0A020001 0000 NONE 3");
  ASSERT_TRUE(odd);
  EXPECT_EQ(odd->protocol, 47);
}

TEST(ConnectionFile, IgnoresWhatIsNotAConnection) {
  for (const char* line : {"", "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData",
                           "TCP 0A010001 0FA1 0A000001 0050 0A020002 1F90 ESTABLISHED",
                           "TCP 0A01000X 0FA1 0A000001 0050 0A020002 1F90 ESTABLISHED 897",
                           "TCP 0A010001 10FA1 0A000001 0050 0A020002 1F90 ESTABLISHED 897",
                           "XYZ 0A010001 0FA1 0A000001 0050 0A020002 1F90 ESTABLISHED 897"}) {
    EXPECT_FALSE(parse_connection(line)) << line;
  }
}

TEST(ConnectionFile, AMissingFileIsENOENT) {
  const auto read = read_connections([](const Connection&) {}, "/proc/net/sluice-none");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().sys_errno, ENOENT);
  EXPECT_EQ(read.error().code, Errc::kNotFound);
}

}  // namespace
}  // namespace sluice::ipvs::kernel
