// SPDX-License-Identifier: Apache-2.0
#include "dataplane/nft/keys.h"

#include <gtest/gtest.h>

#include "base/ip_literals.h"

namespace sluice::dataplane::nft {
namespace {

TEST(Keys, AreWhatRulesPutIntoRegisters) {
  EXPECT_EQ(encode(ServedAddress{ip("10.96.0.10"), Protocol::kUdp, 53}),
            (Bytes{10, 96, 0, 10, 17, 0, 0, 0, 0, 53, 0, 0}));
  EXPECT_EQ(encode(NodePort{Protocol::kSctp, 30080}), (Bytes{132, 0, 0, 0, 0x75, 0x80, 0, 0}));
  EXPECT_EQ(encode(ip("10.96.0.10")), (Bytes{10, 96, 0, 10}));
  EXPECT_EQ(encode_pair(ip("10.244.1.9")), (Bytes{10, 244, 1, 9, 10, 244, 1, 9}));
  EXPECT_EQ(encode_port(32123), (Bytes{0x7d, 0x7b}));
  EXPECT_EQ(encode(ServedAddress{ip("2001:db8::1"), Protocol::kTcp, 443}),
            (Bytes{0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 6, 0, 0, 0, 1, 187, 0, 0}));
}

TEST(Keys, OfNodePortsAreReadBack) {
  for (const Protocol protocol : {Protocol::kTcp, Protocol::kUdp, Protocol::kSctp}) {
    const NodePort port{protocol, 30080};
    EXPECT_EQ(decode_node_port(encode(port)), port);
  }
  EXPECT_EQ(decode_node_port(Bytes{6, 0, 0, 0, 0x75}), std::nullopt) << "too short";
  EXPECT_EQ(decode_node_port(Bytes{1, 0, 0, 0, 0x75, 0x80, 0, 0}), std::nullopt) << "ICMP has no ports";
}

}  // namespace
}  // namespace sluice::dataplane::nft
