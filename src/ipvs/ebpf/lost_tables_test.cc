// SPDX-License-Identifier: Apache-2.0
// Programs whose tables are out of sight, incomplete, or of another version: they serve, and nobody must make a second engine beside them
// by mistake, nor leave them behind.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/resource.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "ipvs/ebpf/hooks.h"
#include "ipvs/ebpf/test_traffic.h"
#include "sys/bpf_place.h"

namespace sluice::ipvs::ebpf {
namespace {

using testing::HasSubstr;

class LostTables : public Traffic {
 protected:
  void SetUp() override {
    Traffic::SetUp();
    serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
    forget();
  }
  // As another process would find it.
  void forget() {
    engine_.reset();
    Traffic::SetUp();
  }
  static std::uint32_t program_on_client() {
    const auto devices = sys::list_devices();
    EXPECT_TRUE(devices);
    for (const sys::Device& each : *devices) {
      if (each.name == "client")
        return *sys::bpf_program_at({each.index, sys::BpfHook::kIngress, kFilterHandle, kFilterPriority});
    }
    return 0;
  }
  void expect_refusal_of(const std::vector<Change>& changes) {
    const auto applied = engine_->apply(changes);
    ASSERT_FALSE(applied);
    EXPECT_EQ(applied.error().code, Errc::kUnavailable);
    EXPECT_EQ(applied.error().sys_errno, 0) << "it is no refusal of ip_vs";
    EXPECT_THAT(applied.error().what, HasSubstr("`sluice cleanup`"));
  }
  Presence presence() {
    const auto presence = engine_->presence();
    EXPECT_TRUE(presence) << presence.error().what;
    return presence ? *presence : Presence::kServes;
  }
  void replace_rules() {
    const auto written = engine_->service_rules()->replace({.family = Family::kIPv4}, {{{kKey, 0}}, {}, {}});
    ASSERT_TRUE(written) << written.error().what;
  }

  const VirtualServerKey kKey = VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.1"), 53);
};

TEST_F(LostTables, OnesThatAreOutOfSightAreLeftAloneByASingleChange) {
  const std::uint32_t program = program_on_client();
  {
    const HiddenPins hidden;
    forget();
    EXPECT_TRUE(EbpfEngine::in_use());
    expect_refusal_of({AddVirtualServer{VirtualServer::of(kKey)}});
    expect_refusal_of({RemoveVirtualServer{kKey}});
    EXPECT_FALSE(engine_->set_timeouts({1000, 0, 0}));
    const auto info = engine_->info();
    ASSERT_FALSE(info);
    EXPECT_THAT(info.error().what, HasSubstr("their tables are not in /sys/fs/bpf/sluice/"));
    EXPECT_EQ(program_on_client(), program);
    engine_.reset();
  }
  forget();
  EXPECT_TRUE(engine_->info());
  EXPECT_EQ(found(kKey).real_servers.size(), 1U);
}

// A proxy is about to write all that it serves: in a container whose file system went with the one before it, it has to.
TEST_F(LostTables, WhoeverReplacesEverythingTakesTheirPlace) {
  const std::uint32_t program = program_on_client();
  {
    const HiddenPins hidden;
    forget();
    replace_rules();
    EXPECT_NE(program_on_client(), program);
    serve(kKey, "rr", {masqueraded("10.2.0.2", 5353)});
    const UniqueFd server = receiver({ip("10.2.0.2"), 5353});
    UniqueFd client;
    net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
    send_to(client, "by the new one", {kKey.address, kKey.port});
    EXPECT_EQ(receive(server).text, "by the new one");
    engine_.reset();
  }
  forget();
}

TEST_F(LostTables, OnesThatAreOutOfSightLeaveTheNodeWithTheirPrograms) {
  {
    const HiddenPins hidden;
    forget();
    EXPECT_EQ(presence(), Presence::kOutOfSight);
    const auto left = engine_->leave_node();
    ASSERT_TRUE(left) << left.error().what;
    EXPECT_EQ(program_on_client(), 0U);
    EXPECT_FALSE(EbpfEngine::in_use());
    EXPECT_EQ(presence(), Presence::kNone);
    engine_.reset();
  }
  forget();
}

TEST_F(LostTables, OnesThatServedServicesAreADataPlanes) {
  ASSERT_TRUE(engine_->service_rules()->replace({.family = Family::kIPv4}, {{}, {}, {kKey.address}}));
  ASSERT_TRUE(engine_->service_rules()->clear(Family::kIPv4));
  const HiddenPins hidden;
  forget();
  EXPECT_EQ(presence(), Presence::kIdle) << "its device is there";
  ASSERT_TRUE(engine_->leave_node());
  EXPECT_EQ(presence(), Presence::kNone);
  engine_.reset();
}

// In tables without the others' rules these would not be served.
TEST_F(LostTables, OneChangeOfRulesMakesNoNewOnes) {
  replace_rules();
  ASSERT_TRUE(EbpfEngine::remove());
  const auto changed = engine_->service_rules()->change(Family::kIPv4, {{{kKey, 0}}, {}, {}}, {});
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code, Errc::kUnavailable);
  EXPECT_FALSE(EbpfEngine::in_use());
  EXPECT_FALSE(*engine_->service_rules()->intact({.family = Family::kIPv4}));
}

// Whichever pin is lost.
TEST_F(LostTables, AreWholeAgainAfterEverythingWasReplaced) {
  std::vector<std::string> names;
  for (const auto& pin : std::filesystem::directory_iterator(pins())) names.push_back(pin.path().filename().string());
  EXPECT_GT(names.size(), 25U);
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  std::uint16_t port = 4001;
  for (const std::string& name : names) {
    SCOPED_TRACE(name);
    replace_rules();
    EXPECT_TRUE(*engine_->service_rules()->intact({.family = Family::kIPv4}));
    engine_.reset();
    ASSERT_TRUE(std::filesystem::remove(pins() + "/" + name));
    forget();
    EXPECT_FALSE(*engine_->service_rules()->intact({.family = Family::kIPv4}));
    replace_rules();
    EXPECT_TRUE(*engine_->service_rules()->intact({.family = Family::kIPv4}));
    if (!engine_->find(kKey)) serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
    EXPECT_TRUE(std::filesystem::exists(pins() + "/" + name));
    UniqueFd client;
    net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), port++}); });
    send_to(client, name, {kKey.address, kKey.port});
    EXPECT_EQ(receive(server).text, name);
  }
}

TEST_F(LostTables, IncompleteOnesAreInUseAndAreMadeAgainByWhoeverReplacesEverything) {
  engine_.reset();
  ASSERT_TRUE(std::filesystem::remove(pins() + "/sluice_pool"));
  forget();
  EXPECT_TRUE(EbpfEngine::in_use());
  EXPECT_EQ(presence(), Presence::kOutOfSight);
  expect_refusal_of({AddVirtualServer{VirtualServer::of(kKey)}});
  replace_rules();
  serve(kKey, "rr", {masqueraded("10.2.0.1", 5353)});
  const UniqueFd server = receiver({ip("10.2.0.1"), 5353});
  UniqueFd client;
  net_.as_client([&] { client = bound_socket(SOCK_DGRAM, {ip("10.1.0.1"), 4001}); });
  send_to(client, "again", {kKey.address, kKey.port});
  EXPECT_EQ(receive(server).text, "again");
}

// While it writes, a process has the lock. What it was told to serve must not go between its look and its last write.
TEST_F(LostTables, RemovalWaitsForWhoeverWrites) {
  serve(VirtualServerKey::of(Protocol::kUdp, ip("10.0.0.2"), 53), "rr", {});
  auto tables = Tables::find();
  ASSERT_TRUE(tables && *tables);
  auto lock = (*tables)->lock();
  ASSERT_TRUE(lock) << lock.error().what;
  std::atomic<bool> removed = false;
  std::thread remover([&removed] {
    const auto done = EbpfEngine::remove();
    EXPECT_TRUE(done) << done.error().what;
    removed = true;
  });
  for (int i = 0; i < 50 && !removed; ++i) ::usleep(10000);
  EXPECT_FALSE(removed);
  EXPECT_NE(program_on_client(), 0U);
  lock = fail(Errc::kUnavailable, "let go");
  remover.join();
  EXPECT_FALSE(std::filesystem::exists(pins()));
}

TEST_F(LostTables, ThoseOfAnotherLayoutAreRemovedToo) {
  const std::string others = "/sys/fs/bpf/sluice/v0/" + std::to_string(*sys::netns_cookie());
  std::filesystem::create_directories(others);
  ASSERT_TRUE(EbpfEngine::remove());
  EXPECT_FALSE(std::filesystem::exists(others));
  EXPECT_FALSE(EbpfEngine::in_use());
  std::filesystem::create_directories(others);
  EXPECT_FALSE(EbpfEngine::in_use()) << "nothing is in it";
  const auto map = sys::make_bpf_array("any", 8, 1);
  ASSERT_TRUE(map);
  ASSERT_TRUE(sys::replace_pinned_bpf(map->get(), others + "/any"));
  EXPECT_TRUE(EbpfEngine::in_use());
}

using NoTables = Traffic;

// This process can open so many files more.
class FewFiles {
 public:
  explicit FewFiles(rlim_t more) {
    EXPECT_EQ(::getrlimit(RLIMIT_NOFILE, &before_), 0);
    const UniqueFd next(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    const rlimit few{static_cast<rlim_t>(next.get()) + more, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  }
  ~FewFiles() { EXPECT_EQ(::setrlimit(RLIMIT_NOFILE, &before_), 0); }
  FewFiles(const FewFiles&) = delete;
  FewFiles& operator=(const FewFiles&) = delete;

 private:
  rlimit before_{};
};

TEST_F(NoTables, AFirstLoadThatFailsLeavesNone) {
  const std::vector<Change> changes{
      AddVirtualServer{VirtualServer::of(VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80))}};
  for (const rlim_t more : {6, 12, 24}) {
    SCOPED_TRACE(more);
    {
      const FewFiles few(more);
      const auto applied = engine_->apply(changes);
      ASSERT_FALSE(applied);
      EXPECT_THAT(applied.error().what, HasSubstr("Too many open files"));
    }
    EXPECT_FALSE(std::filesystem::exists(pins()));
    EXPECT_FALSE(EbpfEngine::in_use());
  }
  apply(changes);
}

TEST_F(NoTables, ChangesThatAreRefusedMakeNone) {
  const VirtualServerKey key = VirtualServerKey::of(Protocol::kTcp, ip("10.0.0.1"), 80);
  const RealServer real = masqueraded("10.2.0.1", 80);
  VirtualServer unknown = VirtualServer::of(key);
  unknown.scheduler = "nonesuch";
  VirtualServer long_name = VirtualServer::of(key);
  long_name.scheduler = std::string(100, 'x');
  const std::vector<std::pair<Change, int>> rows{
      {RemoveVirtualServer{key}, ESRCH},      {EditVirtualServer{unknown}, ESRCH},
      {EditVirtualServer{long_name}, EINVAL}, {AddRealServer{key, real}, ESRCH},
      {EditRealServer{key, real}, ESRCH},     {RemoveRealServer{key, real.key}, ESRCH},
      {AddVirtualServer{unknown}, ENOENT},    {AddVirtualServer{long_name}, EINVAL},
  };
  std::vector<Change> changes;
  for (const auto& [change, error] : rows) changes.push_back(change);
  const auto failures = engine_->apply(changes);
  ASSERT_TRUE(failures) << failures.error().what;
  ASSERT_EQ(failures->size(), rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_EQ((*failures)[i].index, i);
    EXPECT_EQ((*failures)[i].error.sys_errno, rows[i].second) << i;
  }
  EXPECT_FALSE(EbpfEngine::in_use());
  changes.emplace_back(AddVirtualServer{VirtualServer::of(key)});
  changes.emplace_back(AddRealServer{key, real});
  const auto again = engine_->apply(changes);
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->size(), rows.size()) << "what follows fits";
  EXPECT_EQ(found(key).real_servers.size(), 1U);
}

}  // namespace
}  // namespace sluice::ipvs::ebpf
