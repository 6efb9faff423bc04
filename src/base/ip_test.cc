// SPDX-License-Identifier: Apache-2.0
#include "base/ip.h"

#include <gtest/gtest.h>

namespace sluice {
namespace {

TEST(IpAddress, ParsesAndPrintsCanonically) {
  const std::pair<const char*, const char*> rows[] = {
      {"10.0.0.1", "10.0.0.1"},   {"172.30.0.041", "172.30.0.41"}, {"010.001.000.009", "10.1.0.9"},
      {"fd00:0:0::1", "fd00::1"}, {"::ffff:1.2.3.4", "1.2.3.4"},   {"::", "::"},
      {"FE80::00A", "fe80::a"},   {"0.0.0.0", "0.0.0.0"},
  };
  for (const auto& [text, printed] : rows) {
    const auto address = IpAddress::parse(text);
    ASSERT_TRUE(address) << text;
    EXPECT_EQ(address->to_string(), printed) << text;
  }
}

TEST(IpAddress, RefusesWhatIsNotAnAddress) {
  for (const char* text : {"", "10.0.0", "10.0.0.256", "10.0.0.1 ", "10.0.0.1/8", "1.2.3.4.5", "fd00::1%eth0", "host",
                           "[::1]", "10..0.1", ":::"}) {
    EXPECT_FALSE(IpAddress::parse(text)) << text;
  }
}

TEST(IpAddress, KnowsItsKinds) {
  EXPECT_EQ(IpAddress::parse("10.0.0.1")->family(), Family::kIPv4);
  EXPECT_EQ(IpAddress::parse("fd00::1")->family(), Family::kIPv6);
  EXPECT_TRUE(IpAddress::parse("127.8.0.1")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("::1")->is_loopback());
  EXPECT_FALSE(IpAddress::parse("::2")->is_loopback());
  EXPECT_TRUE(IpAddress::parse("0.0.0.0")->is_unspecified());
  EXPECT_TRUE(IpAddress::parse("::")->is_unspecified());
  EXPECT_TRUE(IpAddress::parse("fe80::1")->is_link_local());
  EXPECT_TRUE(IpAddress::parse("169.254.1.1")->is_link_local());
  EXPECT_TRUE(IpAddress::parse("224.0.0.1")->is_multicast());
  EXPECT_EQ(join_host_port(*IpAddress::parse("fd00::1"), 80), "[fd00::1]:80");
  EXPECT_EQ(join_host_port(*IpAddress::parse("10.0.0.1"), 80), "10.0.0.1:80");
}

TEST(Cidr, ClearsHostBitsAndContains) {
  const auto v4 = Cidr::parse("10.1.2.3/9");
  ASSERT_TRUE(v4);
  EXPECT_EQ(v4->to_string(), "10.0.0.0/9");
  EXPECT_TRUE(v4->contains(*IpAddress::parse("10.127.255.255")));
  EXPECT_FALSE(v4->contains(*IpAddress::parse("10.128.0.0")));
  EXPECT_FALSE(v4->contains(*IpAddress::parse("fd00::1")));
  const auto v6 = Cidr::parse("fd00:1234::/17");
  ASSERT_TRUE(v6);
  EXPECT_EQ(v6->to_string(), "fd00::/17");
  EXPECT_TRUE(Cidr::parse("0.0.0.0/0")->is_zero());
  EXPECT_TRUE(Cidr::parse("0.0.0.0/0")->contains(*IpAddress::parse("1.2.3.4")));
  EXPECT_FALSE(Cidr::parse("::/0")->contains(*IpAddress::parse("1.2.3.4")));
  for (const char* text : {"10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0.0/", "10.0.0.0/-1", "/8", "10.0.0.0/1x"}) {
    EXPECT_FALSE(Cidr::parse(text)) << text;
  }
}

TEST(Cidr, ALengthCountsInTheFamilyInWhichThePrefixIsWritten) {
  const std::pair<const char*, const char*> rows[] = {
      {"::ffff:10.1.2.3/104", "10.0.0.0/8"}, {"::ffff:10.1.2.3/128", "10.1.2.3/32"},
      {"::ffff:0.0.0.0/96", "0.0.0.0/0"},    {"::ffff:10.1.2.3/95", "::fffe:0:0/95"},
      {"::ffff:10.1.2.3/8", "::/8"},         {"::ffff:0.0.0.0/0", "::/0"},
      {"010.001.2.3/08", "10.0.0.0/8"},
  };
  for (const auto& [text, printed] : rows) {
    const auto prefix = Cidr::parse(text);
    ASSERT_TRUE(prefix) << text;
    EXPECT_EQ(prefix->to_string(), printed) << text;
    EXPECT_EQ(prefix->family() == Family::kIPv4, std::string_view(printed).find(':') == std::string_view::npos) << text;
  }
  EXPECT_FALSE(Cidr::parse("::ffff:10.1.2.3/129"));
}

TEST(Protocol, NamesAreTheFieldsOwn) {
  EXPECT_EQ(parse_protocol("SCTP"), Protocol::kSctp);
  EXPECT_FALSE(parse_protocol("tcp"));
  EXPECT_EQ(lower_name(Protocol::kUdp), "udp");
  EXPECT_EQ(ip_protocol_number(Protocol::kSctp), 132);
}

}  // namespace
}  // namespace sluice
