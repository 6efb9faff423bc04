// SPDX-License-Identifier: Apache-2.0
// The reading of packets (bpf/shared/packet.h), compiled for this process: bytes of any kind must never lead beyond the packet, and
// what is read must be what stands there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <vector>

#include "bpf/shared/lb_maps.h"

namespace {

struct HostPacket {
  std::vector<std::uint8_t> bytes;
  std::size_t reach = 0;  // the end of what was read
};

int sluice_load(void* packet, __u32 offset, void* to, __u32 size) {
  auto& host = *static_cast<HostPacket*>(packet);
  if (offset > host.bytes.size() || size > host.bytes.size() - offset) return -1;
  host.reach = std::max(host.reach, std::size_t{offset} + size);
  std::memcpy(to, host.bytes.data() + offset, size);
  return 0;
}

}  // namespace

// After it: it needs it.
#include "bpf/shared/packet.h"

namespace sluice::ipvs::ebpf {
namespace {

sluice_packet read_packet(std::vector<std::uint8_t> bytes, std::uint32_t family) {
  HostPacket host{std::move(bytes)};
  sluice_packet packet{};
  sluice_read_packet(&host, &packet, 0, family);
  EXPECT_LE(host.reach, host.bytes.size());
  return packet;
}

std::vector<std::uint8_t> ipv4(std::uint8_t protocol, const std::vector<std::uint8_t>& payload) {
  std::vector<std::uint8_t> bytes{0x45, 0, 0, 0, 0x12, 0x67, 0, 0, 64, protocol, 0, 0, 10, 1, 0, 1, 10, 0, 0, 1};
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

std::vector<std::uint8_t> ipv6(std::uint8_t next, const std::vector<std::uint8_t>& payload) {
  std::vector<std::uint8_t> bytes(40);
  bytes[0] = 0x60;
  bytes[6] = next;
  bytes[23] = 1;
  bytes[39] = 2;
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

const std::vector<std::uint8_t> kSyn{0x0f, 0xa1, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 0x02, 0, 0, 0, 0, 0, 0};

TEST(PacketReading, FindsPortsBehindExtensionHeaders) {
  const std::vector<std::uint8_t> empty(8);
  std::vector<std::uint8_t> payload;
  // Hop by hop, routing, destination options, and a fragment header of a whole packet.
  for (const std::uint8_t next : std::vector<std::uint8_t>{43, 60, 44, 6}) {
    std::vector<std::uint8_t> header = empty;
    header[0] = next;
    payload.insert(payload.end(), header.begin(), header.end());
  }
  payload.insert(payload.end(), kSyn.begin(), kSyn.end());
  const sluice_packet packet = read_packet(ipv6(0, payload), 6);
  EXPECT_EQ(packet.kind, std::uint32_t{SLUICE_PACKET_CONNECTION});
  EXPECT_EQ(packet.outer.protocol, 6U);
  EXPECT_EQ(packet.outer.l4, 40U + 32U);
  EXPECT_EQ(packet.outer.flow.target_port, 80U << 8);
  EXPECT_EQ(packet.syn_only, 1U);
  EXPECT_EQ(packet.outer.fragmented, 1U);
  EXPECT_EQ(packet.outer.later, 0U);
}

TEST(PacketReading, KnowsLaterFragments) {
  auto later4 = ipv4(17, kSyn);
  later4[7] = 1;
  EXPECT_EQ(read_packet(later4, 4).kind, std::uint32_t{SLUICE_PACKET_FRAGMENT});
  std::vector<std::uint8_t> header{17, 0, 0, 8, 1, 2, 3, 4};
  header.insert(header.end(), kSyn.begin(), kSyn.end());
  const sluice_packet later6 = read_packet(ipv6(44, header), 6);
  EXPECT_EQ(later6.kind, std::uint32_t{SLUICE_PACKET_FRAGMENT});
  EXPECT_EQ(later6.outer.protocol, 17U);
}

TEST(PacketReading, FindsThePacketThatAnErrorIsAbout) {
  std::vector<std::uint8_t> error{3, 4, 0, 0, 0, 0, 5, 0x78};
  const auto about = ipv4(6, kSyn);
  error.insert(error.end(), about.begin(), about.begin() + 28);
  const sluice_packet packet = read_packet(ipv4(1, error), 4);
  EXPECT_EQ(packet.kind, std::uint32_t{SLUICE_PACKET_ICMP_ERROR});
  EXPECT_EQ(packet.inner.flow.target_port, 80U << 8);
  EXPECT_EQ(packet.inner.l4, 20U + 8U + 20U);
  error[0] = 8;
  EXPECT_EQ(read_packet(ipv4(1, error), 4).kind, std::uint32_t{SLUICE_PACKET_OTHER}) << "an echo request is none";
}

TEST(PacketReading, AnythingCutOffAnywhereIsReadWithinItsEnd) {
  std::mt19937 random(7);
  const std::vector<std::uint8_t> kinds{0, 1, 6, 17, 43, 44, 58, 60, 132};
  std::size_t connections = 0;
  for (int round = 0; round < 200000; ++round) {
    std::vector<std::uint8_t> bytes(random() % 160);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    const std::uint32_t family = random() % 2 == 0 ? 4 : 6;
    if (!bytes.empty()) bytes[0] = static_cast<std::uint8_t>(family == 4 ? 0x40 | (random() % 16) : 0x60);
    const std::size_t next = family == 4 ? 9 : 6;
    if (bytes.size() > next) bytes[next] = kinds[random() % kinds.size()];
    for (std::size_t at = 40; family == 6 && at < bytes.size(); at += 8) {
      bytes[at] = kinds[random() % kinds.size()];
      if (at + 1 < bytes.size()) bytes[at + 1] = static_cast<std::uint8_t>(random() % 3);
    }
    connections += read_packet(bytes, family).kind == std::uint32_t{SLUICE_PACKET_CONNECTION} ? 1 : 0;
  }
  EXPECT_GT(connections, 1000U) << "random bytes must get somewhere, or nothing was tried";
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
