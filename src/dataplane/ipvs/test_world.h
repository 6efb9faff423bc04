// SPDX-License-Identifier: Apache-2.0
// For this room's tests: a node whose kernel is made of maps. It outlives the data planes that are opened on it, as a
// kernel does.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "base/ip_literals.h"
#include "dataplane/ipvs/engine_rules.h"
#include "dataplane/ipvs/ipvs_data_plane.h"
#include "ipvs/fake_engine.h"
#include "plan/frontends.h"

namespace sluice::dataplane::ipvs {

// All requests to the kernel go through here, and are recorded in `events`, in order.
struct World {
  sluice::ipvs::FakeEngine engine;
  // Of an engine that needs helper rules; the others' are engine.rules().
  HelperElements elements;
  bool table_there = false;
  bool masquerade_there = false;
  bool device_there = false;
  bool device_possible = true;
  std::set<IpAddress> bound;
  std::vector<sys::InterfaceAddress> interfaces{{"lo", ip("127.0.0.1"), 8},      {"eth0", ip("192.168.0.2"), 24},
                                                {"eth1", ip("192.168.1.2"), 24}, {"eth0", ip("2001:db8::2"), 64},
                                                {"eth0", ip("fe80::2"), 64},     {"lo", ip("::1"), 128}};
  std::vector<IpAddress> gateways{ip("192.168.0.1"), ip("2001:db8::1")};
  std::set<IpAddress> unbindable;  // refused by the kernel
  std::set<IpAddress> unservable;  // the engine refuses virtual servers on them
  std::set<IpAddress> held;        // not let go by the kernel
  std::vector<std::string> events;
  std::size_t messages = 0;  // netlink messages: changes, finds, elements, addresses
  std::size_t lists = 0;
  static constexpr std::size_t kNever = static_cast<std::size_t>(-1);
  std::size_t changes_left = kNever;  // after these the process has ended: nothing it writes has an effect
  FakeClock clock;
  std::vector<Warning> warnings;

  // Those of `events` that begin with one of the words; "" for all.
  [[nodiscard]] std::vector<std::string> events_of(std::string_view word) const {
    std::vector<std::string> found;
    for (const std::string& event : events) {
      if (event.starts_with(word)) found.push_back(event);
    }
    return found;
  }
  // Whether one more change may be made.
  bool take_change() {
    if (changes_left == 0) return false;
    if (changes_left != kNever) --changes_left;
    return true;
  }
  static auto ended() { return fail(Errc::kUnavailable, "the process has ended"); }
  void forget() {
    events.clear();
    messages = 0;
    lists = 0;
  }
};

class WorldRules : public sluice::ipvs::ServiceRules {
 public:
  explicit WorldRules(World& world) : world_(world) {}
  Result<std::size_t> replace(const sluice::ipvs::RuleSettings& settings,
                              const sluice::ipvs::RuleElements& wanted) override {
    world_.events.emplace_back("replace rules");
    if (!world_.take_change()) return World::ended();
    return counted(world_.engine.rules().replace(settings, wanted));
  }
  Result<std::size_t> change(Family family, const sluice::ipvs::RuleElements& add,
                             const sluice::ipvs::RuleElements& remove) override {
    const auto size = [](const auto& of) { return of.rules.size() + of.allowed.size() + of.addresses.size(); };
    world_.events.push_back(fmt::format("rules +{} -{}", size(add), size(remove)));
    if (!world_.take_change()) return World::ended();
    return counted(world_.engine.rules().change(family, add, remove));
  }
  Result<> clear(Family family) override { return world_.engine.rules().clear(family); }
  Result<sluice::ipvs::RuleElements> read(Family family) override { return world_.engine.rules().read(family); }
  Result<bool> intact(const sluice::ipvs::RuleSettings& settings) override {
    return world_.engine.rules().intact(settings);
  }

 private:
  Result<std::size_t> counted(Result<std::size_t> written) {
    if (written) world_.messages += *written;
    return written;
  }
  World& world_;
};

class WorldMasquerade : public MasqueradeTable {
 public:
  explicit WorldMasquerade(World& world) : world_(world) {}
  Result<std::size_t> replace() override { return std::exchange(world_.masquerade_there, true) ? 0U : 1U; }
  Result<bool> intact() override { return world_.masquerade_there; }
  Result<Difference> compare() override {
    Difference difference;
    if (!world_.masquerade_there) difference.missing.emplace_back("masquerade rule");
    return difference;
  }
  [[nodiscard]] std::size_t rules() const override { return 1; }

 private:
  World& world_;
};

class WorldEngine : public sluice::ipvs::FakeEngine {
 public:
  explicit WorldEngine(World& world) : world_(world), rules_(world) {}
  [[nodiscard]] sluice::ipvs::Description description() const override { return world_.engine.description(); }
  Result<> list(const Wanted& wanted, const std::function<void(sluice::ipvs::VirtualServerState)>& visit) override {
    ++world_.lists;
    return world_.engine.list(wanted, visit);
  }
  Result<sluice::ipvs::VirtualServerState> find(const VirtualServerKey& key) override {
    ++world_.messages;
    world_.events.push_back("find " + sluice::ipvs::to_string(key));
    return world_.engine.find(key);
  }
  Result<std::vector<sluice::ipvs::Failure>> apply(std::span<const TableChange> changes) override {
    world_.messages += changes.size();
    for (const TableChange& change : changes) world_.events.push_back(sluice::ipvs::to_string(change));
    if (world_.changes_left >= changes.size()) {
      if (world_.changes_left != World::kNever) world_.changes_left -= changes.size();
      return tried(changes);
    }
    if (auto part = tried(changes.first(world_.changes_left)); !part) return part;
    world_.changes_left = 0;
    return World::ended();
  }
  Result<> set_timeouts(const sluice::ipvs::Timeouts& timeouts) override {
    return world_.engine.set_timeouts(timeouts);
  }
  sluice::ipvs::ServiceRules* service_rules() override { return description().needs_helper_rules ? nullptr : &rules_; }
  Result<std::optional<std::chrono::milliseconds>> tend() override { return world_.engine.tend(); }
  Result<std::optional<sluice::ipvs::EngineWork>> work() override { return world_.engine.work(); }
  std::vector<std::string> take_complaints() override { return world_.engine.take_complaints(); }

 private:
  Result<std::vector<sluice::ipvs::Failure>> tried(std::span<const TableChange> changes) {
    std::vector<sluice::ipvs::Failure> failures;
    for (std::size_t i = 0; i < changes.size(); ++i) {
      const auto* added = std::get_if<sluice::ipvs::AddVirtualServer>(&changes[i]);
      if (added != nullptr && world_.unservable.contains(added->server.key.address)) {
        failures.push_back({i, {Errc::kExhausted, sluice::ipvs::to_string(changes[i]) + ": no memory"}});
        continue;
      }
      SLUICE_TRY(const auto refused, world_.engine.apply(changes.subspan(i, 1)));
      for (const sluice::ipvs::Failure& each : refused) failures.push_back({i, each.error});
    }
    return failures;
  }

  World& world_;
  WorldRules rules_;
};

class WorldTable : public HelperTable {
 public:
  explicit WorldTable(World& world) : world_(world) {}
  Result<std::size_t> replace(const HelperElements& wanted) override {
    world_.events.push_back("replace elements");
    if (!world_.take_change()) return World::ended();
    const std::size_t written = world_.elements == wanted && world_.table_there ? 0 : size(wanted);
    world_.messages += written;
    world_.elements = wanted;
    world_.table_there = true;
    return written;
  }
  Result<std::size_t> change(const HelperElements& add, const HelperElements& remove) override {
    world_.events.push_back(fmt::format("elements +{} -{}", size(add), size(remove)));
    if (!world_.take_change()) return World::ended();
    world_.messages += size(add) + size(remove);
    const auto each = [](auto& live, const auto& added, const auto& removed) {
      live.insert(added.begin(), added.end());
      for (const auto& element : removed) live.erase(element);
    };
    for_each_set(each, world_.elements, add, remove);
    return size(add) + size(remove);
  }
  Result<bool> intact() override { return world_.table_there; }
  Result<Difference> compare(const HelperElements& wanted) override {
    Difference difference;
    if (wanted != world_.elements) difference.missing.emplace_back("elements");
    return difference;
  }
  [[nodiscard]] std::size_t rules() const override { return 20; }

  static std::size_t size(const HelperElements& elements) {
    std::size_t total = 0;
    for_each_set([&](const auto& set) { total += set.size(); }, elements);
    return total;
  }

 private:
  World& world_;
};

class WorldDevice : public ServiceDevice {
 public:
  explicit WorldDevice(World& world) : world_(world) {}
  Result<bool> exists() override { return world_.device_there; }
  Result<> ensure() override {
    if (!world_.device_possible) return fail(Errc::kUnsupported, "links: add dummy kube-ipvs0: not supported");
    world_.device_there = true;
    return {};
  }
  Result<std::vector<sys::AddressFailure>> add(std::span<const IpAddress> addresses) override {
    if (!world_.device_there) return fail(Errc::kNotFound, "find kube-ipvs0: no such device");
    std::vector<sys::AddressFailure> refused;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      const IpAddress& address = addresses[i];
      ++world_.messages;
      world_.events.push_back("bind " + address.to_string());
      if (!world_.take_change()) return World::ended();
      if (world_.unbindable.contains(address)) {
        refused.push_back({i, {Errc::kInvalid, "add " + address.to_string() + " to kube-ipvs0: refused"}});
      } else {
        world_.bound.insert(address);
      }
    }
    return refused;
  }
  Result<std::vector<sys::AddressFailure>> remove(std::span<const IpAddress> addresses) override {
    std::vector<sys::AddressFailure> refused;
    for (std::size_t i = 0; i < addresses.size(); ++i) {
      const IpAddress& address = addresses[i];
      ++world_.messages;
      world_.events.push_back("unbind " + address.to_string());
      if (!world_.take_change()) return World::ended();
      if (world_.held.contains(address)) {
        refused.push_back({i, {Errc::kUnavailable, "remove " + address.to_string() + " from kube-ipvs0: refused"}});
      } else {
        world_.bound.erase(address);
      }
    }
    return refused;
  }

 private:
  World& world_;
};

class WorldNetwork : public node::Network {
 public:
  explicit WorldNetwork(World& world) : world_(world) {}
  Result<std::vector<sys::InterfaceAddress>> list_addresses() override {
    auto all = world_.interfaces;
    for (const IpAddress& address : world_.bound)
      all.push_back({kServiceDevice, address, static_cast<unsigned>(address.bytes().size() * 8)});
    return all;
  }
  Result<std::vector<IpAddress>> list_gateways(Family family) override {
    std::vector<IpAddress> gateways;
    std::copy_if(world_.gateways.begin(), world_.gateways.end(), std::back_inserter(gateways),
                 [&](const IpAddress& g) { return g.family() == family; });
    return gateways;
  }

 private:
  World& world_;
};

// What the description of the world's engine demands, and nothing more.
inline Parts parts_of(World& world, const HelperSettings& helper = {}) {
  const sluice::ipvs::Description description = world.engine.description();
  Parts parts;
  parts.engine = std::make_unique<WorldEngine>(world);
  parts.network = std::make_unique<WorldNetwork>(world);
  if (description.needs_helper_rules) {
    parts.table = std::make_unique<WorldTable>(world);
  } else {
    parts.table = make_engine_rules(*parts.engine->service_rules(), std::string(description.name), helper,
                                    std::make_unique<WorldMasquerade>(world));
  }
  if (description.needs_local_addresses) parts.device = std::make_unique<WorldDevice>(world);
  return parts;
}

// An engine that does everything by itself.
constexpr sluice::ipvs::Description kBareEngine{.name = "bare",
                                                .needs_local_addresses = false,
                                                .needs_helper_rules = false,
                                                .needs_ip_vs_settings = false,
                                                .serves_loopback_clients = true};

inline std::unique_ptr<IpvsDataPlane> open_plane(World& world, Options options = {},
                                                 const HelperSettings& helper = {}) {
  options.warn = [&world](const Warning& warning) { world.warnings.push_back(warning); };
  auto opened = IpvsDataPlane::open(std::move(options), parts_of(world, helper), world.clock);
  if (!opened) {
    ADD_FAILURE() << opened.error().what;
    std::abort();
  }
  return *std::move(opened);
}

enum class Where : std::uint8_t { kHere, kElsewhere };

inline void add_server(plan::PortDraft& port, std::string_view address, std::uint16_t number,
                       Where where = Where::kElsewhere) {
  plan::RealServer server;
  server.address = ip(address);
  server.port = number;
  server.on_this_node = where == Where::kHere;
  server.in_cluster_pool = true;
  server.in_local_pool = where == Where::kHere;
  port.has_endpoints = true;
  port.real_servers.push_back(server);
}

inline plan::PortDraft service_port(std::string_view name, std::string_view address,
                                    Protocol protocol = Protocol::kTcp) {
  plan::PortDraft port;
  const std::size_t slash = name.find('/');
  port.key = {
      {std::string(name.substr(0, slash)), std::string(name.substr(slash + 1))}, "", protocol, ip(address).family()};
  port.cluster_ip = ip(address);
  port.port = 80;
  port.uses_cluster_pool = true;
  return port;
}

// Of the routes, mode ipvs reads those of sources outside, which no detector changes except for the masquerading of
// cluster IPs, and that the helper table does.
inline plan::ServicePortPlan planned(plan::PortDraft port) {
  return plan::finish(std::move(port), {});
}
inline plan::ServicePortPlanPtr shared(plan::PortDraft port) {
  return std::make_shared<const plan::ServicePortPlan>(planned(std::move(port)));
}

inline Changes full(const std::vector<plan::PortDraft>& ports) {
  Changes changes;
  changes.full = true;
  for (const auto& port : ports) changes.ports.push_back({nullptr, shared(port)});
  std::sort(changes.ports.begin(), changes.ports.end(), [](const auto& a, const auto& b) { return a.key() < b.key(); });
  return changes;
}

inline Changes change(const plan::PortDraft* before, const plan::PortDraft* after) {
  Changes changes;
  changes.ports.push_back({before != nullptr ? shared(*before) : nullptr, after != nullptr ? shared(*after) : nullptr});
  return changes;
}

inline void expect_applied(IpvsDataPlane& plane, const Changes& changes) {
  const auto applied = plane.apply(changes);
  ASSERT_TRUE(applied) << applied.error().what;
  for (const RefusedPort& each : applied->refused) ADD_FAILURE() << each.port.printed_name() << ": " << each.reason;
  for (const std::string& each : applied->unremoved) ADD_FAILURE() << each;
}

inline VirtualServerKey tcp(std::string_view address, std::uint16_t port) {
  return VirtualServerKey::of(Protocol::kTcp, ip(address), port);
}
inline VirtualServerKey udp(std::string_view address, std::uint16_t port) {
  return VirtualServerKey::of(Protocol::kUdp, ip(address), port);
}

// "10.2.0.1:80 w1", sorted; "absent" where there is no such virtual server.
inline std::vector<std::string> real_servers(World& world, const VirtualServerKey& key) {
  const auto* state = world.engine.live(key);
  if (state == nullptr) return {"absent"};
  std::vector<std::string> found;
  for (const auto& each : state->real_servers)
    found.push_back(fmt::format("{} w{}", sluice::ipvs::to_string(each.server.key), each.server.weight));
  std::sort(found.begin(), found.end());
  return found;
}

inline std::vector<std::string> virtual_servers(World& world) {
  std::vector<std::string> found;
  (void)world.engine.list(sluice::ipvs::every_virtual_server,
                          [&](const auto& state) { found.push_back(sluice::ipvs::to_string(state.server.key)); });
  std::sort(found.begin(), found.end());
  return found;
}

inline void set_connections(World& world, const VirtualServerKey& key, std::string_view address, std::uint32_t active,
                            std::uint32_t inactive = 0) {
  for (auto& each : world.engine.live(key)->real_servers) {
    if (each.server.key.address != ip(address)) continue;
    each.active_connections = active;
    each.inactive_connections = inactive;
  }
}

}  // namespace sluice::dataplane::ipvs
