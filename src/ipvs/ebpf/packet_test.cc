// SPDX-License-Identifier: Apache-2.0
// One packet of each shape through the program of ingress, as the kernel runs it (BPF_PROG_TEST_RUN): its verdict, and every byte that
// comes back. Checksums are computed from nothing here, so an error in changing them by difference would show.
#include <gtest/gtest.h>
#include <sched.h>

#include <fmt/format.h>

#include <atomic>
#include <span>
#include <thread>

#include "ipvs/ebpf/table_edit.h"
#include "ipvs/ebpf/test_net.h"
#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {
namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::uint32_t kNext = 0xffffffff;  // TC_ACT_UNSPEC
constexpr std::uint32_t kDropped = 2;        // TC_ACT_SHOT
constexpr std::uint32_t kRedirected = 7;     // TC_ACT_REDIRECT
constexpr std::uint8_t kTcp = 6;
constexpr std::uint8_t kUdp = 17;
constexpr std::uint8_t kSctp = 132;

void put16(Bytes& bytes, std::size_t at, std::uint32_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}

std::uint32_t sum_of(std::span<const std::uint8_t> bytes, std::uint32_t sum = 0) {
  for (std::size_t i = 0; i < bytes.size(); ++i) sum += i % 2 == 0 ? std::uint32_t{bytes[i]} << 8 : bytes[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return sum;
}

struct Shape {
  const char* client = "10.1.0.1";
  const char* target = "10.0.0.1";
  std::uint16_t client_port = 4001;
  std::uint16_t port = 80;
  std::uint8_t protocol = kTcp;
  std::uint8_t tcp_flags = 0x02;
  Bytes payload = {'h', 'i', '!'};
  Bytes extension = {};  // IPv4 options, or an IPv6 extension header without its first byte
  bool checksum = true;
  std::uint16_t fragment = 0;  // as in the IPv4 header
};

Bytes transport(const Shape& shape) {
  Bytes bytes;
  if (shape.protocol == kTcp) {
    bytes.resize(20);
    bytes[12] = 0x50;
    bytes[13] = shape.tcp_flags;
  } else if (shape.protocol == kSctp) {
    bytes = Bytes(12, 0xcc);
    bytes.insert(bytes.end(), {1, 0, 0, 4});
  } else {
    bytes.resize(8);
    put16(bytes, 4, static_cast<std::uint32_t>(8 + shape.payload.size()));
  }
  put16(bytes, 0, shape.client_port);
  put16(bytes, 2, shape.port);
  bytes.insert(bytes.end(), shape.payload.begin(), shape.payload.end());
  return bytes;
}

// The whole frame, its checksums right.
Bytes frame(const Shape& shape) {
  const IpAddress client = ip(shape.client);
  const IpAddress target = ip(shape.target);
  const bool v4 = client.family() == Family::kIPv4;
  Bytes l4 = transport(shape);
  Bytes pseudo(client.bytes().begin(), client.bytes().end());
  pseudo.insert(pseudo.end(), target.bytes().begin(), target.bytes().end());
  pseudo.insert(pseudo.end(),
                {0, shape.protocol, static_cast<std::uint8_t>(l4.size() >> 8), static_cast<std::uint8_t>(l4.size())});
  if (shape.checksum && shape.protocol != kSctp) {
    const std::uint32_t sum = sum_of(l4, sum_of(pseudo)) ^ 0xffff;
    put16(l4, shape.protocol == kTcp ? 16 : 6, sum == 0 && shape.protocol == kUdp ? 0xffff : sum);
  }
  // To lo, on which packets are tried: it has no MAC.
  Bytes all(14, 0x02);
  std::fill_n(all.begin(), 6, std::uint8_t{0});
  put16(all, 12, v4 ? 0x0800 : 0x86dd);
  Bytes header(v4 ? 20 : 40);
  if (v4) {
    header[0] = static_cast<std::uint8_t>(0x45 + shape.extension.size() / 4);
    put16(header, 2, static_cast<std::uint32_t>(20 + shape.extension.size() + l4.size()));
    put16(header, 4, 4711);
    put16(header, 6, shape.fragment);
    header[8] = 64;
    header[9] = shape.protocol;
    std::copy(client.bytes().begin(), client.bytes().end(), header.begin() + 12);
    std::copy(target.bytes().begin(), target.bytes().end(), header.begin() + 16);
    header.insert(header.end(), shape.extension.begin(), shape.extension.end());
    put16(header, 10, sum_of(header) ^ 0xffff);
  } else {
    header[0] = 0x60;
    const std::size_t extended = shape.extension.empty() ? 0 : shape.extension.size() + 1;
    put16(header, 4, static_cast<std::uint32_t>(extended + l4.size()));
    header[6] = shape.extension.empty() ? shape.protocol : 0;
    header[7] = 64;
    std::copy(client.bytes().begin(), client.bytes().end(), header.begin() + 8);
    std::copy(target.bytes().begin(), target.bytes().end(), header.begin() + 24);
    if (!shape.extension.empty()) {
      header.push_back(shape.protocol);
      header.insert(header.end(), shape.extension.begin(), shape.extension.end());
    }
  }
  all.insert(all.end(), header.begin(), header.end());
  all.insert(all.end(), l4.begin(), l4.end());
  return all;
}

class Packet : public testing::Test {
 protected:
  void SetUp() override {
    mount_own_bpf_file_system();
    home_ = UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0) << "this test needs root";
    auto made = Tables::make();
    ASSERT_TRUE(made) << made.error().what;
    tables_.emplace(*std::move(made));
    edit_.emplace(*tables_);
    auto programs = tables_->programs();
    ASSERT_TRUE(programs) << programs.error().what;
    programs_ = *std::move(programs);
    serve(VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80), "10.2.0.1", 8080);
    serve(VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 80), "10.2.0.1", 8080);
    serve(VirtualServerKey::of(Protocol::kTcp, ip("fd00::1"), 80), "fd02::1", 8080);
    serve(VirtualServerKey::of(Protocol::kUdp, ip("fd00::1"), 80), "fd02::1", 8080);
    serve(VirtualServerKey::of(Protocol::kSctp, ip("10.0.0.1"), 80), "10.2.0.1", 80);
    serve(VirtualServerKey::of(Protocol::kSctp, ip("10.0.0.1"), 81), "10.2.0.1", 8080);
  }
  void TearDown() override {
    EXPECT_TRUE(sys::remove_netns_pins());
    EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0);
  }
  void serve(const VirtualServerKey& key, const char* address, std::uint16_t port) {
    RealServer real;
    real.key = RealServerKey::of(ip(address), port);
    real.method = ForwardMethod::kMasquerade;
    for (const Change& change : {Change(AddVirtualServer{VirtualServer::of(key)}), Change(AddRealServer{key, real})}) {
      const auto done = edit_->apply(change);
      ASSERT_TRUE(done) << done.error().what;
      ASSERT_EQ(*done, 0) << to_string(change);
    }
  }
  // What ingress makes of it.
  void expect(const Bytes& in, std::uint32_t verdict, const Bytes& out) {
    const auto run = sys::run_bpf_program(programs_.ingress.get(), std::as_bytes(std::span(in)));
    ASSERT_TRUE(run) << run.error().what;
    EXPECT_EQ(run->verdict, verdict);
    if (verdict == kDropped) return;
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(run->packet.data());
    EXPECT_EQ(Bytes(bytes, bytes + run->packet.size()), out);
  }
  static Shape rewritten(Shape shape) {
    const bool v4 = ip(shape.client).family() == Family::kIPv4;
    shape.target = v4 ? "10.2.0.1" : "fd02::1";
    shape.port = shape.protocol == kSctp ? shape.port : 8080;
    return shape;
  }

  UniqueFd home_;
  std::optional<Tables> tables_;
  std::optional<TableEdit> edit_;
  Programs programs_;
};

TEST_F(Packet, OfAVirtualServerIsRewrittenWithItsChecksums) {
  const Shape v6{.client = "fd01::1", .target = "fd00::1"};
  struct Row {
    const char* name;
    Shape shape;
  };
  std::vector<Row> rows{
      {"TCP", {}},
      {"UDP", {.protocol = kUdp}},
      {"UDP without a checksum", {.client_port = 4002, .protocol = kUdp, .checksum = false}},
      {"UDP without payload", {.client_port = 4003, .protocol = kUdp, .payload = {}}},
      {"IPv4 options", {.client_port = 4004, .extension = {1, 1, 1, 1, 1, 1, 1, 0}}},
      {"SCTP", {.protocol = kSctp}},
      {"IPv6 TCP", v6},
  };
  Shape extended = v6;
  extended.protocol = kUdp;
  extended.extension = {0, 1, 4, 0, 0, 0, 0};
  rows.push_back({"IPv6 UDP behind a hop-by-hop header", extended});
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    expect(frame(row.shape), kNext, frame(rewritten(row.shape)));
  }
}

TEST_F(Packet, OfNobodyIsLeftAsItIs) {
  Bytes arp = frame({});
  put16(arp, 12, 0x0806);
  Bytes shorter = frame({});
  shorter.resize(14 + 20 + 2);
  Bytes foreign = frame({});
  foreign[0] = 0x02;
  Bytes version = frame({});
  version[14] = 0x55;
  const std::vector<std::pair<const char*, Bytes>> rows{
      {"another address", frame({.target = "10.0.0.2"})},
      {"another port", frame({.port = 81})},
      {"another protocol", frame({.protocol = 47})},
      {"no connection, and no SYN, to another port", frame({.port = 81, .tcp_flags = 0x10})},
      {"for another machine", foreign},
      {"from port 20", frame({.client_port = 20})},
      {"a later fragment of nothing", frame({.protocol = kUdp, .fragment = 0x0010})},
      {"no IP", arp},
      {"cut off within the ports", shorter},
      {"another version", version},
  };
  for (const auto& [name, bytes] : rows) {
    SCOPED_TRACE(name);
    expect(bytes, kNext, bytes);
  }
}

// As the kernel answers a segment for which it has no socket; where it would leave, because nf_conntrack may know its connection.
TEST_F(Packet, OfNoConnectionIsReset) {
  for (const Shape& target : {Shape{}, Shape{.client = "fd01::1", .target = "fd00::1"}}) {
    SCOPED_TRACE(target.target);
    const bool v4 = ip(target.client).family() == Family::kIPv4;
    Shape shape = target;
    shape.tcp_flags = 0x11;  // FIN and ACK
    Bytes in = frame(shape);
    const std::size_t l4 = v4 ? 34 : 54;
    for (std::size_t i = 0; i < 8; ++i) in[l4 + 4 + i] = static_cast<std::uint8_t>(0x10 + i);
    expect(in, kNext, in);
    const auto run = sys::run_bpf_program(programs_.egress.get(), std::as_bytes(std::span(in)));
    ASSERT_TRUE(run) << run.error().what;
    EXPECT_EQ(run->verdict, kRedirected);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(run->packet.data());
    const Bytes out(bytes, bytes + run->packet.size());
    ASSERT_EQ(out.size(), l4 + 20);
    EXPECT_EQ(Bytes(out.begin(), out.begin() + 6), Bytes(in.begin() + 6, in.begin() + 12)) << "to where it came from";
    EXPECT_EQ(Bytes(out.begin() + l4, out.begin() + l4 + 2), Bytes(in.begin() + l4 + 2, in.begin() + l4 + 4));
    EXPECT_EQ(Bytes(out.begin() + l4 + 4, out.begin() + l4 + 8), Bytes(in.begin() + l4 + 8, in.begin() + l4 + 12))
        << "the sequence number that was acknowledged";
    EXPECT_EQ(out[l4 + 13], 0x04);
    const std::size_t addresses = v4 ? 26 : 22;
    const std::size_t size = v4 ? 4 : 16;
    EXPECT_EQ(Bytes(out.begin() + addresses, out.begin() + addresses + size),
              Bytes(in.begin() + addresses + size, in.begin() + addresses + 2 * size));
    Bytes summed(out.begin() + addresses, out.begin() + addresses + 2 * size);
    summed.insert(summed.end(), {0, kTcp, 0, 20});
    summed.insert(summed.end(), out.begin() + l4, out.end());
    EXPECT_EQ(sum_of(summed), 0xffffU);
    if (v4) {
      EXPECT_EQ(sum_of(Bytes(out.begin() + 14, out.begin() + 34)), 0xffffU);
    }
    shape.tcp_flags = 0x04;
    const Bytes reset = frame(shape);
    const auto dropped = sys::run_bpf_program(programs_.egress.get(), std::as_bytes(std::span(reset)));
    ASSERT_TRUE(dropped) << dropped.error().what;
    EXPECT_EQ(dropped->verdict, kDropped);
  }
}

// A CRC32c of the whole packet would have to be computed.
TEST_F(Packet, OfSctpToAnotherPortIsDropped) {
  expect(frame({.port = 81, .protocol = kSctp}), kDropped, {});
  EXPECT_EQ(tables_->drops()[SLUICE_DROP_MALFORMED], 1U);
}

TEST_F(Packet, OfAConnectionFollowsItWhateverItsFlags) {
  expect(frame({}), kNext, frame(rewritten({})));
  for (const int flags : {0x10, 0x18, 0x11, 0x04, 0x00}) {
    SCOPED_TRACE(flags);
    Shape shape;
    shape.tcp_flags = static_cast<std::uint8_t>(flags);
    expect(frame(shape), kNext, frame(rewritten(shape)));
  }
}

TEST_F(Packet, IsCountedWithoutThePaddingOfItsFrame) {
  for (const bool v4 : {true, false}) {
    Shape shape;
    shape.client = v4 ? "10.1.0.1" : "fd01::1";
    shape.target = v4 ? "10.0.0.1" : "fd00::1";
    Bytes in = frame(shape);
    const std::size_t size = in.size() - 14;
    in.resize(in.size() + 6);
    ASSERT_TRUE(sys::run_bpf_program(programs_.ingress.get(), std::as_bytes(std::span(in))));
    std::uint64_t bytes = 0;
    for (std::uint32_t id = 1; id < tables_->settings().reals; ++id) bytes += edit_->counted(id).bytes_in;
    EXPECT_EQ(bytes, v4 ? size : 43 + size);
  }
}

// Two CPUs with the first packets of one client at the same time: of one connection, or of two that one template controls.
TEST_F(Packet, OfOneClientOnTwoCpusAreBothForwarded) {
  VirtualServer sticky = VirtualServer::of(VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 81));
  sticky.flags = kPersistentFlag;
  sticky.persistence_timeout_s = 300;
  sticky.persistence_mask = 0xffffffff;
  RealServer real;
  real.key = RealServerKey::of(ip("10.2.0.1"), 8080);
  real.method = ForwardMethod::kMasquerade;
  ASSERT_EQ(*edit_->apply(AddVirtualServer{sticky}), 0);
  ASSERT_EQ(*edit_->apply(AddRealServer{sticky.key, real}), 0);
  constexpr int kRounds = 4000;
  std::atomic<int> arrived{0};
  std::atomic<int> lost{0};
  const auto send = [&](int thread) {
    // Each has a CPU of its own and is not interrupted by other threads, as softirqs are not.
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    CPU_SET(thread, &cpus);
    ASSERT_EQ(::sched_setaffinity(0, sizeof cpus, &cpus), 0) << "this test needs two CPUs";
    const sched_param first{.sched_priority = 1};
    ASSERT_EQ(::sched_setscheduler(0, SCHED_FIFO, &first), 0) << "this test needs root";
    for (int round = 0; round < kRounds; ++round) {
      const bool one_connection = round % 2 == 0;
      const std::string client = fmt::format("10.1.{}.{}", 1 + round / 200, 1 + round % 200);
      Shape shape;
      shape.client = client.c_str();
      shape.protocol = kUdp;
      shape.port = one_connection ? 80 : 81;
      shape.client_port = static_cast<std::uint16_t>(one_connection ? 4001 : 4001 + thread);
      const Bytes in = frame(shape);
      ++arrived;
      while (arrived < 2 * (round + 1)) {
      }
      const auto run = sys::run_bpf_program(programs_.ingress.get(), std::as_bytes(std::span(in)));
      if (!run || run->verdict != kNext) ++lost;
    }
  };
  std::thread other([&] { send(1); });
  std::thread one([&] { send(0); });
  one.join();
  other.join();
  EXPECT_EQ(lost, 0);
  for (std::uint32_t reason = 0; reason < SLUICE_DROP_COUNT; ++reason)
    EXPECT_EQ(tables_->drops()[reason], 0U) << reason;
  std::uint32_t entries = 0;
  for (std::uint32_t id = 1; id < tables_->pool().fresh; ++id)
    entries += sluice_phase(tables_->connections.at(id)->word) == SLUICE_PHASE_LIVE ? 1 : 0;
  EXPECT_EQ(entries, kRounds / 2 * 1 + kRounds / 2 * 3) << "a connection; a template and two connections";
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
