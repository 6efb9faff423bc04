// SPDX-License-Identifier: Apache-2.0
// What packets use outlives the process that made it, and the version of it.
#include <gtest/gtest.h>

#include "ipvs/ebpf/test_traffic.h"
#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {
namespace {

class Upgrade : public Traffic {
 protected:
  static std::uint32_t program_on(const std::string& device) {
    const auto devices = sys::list_devices();
    EXPECT_TRUE(devices);
    for (const sys::Device& each : *devices) {
      if (each.name == device) return *sys::bpf_program_at({each.index, sys::BpfHook::kIngress, 0x51, 100});
    }
    return 0;
  }
};

TEST_F(Upgrade, AnotherVersionTakesOverWithoutLosingAConnection) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  serve(key, "rr", {masqueraded("10.2.0.1", 8080)});
  const UniqueFd listening = listener({ip("10.2.0.1"), 8080});
  UniqueFd client;
  net_.as_client([&] {
    client = bound_socket(SOCK_STREAM, {ip("10.1.0.1"), 4001});
    ASSERT_EQ(connect(client, {key.address, key.port}), 0);
  });
  const Accepted accepted = accept(listening);
  write_text(client, "before");
  EXPECT_EQ(read_text(accepted.fd, 6), "before");
  const std::uint32_t before = program_on("client");
  EXPECT_NE(before, 0U);

  engine_.reset();
  SetUp();
  apply({EditRealServer{key, masqueraded("10.2.0.1", 8080, 2)}});
  EXPECT_EQ(program_on("client"), before) << "the same version loads nothing";

  {
    auto tables = Tables::find();
    ASSERT_TRUE(tables && *tables);
    (*tables)->settings().program_hash ^= 2;  // as if others were attached
  }
  engine_.reset();
  SetUp();
  apply({EditRealServer{key, masqueraded("10.2.0.1", 8080, 3)}});
  EXPECT_NE(program_on("client"), before);
  write_text(client, "after");
  EXPECT_EQ(read_text(accepted.fd, 5), "after");
  write_text(accepted.fd, "answer");
  EXPECT_EQ(read_text(client, 6), "answer");
  const VirtualServerState state = found(key);
  EXPECT_EQ(state.real_servers.at(0).active_connections, 1U);
  EXPECT_EQ(state.statistics.totals.connections, 1U);
}

// A device that came after the last change.
TEST_F(Upgrade, EveryChangeAttachesToWhatIsThere) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  serve(key, "rr", {});
  run({"ip", "link", "add", "late", "type", "bridge"});
  EXPECT_EQ(program_on("late"), 0U);
  apply({AddRealServer{key, masqueraded("10.2.0.1", 8080)}});
  EXPECT_EQ(program_on("late"), program_on("client"));
  ASSERT_TRUE(EbpfEngine::remove());
  EXPECT_EQ(program_on("late"), 0U);
  EXPECT_FALSE(EbpfEngine::in_use());
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
