// SPDX-License-Identifier: Apache-2.0
// Two engines that agree in simple cases and differ in the errno of a doubtful change would make every caller
// know both. So what engine.h promises is tested here on each of them, errno for errno; where several results are
// possible, the kernel's counts.
// Long, because it is one contract: to be read from top to bottom by authors of an engine.
#include "ipvs/contract_suite.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <limits>
#include <map>
#include <set>
#include <thread>

#include "base/ip_literals.h"

namespace sluice::ipvs {
namespace {

using std::chrono::steady_clock;

// Counters may be two seconds old, and an emulated machine is slow.
constexpr auto kStatisticsPatience = std::chrono::seconds(60);
constexpr auto kStatisticsPause = std::chrono::milliseconds(50);

VirtualServerKey tcp(const char* address, std::uint16_t port) {
  return VirtualServerKey::of(Protocol::kTcp, ip(address), port);
}
VirtualServerKey udp(const char* address, std::uint16_t port) {
  return VirtualServerKey::of(Protocol::kUdp, ip(address), port);
}

RealServer real(const char* address, std::uint16_t port, ForwardMethod method = ForwardMethod::kMasquerade) {
  RealServer server;
  server.key = RealServerKey::of(ip(address), port);
  server.method = method;
  return server;
}

template <typename Edit>
VirtualServer with(const VirtualServerKey& key, Edit edit) {
  VirtualServer server = VirtualServer::of(key);
  edit(server);
  return server;
}

template <typename Edit>
RealServer with(RealServer server, Edit edit) {
  edit(server);
  return server;
}

// What was set, without the effects of packets.
struct Settings {
  VirtualServer server;
  std::vector<RealServer> real_servers;
  friend bool operator==(const Settings&, const Settings&) = default;
};

Settings settings_of(const VirtualServerState& state) {
  Settings settings{state.server, {}};
  for (const RealServerState& each : state.real_servers) settings.real_servers.push_back(each.server);
  return settings;
}

std::vector<Settings> settings_of(const std::vector<VirtualServerState>& states) {
  std::vector<Settings> all;
  for (const VirtualServerState& state : states) all.push_back(settings_of(state));
  return all;
}

void PrintTo(const Settings& settings, std::ostream* out) {
  const VirtualServer& s = settings.server;
  *out << to_string(s.key) << " scheduler=" << s.scheduler << " flags=" << s.flags
       << " timeout=" << s.persistence_timeout_s << " mask=" << s.persistence_mask
       << " engine=" << s.persistence_engine;
  for (const RealServer& r : settings.real_servers) {
    *out << " {" << to_string(r.key) << " method=" << static_cast<int>(r.method) << " weight=" << r.weight
         << " thresholds=" << r.upper_threshold << "," << r.lower_threshold
         << " tunnel=" << static_cast<int>(r.tunnel.type) << "," << r.tunnel.port << ","
         << static_cast<int>(r.tunnel.checksum) << "}";
  }
}

template <typename T>
int errno_of(const Result<T>& result) {
  return result ? 0 : result.error().sys_errno;
}

// What callers branch on: engine.h's table.
Errc kind_of(const Change& change, int error) {
  switch (error) {
    case EEXIST:
      return Errc::kAlreadyExists;
    case ESRCH:
      return Errc::kNotFound;
    case ENOENT:
      return settings_in(change) != nullptr ? Errc::kUnsupported : Errc::kNotFound;
    default:
      return Errc::kInvalid;
  }
}

// Polls until the counters are as wanted, or the time is over.
template <typename Wanted>
VirtualServerState await(Engine& engine, const VirtualServerKey& key, Wanted wanted) {
  const auto end = steady_clock::now() + kStatisticsPatience;
  while (true) {
    auto state = engine.find(key);
    if (!state || state->real_servers.empty() || wanted(*state) || steady_clock::now() > end) {
      return state ? *std::move(state) : VirtualServerState{};
    }
    std::this_thread::sleep_for(kStatisticsPause);
  }
}

}  // namespace

void EngineContract::SetUp() {
  rig_ = GetParam().make_rig();
  ASSERT_NE(rig_, nullptr);
  engine_ = rig_->open();
  ASSERT_NE(engine_, nullptr);
}

void EngineContract::TearDown() {
  engine_.reset();
  rig_.reset();
}

void EngineContract::apply(const std::vector<Change>& changes) {
  const auto failures = engine_->apply(changes);
  ASSERT_TRUE(failures) << failures.error().what;
  for (const Failure& failure : *failures) ADD_FAILURE() << failure.error.what;
}

std::vector<VirtualServerState> EngineContract::list() {
  auto all = list_all(*engine_);
  EXPECT_TRUE(all) << all.error().what;
  if (!all) return {};
  std::sort(all->begin(), all->end(),
            [](const VirtualServerState& a, const VirtualServerState& b) { return a.server.key < b.server.key; });
  return *std::move(all);
}

std::vector<Connection> EngineContract::connections() {
  std::vector<Connection> all;
  const auto listed = engine_->connections([&](const Connection& c) { all.push_back(c); });
  EXPECT_TRUE(listed) << listed.error().what;
  return all;
}

// What an engine without them returns, whatever the request.
void EngineContract::expect_no_sync_daemons() {
  for (const SyncRole role : {SyncRole::kMaster, SyncRole::kBackup}) {
    const auto started = engine_->start_sync_daemon({.role = role, .interface = "eth0", .group = std::nullopt});
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().sys_errno, EOPNOTSUPP);
    EXPECT_EQ(started.error().code, Errc::kUnsupported) << started.error().what;
    EXPECT_EQ(errno_of(engine_->stop_sync_daemon(role)), ESRCH);
  }
  const auto running = engine_->sync_daemons();
  ASSERT_TRUE(running) << running.error().what;
  EXPECT_TRUE(running->empty());
}

TEST_P(EngineContract, HasANameAndAVersion) {
  EXPECT_FALSE(engine_->name().empty());
  const auto info = engine_->info();
  ASSERT_TRUE(info) << info.error().what;
  EXPECT_GE(info->version, 0x010201U);
}

TEST_P(EngineContract, AnEmptyTableIsNoError) {
  EXPECT_TRUE(list().empty());
  EXPECT_TRUE(connections().empty());
}

TEST_P(EngineContract, ListsVirtualServersAsTheyWereGiven) {
  const std::vector<std::pair<const char*, VirtualServer>> rows{
      {"tcp", VirtualServer::of(tcp("10.0.0.1", 80))},
      {"udp on the same port", VirtualServer::of(udp("10.0.0.1", 80))},
      {"sctp", VirtualServer::of(VirtualServerKey::of(Protocol::kSctp, ip("10.0.0.1"), 80))},
      {"IPv6", VirtualServer::of(tcp("fd00:1::1", 80))},
      {"a protocol without a use",
       VirtualServer::of({.family = Family::kIPv4, .protocol = 1, .address = ip("10.0.0.1"), .port = 80})},
      {"a mapped address is another one",
       VirtualServer::of({.family = Family::kIPv6, .protocol = 6, .address = ip("10.0.0.1"), .port = 80})},
      {"a mark", VirtualServer::of(VirtualServerKey::of_mark(Family::kIPv4, 7))},
      {"the same mark, IPv6", VirtualServer::of(VirtualServerKey::of_mark(Family::kIPv6, 7))},
      {"the largest mark", VirtualServer::of(VirtualServerKey::of_mark(Family::kIPv4, 0xffffffff))},
      {"every port, persistent", with(tcp("10.0.0.2", 0),
                                      [](VirtualServer& s) {
                                        s.flags = kPersistentFlag;
                                        s.persistence_timeout_s = 360;
                                      })},
      {"persistent by network", with(tcp("10.0.0.2", 81),
                                     [](VirtualServer& s) {
                                       s.flags = kPersistentFlag;
                                       s.persistence_timeout_s = 2678400;
                                       s.persistence_mask = 0xffffff00;
                                     })},
      {"a mask with holes", with(tcp("10.0.0.2", 82), [](VirtualServer& s) { s.persistence_mask = 0xff00ff00; })},
      {"persistent by IPv6 network", with(tcp("fd00:1::2", 81),
                                          [](VirtualServer& s) {
                                            s.flags = kPersistentFlag;
                                            s.persistence_timeout_s = 1;
                                            s.persistence_mask = 64;
                                          })},
      {"a persistence engine", with(udp("10.0.0.2", 5060),
                                    [](VirtualServer& s) {
                                      s.flags = kPersistentFlag;
                                      s.persistence_timeout_s = 60;
                                      s.persistence_engine = "sip";
                                    })},
      {"one packet", with(udp("10.0.0.2", 53), [](VirtualServer& s) { s.flags = kOnePacketFlag; })},
      {"scheduler flags", with(tcp("10.0.0.2", 83),
                               [](VirtualServer& s) {
                                 s.scheduler = "mh";
                                 s.flags = kSchedulerFlag1 | kSchedulerFlag2 | kSchedulerFlag3;
                               })},
      {"a flag without a name", with(tcp("10.0.0.2", 84), [](VirtualServer& s) { s.flags = 0x4000; })},
      {"no scheduler", with(tcp("10.0.0.2", 85), [](VirtualServer& s) { s.scheduler = kNoScheduler; })},
  };
  std::map<VirtualServerKey, VirtualServer> wanted;
  for (const auto& [name, server] : rows) {
    SCOPED_TRACE(name);
    apply({AddVirtualServer{server}});
    const auto found = engine_->find(server.key);
    ASSERT_TRUE(found) << found.error().what;
    EXPECT_EQ(settings_of(*found), (Settings{server, {}}));
    wanted[server.key] = server;
  }
  ASSERT_EQ(wanted.size(), rows.size());
  std::vector<Settings> all;
  for (const auto& [key, server] : wanted) all.push_back({server, {}});
  EXPECT_EQ(settings_of(list()), all);
}

TEST_P(EngineContract, TakesEveryScheduler) {
  std::uint16_t port = 1;
  for (const char* scheduler :
       {"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sed", "nq", "fo", "ovf", "mh"}) {
    SCOPED_TRACE(scheduler);
    apply({AddVirtualServer{with(tcp("10.0.0.1", port++), [&](VirtualServer& s) { s.scheduler = scheduler; })}});
  }
}

TEST_P(EngineContract, ListsRealServersAsTheyWereGivenTheNewestFirst) {
  const VirtualServerKey key = tcp("10.0.0.1", 80);
  const std::vector<RealServer> rows{
      real("10.2.0.1", 80),
      real("10.2.0.1", 8080),
      real("10.2.0.2", 0, ForwardMethod::kDirectRoute),
      real("10.2.0.3", 80, ForwardMethod::kTunnel),
      real("10.2.0.4", 80, ForwardMethod::kLocal),
      real("10.2.0.5", 80, ForwardMethod::kBypass),
      real("240.0.0.1", 80),
      real("fd02::1", 80, ForwardMethod::kTunnel),
      with(real("10.2.0.6", 80), [](RealServer& r) { r.weight = 0; }),
      with(real("10.2.0.7", 80), [](RealServer& r) { r.weight = std::numeric_limits<std::int32_t>::max(); }),
      with(real("10.2.0.8", 80),
           [](RealServer& r) {
             r.upper_threshold = 0x7fffffff;
             r.lower_threshold = 0x7fffffff;
           }),
      with(real("10.2.0.9", 80, ForwardMethod::kTunnel),
           [](RealServer& r) { r.tunnel = {TunnelType::kGue, 6080, TunnelChecksum::kRemoteOffload}; }),
      with(real("10.2.0.10", 80, ForwardMethod::kTunnel),
           [](RealServer& r) { r.tunnel = {TunnelType::kGre, 0, TunnelChecksum::kChecksum}; }),
  };
  apply({AddVirtualServer{VirtualServer::of(key)}});
  for (const RealServer& row : rows) apply({AddRealServer{key, row}});
  const Settings wanted{VirtualServer::of(key), {rows.rbegin(), rows.rend()}};
  const auto found = engine_->find(key);
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(settings_of(*found), wanted);
  EXPECT_EQ(settings_of(list()), std::vector<Settings>{wanted});
}

TEST_P(EngineContract, TheTableIsTheMachinesAndOutlivesTheObject) {
  const VirtualServerKey key = tcp("10.0.0.1", 80);
  apply({AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, real("10.2.0.1", 80)}});
  const std::vector<Settings> before = settings_of(list());
  const std::unique_ptr<Engine> other = rig_->open();
  ASSERT_NE(other, nullptr);
  engine_ = rig_->open();
  EXPECT_EQ(settings_of(list()), before);
  const std::vector<Change> change{RemoveRealServer{key, real("10.2.0.1", 80).key}};
  const auto failures = other->apply(change);
  ASSERT_TRUE(failures && failures->empty());
  EXPECT_EQ(settings_of(list()), (std::vector<Settings>{{VirtualServer::of(key), {}}}));
}

TEST_P(EngineContract, AnEditReplacesEverySettingAndNothingElse) {
  const VirtualServerKey key = udp("10.0.0.1", 53);
  const VirtualServer rich = with(key, [](VirtualServer& s) {
    s.scheduler = "sh";
    s.flags = kPersistentFlag | kOnePacketFlag | kSchedulerFlag1;
    s.persistence_timeout_s = 100;
    s.persistence_mask = 0xffff0000;
    s.persistence_engine = "sip";
  });
  const std::vector<RealServer> reals{real("10.2.0.1", 53), real("10.2.0.2", 53)};
  apply({AddVirtualServer{rich}, AddRealServer{key, reals[1]}, AddRealServer{key, reals[0]}});
  apply({EditVirtualServer{VirtualServer::of(key)}});
  EXPECT_EQ(settings_of(list()), (std::vector<Settings>{{VirtualServer::of(key), reals}}));
  apply({EditVirtualServer{rich}});
  EXPECT_EQ(settings_of(list()), (std::vector<Settings>{{rich, reals}}));

  const RealServer changed = with(real("10.2.0.2", 53, ForwardMethod::kTunnel), [](RealServer& r) {
    r.weight = 7;
    r.upper_threshold = 10;
    r.lower_threshold = 5;
    r.tunnel = {TunnelType::kGue, 6080, TunnelChecksum::kChecksum};
  });
  apply({EditRealServer{key, changed}});
  EXPECT_EQ(settings_of(list()), (std::vector<Settings>{{rich, {reals[0], changed}}}))
      << "its place in the order stays, too";
  apply({EditRealServer{key, reals[1]}});
  EXPECT_EQ(settings_of(list()), (std::vector<Settings>{{rich, reals}}));
}

TEST_P(EngineContract, RealServersAreRemovedWithTheirVirtualServer) {
  const VirtualServerKey key = tcp("10.0.0.1", 80);
  const std::vector<Change> added{AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, real("10.2.0.1", 80)}};
  apply(added);
  apply({RemoveVirtualServer{key}});
  EXPECT_TRUE(list().empty());
  apply({AddVirtualServer{VirtualServer::of(key)}});
  EXPECT_EQ(settings_of(list()), (std::vector<Settings>{{VirtualServer::of(key), {}}}));
}

TEST_P(EngineContract, ARefusalCarriesItsErrnoAndChangesNothing) {
  const VirtualServerKey key = tcp("10.0.0.1", 80);
  const VirtualServerKey none = tcp("10.0.0.9", 80);
  const VirtualServerKey v6 = tcp("fd00:1::1", 80);
  const RealServer there = real("10.2.0.1", 80);
  const auto edited = [&](auto edit) { return with(key, edit); };
  const auto fresh = [&](auto edit) { return with(none, edit); };
  const auto changed = [&](auto edit) { return with(there, edit); };
  struct Row {
    const char* name;
    Change change;
    int error;
  };
  const std::vector<Row> rows{
      {"add a virtual server twice", AddVirtualServer{VirtualServer::of(key)}, EEXIST},
      {"twice, with a scheduler that is not known",
       AddVirtualServer{edited([](VirtualServer& s) { s.scheduler = "nonesuch"; })}, EEXIST},
      {"edit none", EditVirtualServer{VirtualServer::of(none)}, ESRCH},
      {"edit none, with a scheduler that is not known",
       EditVirtualServer{fresh([](VirtualServer& s) { s.scheduler = "x"; })}, ESRCH},
      {"remove none", RemoveVirtualServer{none}, ESRCH},
      {"another protocol is none", RemoveVirtualServer{udp("10.0.0.1", 80)}, ESRCH},
      {"another port is none", RemoveVirtualServer{tcp("10.0.0.1", 81)}, ESRCH},
      {"a mark without a server", RemoveVirtualServer{VirtualServerKey::of_mark(Family::kIPv4, 3)}, ESRCH},
      {"scheduler not known, add", AddVirtualServer{fresh([](VirtualServer& s) { s.scheduler = "nonesuch"; })}, ENOENT},
      {"scheduler not known, edit", EditVirtualServer{edited([](VirtualServer& s) { s.scheduler = "nonesuch"; })},
       ENOENT},
      {"scheduler without a name", AddVirtualServer{fresh([](VirtualServer& s) { s.scheduler = ""; })}, ENOENT},
      {"persistence engine not known, add",
       AddVirtualServer{fresh([](VirtualServer& s) { s.persistence_engine = "nonesuch"; })}, ENOENT},
      {"persistence engine not known, edit",
       EditVirtualServer{edited([](VirtualServer& s) { s.persistence_engine = "n"; })}, ENOENT},
      {"scheduler's name too long", AddVirtualServer{fresh([](VirtualServer& s) { s.scheduler = "0123456789abcdef"; })},
       EINVAL},
      {"prefix of 0", AddVirtualServer{with(tcp("fd00:1::9", 1), [](VirtualServer& s) { s.persistence_mask = 0; })},
       EINVAL},
      {"prefix of 129", EditVirtualServer{with(v6, [](VirtualServer& s) { s.persistence_mask = 129; })}, EINVAL},
      {"real server to none", AddRealServer{none, there}, ESRCH},
      {"real server twice", AddRealServer{key, there}, EEXIST},
      {"edit a real server of none", EditRealServer{none, there}, ESRCH},
      {"edit no real server", EditRealServer{key, real("10.2.0.9", 80)}, ENOENT},
      {"another port is no real server", EditRealServer{key, real("10.2.0.1", 81)}, ENOENT},
      {"remove a real server of none", RemoveRealServer{none, there.key}, ESRCH},
      {"remove no real server", RemoveRealServer{key, real("10.2.0.9", 80).key}, ENOENT},
      {"weight below 0", EditRealServer{key, changed([](RealServer& r) { r.weight = -1; })}, ERANGE},
      {"lower threshold above the upper one",
       EditRealServer{key, changed([](RealServer& r) { r.lower_threshold = 1; })}, ERANGE},
      {"upper threshold out of range",
       EditRealServer{key, changed([](RealServer& r) { r.upper_threshold = 0x80000000; })}, EINVAL},
      {"gue without port", EditRealServer{key, changed([](RealServer& r) { r.tunnel.type = TunnelType::kGue; })},
       EINVAL},
      {"multicast", AddRealServer{key, real("224.0.0.1", 80)}, EINVAL},
      {"unspecified", AddRealServer{key, real("0.0.0.0", 80)}, EINVAL},
      {"broadcast", AddRealServer{key, real("255.255.255.255", 80)}, EINVAL},
      {"IPv6 multicast", AddRealServer{v6, real("ff02::1", 80)}, EINVAL},
      {"IPv6 unspecified", AddRealServer{v6, real("::", 80)}, EINVAL},
      {"IPv6 link-local", AddRealServer{v6, real("fe80::1", 80)}, EINVAL},
      {"IPv6 behind IPv4 without a tunnel", AddRealServer{key, real("fd02::1", 80)}, EINVAL},
      {"IPv4 behind IPv6 without a tunnel", AddRealServer{v6, real("10.2.0.1", 80, ForwardMethod::kDirectRoute)},
       EINVAL},
  };
  apply({AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, there}, AddVirtualServer{VirtualServer::of(v6)}});
  const std::vector<Settings> before = settings_of(list());
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const auto failures = engine_->apply({&row.change, 1});
    ASSERT_TRUE(failures) << failures.error().what;
    ASSERT_EQ(failures->size(), 1U);
    EXPECT_EQ(failures->front().index, 0U);
    EXPECT_EQ(failures->front().error.sys_errno, row.error) << failures->front().error.what;
    EXPECT_EQ(failures->front().error.code, kind_of(row.change, row.error)) << failures->front().error.what;
    EXPECT_NE(failures->front().error.what.find(to_string(row.change)), std::string::npos)
        << failures->front().error.what;
    EXPECT_EQ(settings_of(list()), before);
  }
}

TEST_P(EngineContract, LocalAddressesMayBeRealServers) {
  const VirtualServerKey v4 = tcp("10.0.0.1", 80);
  const VirtualServerKey v6 = tcp("fd00:1::1", 80);
  apply({AddVirtualServer{VirtualServer::of(v4)}, AddVirtualServer{VirtualServer::of(v6)},
         AddRealServer{v4, real("10.0.0.1", 80)}, AddRealServer{v4, real("127.0.0.1", 80)},
         AddRealServer{v6, real("::1", 80)}});
}

TEST_P(EngineContract, FindsNothingWhereThereIsNothing) {
  EXPECT_EQ(errno_of(engine_->find(tcp("10.0.0.1", 80))), ESRCH);
  EXPECT_EQ(errno_of(engine_->find(VirtualServerKey::of_mark(Family::kIPv6, 1))), ESRCH);
}

TEST_P(EngineContract, ABatchTriesEveryChangeInItsOrder) {
  const VirtualServerKey first = tcp("10.0.0.1", 80);
  const VirtualServerKey second = tcp("10.0.0.2", 80);
  const std::vector<Change> batch{
      AddRealServer{first, real("10.2.0.1", 80)},  // refused: its server is added later
      AddVirtualServer{VirtualServer::of(first)},
      AddRealServer{first, real("10.2.0.2", 80)},
      AddVirtualServer{VirtualServer::of(first)},  // refused: exists by now
      AddVirtualServer{VirtualServer::of(second)},
      RemoveVirtualServer{second},
      AddRealServer{second, real("10.2.0.2", 80)},  // refused: removed by now
      EditRealServer{first, with(real("10.2.0.2", 80), [](RealServer& r) { r.weight = 9; })},
  };
  const auto failures = engine_->apply(batch);
  ASSERT_TRUE(failures) << failures.error().what;
  std::vector<std::pair<std::size_t, int>> got;
  for (const Failure& failure : *failures) got.emplace_back(failure.index, failure.error.sys_errno);
  EXPECT_EQ(got, (std::vector<std::pair<std::size_t, int>>{{0, ESRCH}, {3, EEXIST}, {6, ESRCH}}));
  const RealServer wanted = with(real("10.2.0.2", 80), [](RealServer& r) { r.weight = 9; });
  EXPECT_EQ(settings_of(list()), (std::vector<Settings>{{VirtualServer::of(first), {wanted}}}));
}

TEST_P(EngineContract, ABatchOfNothingIsDone) {
  const auto failures = engine_->apply({});
  ASSERT_TRUE(failures) << failures.error().what;
  EXPECT_TRUE(failures->empty());
}

// More than fits into one message, in both directions.
TEST_P(EngineContract, LargeBatchesAndLargeTablesLoseNothing) {
  constexpr std::uint16_t kServers = 600;
  std::vector<Change> batch;
  std::vector<std::size_t> refused;
  std::vector<Settings> wanted;
  for (std::uint16_t port = 1; port <= kServers; ++port) {
    const VirtualServerKey key = tcp("10.0.0.1", port);
    Settings settings{VirtualServer::of(key), {}};
    batch.emplace_back(AddVirtualServer{settings.server});
    if (port % 7 == 0) {
      refused.push_back(batch.size());
      batch.emplace_back(AddVirtualServer{settings.server});
    }
    for (std::uint16_t n = 0; n < 3; ++n) {
      const RealServer each = real("10.2.0.1", static_cast<std::uint16_t>(8000 + n));
      batch.emplace_back(AddRealServer{key, each});
      settings.real_servers.insert(settings.real_servers.begin(), each);
    }
    wanted.push_back(settings);
  }
  const auto failures = engine_->apply(batch);
  ASSERT_TRUE(failures) << failures.error().what;
  std::vector<std::size_t> got;
  for (const Failure& failure : *failures) {
    EXPECT_EQ(failure.error.sys_errno, EEXIST) << failure.error.what;
    got.push_back(failure.index);
  }
  EXPECT_EQ(got, refused);
  EXPECT_EQ(settings_of(list()), wanted);
}

TEST_P(EngineContract, OnlyWhatIsWantedIsListed) {
  const VirtualServerKey one = tcp("10.0.0.1", 80);
  const VirtualServerKey other = tcp("10.0.0.2", 80);
  apply({AddVirtualServer{VirtualServer::of(one)}, AddVirtualServer{VirtualServer::of(other)}});
  std::set<VirtualServerKey> asked;
  std::vector<VirtualServerKey> listed;
  const auto wanted = [&](const VirtualServerKey& key) {
    asked.insert(key);
    return key == other;
  };
  ASSERT_TRUE(engine_->list(wanted, [&](const VirtualServerState& state) { listed.push_back(state.server.key); }));
  EXPECT_EQ(asked, (std::set<VirtualServerKey>{one, other}));
  EXPECT_EQ(listed, std::vector<VirtualServerKey>{other});
}

// Another process adds and removes between two pieces of the list, which is when an engine calls `wanted`.
TEST_P(EngineContract, NoServerIsListedTwiceWhileAnotherProcessChangesTheTable) {
  constexpr std::uint16_t kServers = 400;
  const auto other = rig_->open();
  ASSERT_NE(other, nullptr);
  std::vector<Change> batch;
  for (std::uint16_t port = 1; port <= kServers; ++port) {
    batch.emplace_back(AddVirtualServer{VirtualServer::of(tcp("10.0.0.1", port))});
    batch.emplace_back(AddRealServer{tcp("10.0.0.1", port), real("10.2.0.1", 80)});
  }
  apply(batch);
  std::uint16_t asked = 0;
  const auto wanted = [&](const VirtualServerKey&) {
    const std::vector<Change> changes{AddVirtualServer{VirtualServer::of(tcp("10.0.0.2", ++asked))},
                                      RemoveVirtualServer{tcp("10.0.0.1", static_cast<std::uint16_t>(asked * 2))}};
    if (asked <= kServers / 2) {
      EXPECT_TRUE(other->apply(changes));
    }
    return true;
  };
  std::set<VirtualServerKey> listed;
  const auto visit = [&](const VirtualServerState& state) {
    EXPECT_TRUE(listed.insert(state.server.key).second) << to_string(state.server.key);
    EXPECT_LE(state.real_servers.size(), 1U) << to_string(state.server.key);
  };
  const auto done = engine_->list(wanted, visit);
  EXPECT_TRUE(done) << done.error().what;
  EXPECT_FALSE(listed.empty());
  // It no longer changes: 200 were added, and the 200 with even ports are gone.
  EXPECT_EQ(list().size(), std::size_t{kServers});
  const auto again = other->apply(batch);
  ASSERT_TRUE(again) << again.error().what;
  EXPECT_EQ(again->size(), std::size_t{kServers}) << "existing ones are refused, missing ones are added again";
}

TEST_P(EngineContract, AVirtualServerCanHaveManyRealServers) {
  const VirtualServerKey key = tcp("10.0.0.1", 80);
  std::vector<Change> batch{AddVirtualServer{VirtualServer::of(key)}};
  Settings wanted{VirtualServer::of(key), {}};
  for (std::uint16_t port = 1; port <= 1000; ++port) {
    batch.emplace_back(AddRealServer{key, real("10.2.0.1", port)});
    wanted.real_servers.insert(wanted.real_servers.begin(), real("10.2.0.1", port));
  }
  apply(batch);
  const auto found = engine_->find(key);
  ASSERT_TRUE(found) << found.error().what;
  EXPECT_EQ(settings_of(*found), wanted);
}

TEST_P(EngineContract, FlushClearsTheTableAndLeavesTheRest) {
  const VirtualServerKey key = udp("10.0.0.1", 53);
  ASSERT_TRUE(engine_->set_timeouts({1000, 0, 0}));
  if (GetParam().has_sync_daemons) {
    ASSERT_TRUE(engine_->start_sync_daemon(
        {.role = SyncRole::kMaster, .interface = "eth0", .sync_id = 1, .group = std::nullopt}));
  }
  apply({AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, real("10.2.0.1", 5353)},
         AddVirtualServer{VirtualServer::of(VirtualServerKey::of_mark(Family::kIPv4, 1))}});
  rig_->send(4001, {key.address, key.port}, 100);
  ASSERT_TRUE(engine_->flush());
  EXPECT_TRUE(list().empty());
  EXPECT_EQ(connections().size(), 1U) << "connections stay until they expire";
  const auto timeouts = engine_->timeouts();
  ASSERT_TRUE(timeouts);
  EXPECT_EQ(timeouts->tcp_s, 1000U);
  const auto daemons = engine_->sync_daemons();
  ASSERT_TRUE(daemons);
  EXPECT_EQ(daemons->size(), GetParam().has_sync_daemons ? 1U : 0U);
  EXPECT_TRUE(engine_->flush()) << "nothing to remove is no error";
}

TEST_P(EngineContract, ConnectionsShowTheirThreeEnds) {
  const VirtualServerKey key = udp("10.0.0.1", 53);
  apply({AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, real("10.2.0.1", 5353)}});
  rig_->send(4001, {key.address, key.port}, 100);
  const std::vector<Connection> all = connections();
  ASSERT_EQ(all.size(), 1U);
  EXPECT_EQ(all[0].protocol, 17U);
  EXPECT_EQ(all[0].client, (ConnectionEnd{ip("10.1.0.1"), 4001}));
  EXPECT_EQ(all[0].virtual_end, (ConnectionEnd{ip("10.0.0.1"), 53}));
  EXPECT_EQ(all[0].real, (ConnectionEnd{ip("10.2.0.1"), 5353}));
  EXPECT_EQ(all[0].state, "UDP");
  EXPECT_GT(all[0].expires_s, 200U);
  EXPECT_LE(all[0].expires_s, 300U);
  const auto found = engine_->find(key);
  ASSERT_TRUE(found && found->real_servers.size() == 1);
  EXPECT_EQ(found->real_servers[0].active_connections, 0U);
  EXPECT_EQ(found->real_servers[0].inactive_connections, 1U);
}

TEST_P(EngineContract, EditsAndRemovalsLeaveConnectionsAndCountersAlone) {
  const VirtualServerKey key = udp("10.0.0.1", 53);
  apply({AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, real("10.2.0.1", 5353)}});
  rig_->send(4001, {key.address, key.port}, 100);
  apply({EditVirtualServer{with(key, [](VirtualServer& s) { s.scheduler = "rr"; })},
         EditRealServer{key, with(real("10.2.0.1", 5353), [](RealServer& r) { r.weight = 0; })}});
  const VirtualServerState state =
      await(*engine_, key, [](const VirtualServerState& s) { return s.statistics.totals.packets_in == 1; });
  EXPECT_EQ(state.statistics.totals, (Counters{1, 1, 0, 128, 0}));
  ASSERT_EQ(state.real_servers.size(), 1U);
  EXPECT_EQ(state.real_servers[0].statistics.totals, (Counters{1, 1, 0, 128, 0}));
  EXPECT_EQ(state.real_servers[0].inactive_connections, 1U);
  apply({RemoveRealServer{key, real("10.2.0.1", 5353).key}});
  EXPECT_EQ(connections().size(), 1U);
  apply({RemoveVirtualServer{key}});
  EXPECT_EQ(connections().size(), 1U);
}

TEST_P(EngineContract, ZeroStartsCountersAgain) {
  const VirtualServerKey first = udp("10.0.0.1", 53);
  const VirtualServerKey second = udp("10.0.0.2", 53);
  for (const VirtualServerKey& key : {first, second}) {
    apply({AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, real("10.2.0.1", 5353)}});
    rig_->send(4001, {key.address, key.port}, 100);
  }
  const auto packets = [](std::uint64_t wanted) {
    return [wanted](const VirtualServerState& s) { return s.statistics.totals.packets_in == wanted; };
  };
  await(*engine_, first, packets(1));
  EXPECT_EQ(await(*engine_, second, packets(1)).statistics.totals.packets_in, 1U);

  ASSERT_TRUE(engine_->zero(first));
  const auto zeroed = engine_->find(first);
  ASSERT_TRUE(zeroed && zeroed->real_servers.size() == 1);
  EXPECT_EQ(zeroed->statistics, Statistics{});
  EXPECT_EQ(zeroed->real_servers[0].statistics, Statistics{});
  EXPECT_EQ(zeroed->real_servers[0].inactive_connections, 1U) << "connections are not a counter";
  EXPECT_EQ(await(*engine_, second, packets(1)).statistics.totals.packets_in, 1U) << "the other one continues";

  ASSERT_TRUE(engine_->zero(std::nullopt));
  for (const VirtualServerState& state : list())
    EXPECT_EQ(state.statistics, Statistics{}) << to_string(state.server.key);
  EXPECT_EQ(errno_of(engine_->zero(udp("10.0.0.9", 53))), ESRCH);
  rig_->send(4001, {first.address, first.port}, 100);
  EXPECT_EQ(await(*engine_, first, packets(1)).statistics.totals.packets_in, 1U) << "counting continues from 0";
}

TEST_P(EngineContract, TimeoutsAreSetOneByOneOrNotAtAll) {
  const auto timeouts = [&] {
    const auto asked = engine_->timeouts();
    EXPECT_TRUE(asked) << asked.error().what;
    return asked ? *asked : Timeouts{};
  };
  EXPECT_EQ(timeouts(), (Timeouts{900, 120, 300}));
  ASSERT_TRUE(engine_->set_timeouts({1000, 0, 0}));
  EXPECT_EQ(timeouts(), (Timeouts{1000, 120, 300}));
  ASSERT_TRUE(engine_->set_timeouts({0, 60, 30}));
  EXPECT_EQ(timeouts(), (Timeouts{1000, 60, 30}));
  ASSERT_TRUE(engine_->set_timeouts({0, 0, 0}));
  EXPECT_EQ(timeouts(), (Timeouts{1000, 60, 30}));
  EXPECT_EQ(errno_of(engine_->set_timeouts({1, 2, 0x7fffffff})), EINVAL);
  EXPECT_EQ(errno_of(engine_->set_timeouts({0xffffffff, 2, 3})), EINVAL);
  EXPECT_EQ(timeouts(), (Timeouts{1000, 60, 30})) << "nothing is changed where one of them is refused";
}

TEST_P(EngineContract, SyncDaemonsReportWhatWasChosenForThem) {
  if (!GetParam().has_sync_daemons) return expect_no_sync_daemons();
  const auto running = [&] {
    auto asked = engine_->sync_daemons();
    EXPECT_TRUE(asked) << asked.error().what;
    return asked ? *asked : std::vector<SyncDaemon>{};
  };
  const SyncDaemon backup{.role = SyncRole::kBackup,
                          .interface = "eth0",
                          .sync_id = 7,
                          .message_bytes_max = 10,
                          .group = ip("239.1.2.3"),
                          .port = 9999,
                          .ttl = 5};
  const SyncDaemon master{.role = SyncRole::kMaster, .interface = "eth0", .sync_id = 0, .group = std::nullopt};
  EXPECT_TRUE(running().empty());
  const auto started = engine_->start_sync_daemon(backup);
  ASSERT_TRUE(started) << started.error().what;
  ASSERT_TRUE(engine_->start_sync_daemon(master));
  const SyncDaemon wanted_master{.role = SyncRole::kMaster,
                                 .interface = "eth0",
                                 .sync_id = 0,
                                 .message_bytes_max = 1472,
                                 .group = ip("224.0.0.81"),
                                 .port = 8848,
                                 .ttl = 1};
  SyncDaemon wanted_backup = backup;
  wanted_backup.message_bytes_max = 1024;  // a backup must be able to receive a master's messages
  EXPECT_EQ(running(), (std::vector<SyncDaemon>{wanted_master, wanted_backup})) << "the master first";
  EXPECT_EQ(errno_of(engine_->start_sync_daemon(master)), EEXIST);
  ASSERT_TRUE(engine_->stop_sync_daemon(SyncRole::kMaster));
  EXPECT_EQ(running(), (std::vector<SyncDaemon>{wanted_backup}));
  EXPECT_EQ(errno_of(engine_->stop_sync_daemon(SyncRole::kMaster)), ESRCH);
  ASSERT_TRUE(engine_->stop_sync_daemon(SyncRole::kBackup));
  EXPECT_TRUE(running().empty());
}

TEST_P(EngineContract, ADaemonCanBeStoppedAsSoonAsItWasStarted) {
  if (!GetParam().has_sync_daemons) return expect_no_sync_daemons();
  for (int round = 0; round < 10; ++round) {
    ASSERT_TRUE(engine_->start_sync_daemon({.role = SyncRole::kMaster, .interface = "eth0", .group = std::nullopt}))
        << round;
    const auto stopped = engine_->stop_sync_daemon(SyncRole::kMaster);
    ASSERT_TRUE(stopped) << stopped.error().what;
    const auto running = engine_->sync_daemons();
    ASSERT_TRUE(running);
    EXPECT_TRUE(running->empty()) << round;
  }
}

TEST_P(EngineContract, ADaemonNeedsItsInterfaceAndAMulticastGroup) {
  if (!GetParam().has_sync_daemons) return expect_no_sync_daemons();
  const SyncDaemon good{.role = SyncRole::kBackup, .interface = "eth0", .group = std::nullopt};
  SyncDaemon elsewhere = good;
  elsewhere.interface = "none0";
  EXPECT_EQ(errno_of(engine_->start_sync_daemon(elsewhere)), ENODEV);
  SyncDaemon nowhere = good;
  nowhere.interface = "";
  EXPECT_EQ(errno_of(engine_->start_sync_daemon(nowhere)), ENODEV);
  SyncDaemon unicast = elsewhere;  // the fault of the group is found first
  unicast.group = ip("10.0.0.1");
  EXPECT_EQ(errno_of(engine_->start_sync_daemon(unicast)), EINVAL);
}

TEST_P(EngineContract, DaemonsAndRealServersOfAnotherFamilyExcludeEachOther) {
  if (!GetParam().has_sync_daemons) return expect_no_sync_daemons();
  const VirtualServerKey key = tcp("10.0.0.1", 80);
  const RealServer other = real("fd02::1", 80, ForwardMethod::kTunnel);
  const SyncDaemon daemon{.role = SyncRole::kMaster, .interface = "eth0", .group = std::nullopt};
  apply({AddVirtualServer{VirtualServer::of(key)}, AddRealServer{key, other}});
  EXPECT_EQ(errno_of(engine_->start_sync_daemon(daemon)), EINVAL);
  apply({RemoveRealServer{key, other.key}});
  const auto started = engine_->start_sync_daemon(daemon);
  ASSERT_TRUE(started) << started.error().what;
  const std::vector<Change> change{AddRealServer{key, other}};
  const auto failures = engine_->apply(change);
  ASSERT_TRUE(failures && failures->size() == 1);
  EXPECT_EQ(failures->front().error.sys_errno, EINVAL);
}

}  // namespace sluice::ipvs
