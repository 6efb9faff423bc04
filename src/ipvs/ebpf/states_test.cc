// SPDX-License-Identifier: Apache-2.0
// Lives of connections, as the kernel lets them go (each was seen on Linux 7.2.7).
#include "bpf/shared/states.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::ipvs::ebpf {
namespace {

constexpr const char* kTcpNames[] = {
#define X(name, text, seconds) text,
    SLUICE_TCP_STATES(X)
#undef X
};
constexpr const char* kSctpNames[] = {
#define X(name, text, seconds) text,
    SLUICE_SCTP_STATES(X)
#undef X
};

struct Packet {
  __u32 direction;
  __u32 flags;
};
constexpr __u32 S = SLUICE_TCP_SYN, A = SLUICE_TCP_ACK, F = SLUICE_TCP_FIN, R = SLUICE_TCP_RST;

std::string life(const std::vector<Packet>& packets, int secure = 0) {
  __u32 state = SLUICE_TCP_NONE;
  std::string names;
  for (const Packet& packet : packets) {
    state = sluice_tcp_next_state(state, packet.direction, sluice_tcp_event(packet.flags), secure);
    names += std::string(names.empty() ? "" : " ") + kTcpNames[state];
  }
  return names;
}

TEST(States, LivesOfTcp) {
  constexpr __u32 in = SLUICE_IN, out = SLUICE_OUT, only = SLUICE_IN_ONLY;
  EXPECT_EQ(life({{in, S}, {out, S | A}, {in, A}}), "SYN_RECV SYN_RECV ESTABLISHED");
  EXPECT_EQ(life({{in, S}, {out, S | A}, {in, A}, {in, F | A}, {out, F | A}, {in, A}}),
            "SYN_RECV SYN_RECV ESTABLISHED CLOSE_WAIT TIME_WAIT TIME_WAIT")
      << "the client ends it";
  EXPECT_EQ(life({{in, S}, {out, S | A}, {in, A}, {out, F | A}, {in, F | A}}),
            "SYN_RECV SYN_RECV ESTABLISHED FIN_WAIT TIME_WAIT")
      << "the server ends it";
  EXPECT_EQ(life({{only, S}, {only, A}, {only, F | A}, {only, A}}), "SYN_RECV ESTABLISHED FIN_WAIT FIN_WAIT")
      << "replies pass elsewhere";
  EXPECT_EQ(life({{in, S}, {out, R | A}}), "SYN_RECV CLOSE") << "refused";
  EXPECT_EQ(life({{in, S}, {in, A}, {in, R}}), "SYN_RECV ESTABLISHED CLOSE");
  EXPECT_EQ(life({{in, S}, {in, R}}), "SYN_RECV SYN_RECV") << "not from a client that has sent nothing but a SYN";
  EXPECT_EQ(life({{in, S}, {in, A}, {in, F | A}, {out, F | A}, {in, S}}),
            "SYN_RECV ESTABLISHED CLOSE_WAIT TIME_WAIT SYN_RECV")
      << "the port is used again";
  EXPECT_EQ(life({{in, S}, {in, A}, {in, 0}}), "SYN_RECV ESTABLISHED CLOSE") << "a packet without flags";
  EXPECT_EQ(life({{in, R | S | F | A}}), "CLOSE") << "RST comes first";
  EXPECT_EQ(life({{in, S}, {out, S | A}, {in, A}}, 1), "SYN_RECV SYNACK SYNACK") << "secure_tcp";
  EXPECT_EQ(life({{only, S}, {only, A}}, 1), "SYNACK ESTABLISHED") << "secure_tcp";
}

// Every cell of the tables is a state, and those that no packet leads to are led to by none.
TEST(States, NoPacketLeadsOutOfTheTables) {
  for (const int secure : {0, 1}) {
    for (__u32 direction = 0; direction < SLUICE_DIRECTION_COUNT; ++direction) {
      for (__u32 event = 0; event <= SLUICE_TCP_EVENT_COUNT; ++event) {
        for (__u32 state = 0; state < SLUICE_TCP_STATE_COUNT; ++state) {
          const __u32 next = sluice_tcp_next_state(state, direction, event, secure);
          EXPECT_LT(next, __u32{SLUICE_TCP_STATE_COUNT});
          EXPECT_NE(next, __u32{SLUICE_TCP_NONE});
          EXPECT_TRUE(next != SLUICE_TCP_LAST_ACK || state == SLUICE_TCP_LAST_ACK);
          EXPECT_TRUE(next != SLUICE_TCP_LISTEN || state == SLUICE_TCP_LISTEN);
        }
      }
    }
  }
  std::set<__u32> reached;
  for (__u32 direction = 0; direction < SLUICE_DIRECTION_COUNT; ++direction) {
    for (__u32 event = 0; event < SLUICE_SCTP_EVENT_COUNT; ++event) {
      for (__u32 state = 0; state < SLUICE_SCTP_STATE_COUNT; ++state) {
        const __u32 next = sluice_sctp_next_state(state, direction, event);
        EXPECT_LT(next, __u32{SLUICE_SCTP_STATE_COUNT});
        EXPECT_NE(next, __u32{SLUICE_SCTP_NONE});
        reached.insert(next);
      }
    }
  }
  EXPECT_EQ(reached.size(), SLUICE_SCTP_STATE_COUNT - 1U) << "all but NONE";
  EXPECT_EQ(sluice_tcp_next_state(99, SLUICE_IN, 0, 0), __u32{SLUICE_TCP_CLOSE});
  EXPECT_EQ(sluice_sctp_next_state(99, SLUICE_IN, 0), __u32{SLUICE_SCTP_CLOSED});
}

TEST(States, LivesOfSctp) {
  const auto life = [](const std::vector<std::pair<__u32, __u32>>& packets) {
    __u32 state = SLUICE_SCTP_NONE;
    std::string names;
    for (const auto& [direction, chunk] : packets) {
      state = sluice_sctp_next_state(state, direction, sluice_sctp_event(chunk, 0));
      names += std::string(names.empty() ? "" : " ") + kSctpNames[state];
    }
    return names;
  };
  constexpr __u32 in = SLUICE_IN, out = SLUICE_OUT;
  EXPECT_EQ(life({{in, 1}, {out, 2}, {in, 10}, {out, 11}, {in, 0}, {in, 7}, {out, 8}, {in, 14}}),
            "INIT1 C-SENT C-REPLIED ESTABLISHED ESTABLISHED S-RECEIVED S-ACK-SENT CLOSED");
  EXPECT_EQ(life({{in, 1}, {out, 6}}), "INIT1 REJECTED");
  EXPECT_EQ(sluice_sctp_event(10, 6), __u32{SLUICE_SCTP_EVENT_ABORT}) << "a cookie with an abort behind it";
  EXPECT_EQ(sluice_sctp_event(0, 6), __u32{SLUICE_SCTP_EVENT_DATA});
  EXPECT_EQ(sluice_sctp_event(200, 0), __u32{SLUICE_SCTP_EVENT_DATA});
}

TEST(States, WhatCountsAsActive) {
  std::string active;
  for (__u32 state = 0; state < SLUICE_TCP_STATE_COUNT; ++state)
    if (sluice_tcp_active(state) != 0) active += std::string(kTcpNames[state]) + " ";
  EXPECT_EQ(active, "ESTABLISHED SYN_SENT SYN_RECV SYNACK ");
  for (__u32 state = 0; state < SLUICE_SCTP_STATE_COUNT; ++state)
    EXPECT_EQ(sluice_sctp_active(state) != 0, std::string_view(kSctpNames[state]) == "ESTABLISHED");
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
