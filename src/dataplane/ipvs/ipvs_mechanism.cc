// SPDX-License-Identifier: Apache-2.0
// What mode ipvs leaves is spread over the kernel: virtual servers in an engine's table, addresses on kube-ipvs0 or rules
// in the engine, our nftables tables, programs of an engine, settings of the node, and of kube-proxy chains of iptables
// and IP sets. It goes in this order: what takes packets in (virtual servers, then addresses and rules), then our table,
// then an engine that no longer serves, then settings, then kube-proxy's rules, and its IP sets last, which cannot
// be destroyed while a rule matches on them. Until then they show which node ports were its own.
//
// Connections of IPVS live in its table. Another mode may take the new ones for a while before this one's remains go.
#include "dataplane/ipvs/ipvs_mechanism.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <set>
#include <utility>

#include "dataplane/ipvs/helper_rules.h"
#include "dataplane/ipvs/ipvs_sysctls.h"
#include "dataplane/ipvs/kube_proxy_names.h"
#include "dataplane/ipvs/masquerade_table.h"
#include "dataplane/ipvs/wanted.h"
#include "dataplane/recorded_settings.h"
#include "ipvs/service_rules.h"
#include "sys/links.h"
#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::Description;
using sluice::ipvs::Engine;
using sluice::ipvs::Presence;
using sluice::ipvs::VirtualServerState;

constexpr const char* kUnsureKind = "unsure";

Objects virtual_servers(std::size_t count) {
  return {"virtual server", "virtual servers", count};
}
Objects ip_sets(std::size_t count) {
  return {"IP set", "IP sets", count};
}
Objects addresses_of_device(std::size_t count) {
  return {fmt::format("address of {}", kServiceDevice), fmt::format("addresses of {}", kServiceDevice), count};
}
Objects device() {
  return {fmt::format("the device {}", kServiceDevice), "", 1};
}
Objects table_of(Family family, const char* name) {
  return {fmt::format("the nftables table {} {}", family == Family::kIPv4 ? "ip" : "ip6", name), "", 1};
}
Objects rules_of(std::string_view engine, std::size_t count) {
  return {fmt::format("rule of engine {}", engine), fmt::format("rules of engine {}", engine), count};
}
Objects programs_of(std::string_view engine) {
  return {fmt::format("the programs of engine {}", engine), "", 1};
}
Objects address_files() {
  return {"our record of addresses", "", 1};
}
Objects node_port_files() {
  return {"our record of node ports", "", 1};
}

bool contains(std::span<const Family> families, Family family) {
  return std::find(families.begin(), families.end(), family) != families.end();
}

std::string unsure_text(const std::string& server) {
  return fmt::format(
      "virtual server {}: it looks like a Service's, and no record is left that says whose it is; remove it with "
      "`sluice ipvsadm -D` if no other program made it",
      server);
}

std::string stays_text(std::string_view engine) {
  return fmt::format("the programs of engine {} stay: it still has virtual servers or rules", engine);
}

// An administrator's ipvsadm may see them, in another BPF file system.
std::string out_of_sight_text(std::string_view engine) {
  return fmt::format(
      "the programs of engine {}: their tables cannot be found from here, and another process may use them; remove "
      "them with `sluice cleanup` if none does",
      engine);
}

// What the node has for strictARP are addresses that it owns and does not announce.
std::string strict_arp_text(std::string_view engine) {
  return fmt::format(
      "ipvs.strictARP has no effect with engine {}: the node owns no address of a Service, and answers ARP for none",
      engine);
}

}  // namespace

struct IpvsMechanism::Notes : LeftoverNotes {
  struct OfEngine {
    std::unique_ptr<Engine> engine;
    std::vector<VirtualServerKey> keys{};   // those to remove
    std::map<Family, std::size_t> rules{};  // those to remove
    bool leaves_node = false;               // it serves nothing when these are gone
  };
  std::vector<OfEngine> engines;
  std::vector<std::string> suspects;  // all that are in the notes from now on
  bool suspects_differ = false;       // from the notes
  bool device = false;
  std::vector<IpAddress> addresses;                    // of families that are not served, where the other one is
  std::vector<std::pair<Family, const char*>> tables;  // by name
  std::vector<Family> node_port_files;
  std::vector<Family> address_files;
  std::vector<Objects> settings;
  Leftovers rules;
  std::vector<std::string> sets;

  [[nodiscard]] std::size_t servers() const {
    std::size_t count = 0;
    for (const OfEngine& each : engines) count += each.keys.size();
    return count;
  }
  [[nodiscard]] bool has_rules_of_engines() const {
    return std::any_of(engines.begin(), engines.end(), [](const OfEngine& each) { return !each.rules.empty(); });
  }
  [[nodiscard]] bool has_engines_that_leave() const {
    return std::any_of(engines.begin(), engines.end(), [](const OfEngine& each) { return each.leaves_node; });
  }
  [[nodiscard]] std::vector<Objects> objects() const {
    std::vector<Objects> objects;
    if (servers() > 0) objects.push_back(virtual_servers(servers()));
    for (const OfEngine& each : engines) {
      for (const auto& [family, count] : each.rules) add(objects, rules_of(each.engine->name(), count));
      if (each.leaves_node) objects.push_back(programs_of(each.engine->name()));
    }
    if (device) objects.push_back(ipvs::device());
    if (!addresses.empty()) objects.push_back(addresses_of_device(addresses.size()));
    for (const auto& [family, name] : tables) objects.push_back(table_of(family, name));
    if (!node_port_files.empty() || suspects_differ) objects.push_back(ipvs::node_port_files());
    if (!address_files.empty()) objects.push_back(ipvs::address_files());
    objects.insert(objects.end(), settings.begin(), settings.end());
    for (const Objects& each : rules.objects) add(objects, each);
    if (!sets.empty()) objects.push_back(ip_sets(sets.size()));
    return objects;
  }
};

IpvsMechanism::IpvsMechanism(MechanismSettings settings, Surroundings surroundings, sys::SysctlJournal journal)
    : settings_(std::move(settings)), surroundings_(std::move(surroundings)), journal_(std::move(journal)) {}

Result<> IpvsMechanism::probe(Family family) {
  SLUICE_TRY(const auto engine, surroundings_.open_engine());
  if (family == Family::kIPv6 && ::access("/proc/net/if_inet6", F_OK) != 0)
    return fail(Errc::kUnsupported, "this kernel has no IPv6");
  HelperSettings settings;
  settings.family = family;
  SLUICE_CHECK_OK(open_table_of(*engine, settings));
  return {};
}

Result<std::unique_ptr<DataPlane>> IpvsMechanism::open(const PlaneSettings& settings) {
  Options options = settings_.plane;
  options.family = settings.family;
  options.localhost_node_ports = settings.localhost_node_ports;
  options.api_server_addresses = settings.api_server_addresses;
  SLUICE_TRY(auto engine, surroundings_.open_engine());
  const Description description = engine->description();
  options.before_full = [this, description] { make_settings(description); };
  HelperSettings helper;
  helper.family = settings.family;
  helper.masquerade = {settings.detector, settings_.masquerade_all};
  helper.masquerade_bit = settings_.masquerade_bit;
  SLUICE_TRY(auto parts, open_parts(std::move(engine), helper));
  SLUICE_TRY(auto data_plane, IpvsDataPlane::open(std::move(options), std::move(parts)));
  flavour_ = description.name;
  opened_.insert_or_assign(settings.family, description);
  return data_plane;
}

Result<> IpvsMechanism::prepare_node(const PlaneSettings&) {
  SLUICE_TRY(const auto engine, surroundings_.open_engine());
  make_settings(engine->description());
  return engine->prepare_node();
}

void IpvsMechanism::make_settings(const Description& engine) {
  if (settings_.strict_arp && !engine.needs_local_addresses && !std::exchange(warned_of_strict_arp_, true))
    settings_.plane.warn({std::nullopt, strict_arp_text(engine.name)});
  const sys::SysctlReport report =
      journal_.apply(kSysctlOwner, wanted_sysctls(engine, settings_.strict_arp, kernel_version()));
  if (!report.changed.empty() || !report.problems.empty()) settings_.settings_changed(report);
}

// ---- looking

// A family that is served without our having opened a plane for it is served by whatever engine, with all there is.
bool IpvsMechanism::serves(std::span<const Family> serving, Family family,
                           const std::function<bool(const Description&)>& with) const {
  if (!contains(serving, family)) return false;
  const auto opened = opened_.find(family);
  return opened == opened_.end() || with(opened->second);
}

Leftovers IpvsMechanism::leftovers(std::span<const Family> serving) {
  Leftovers found;
  auto notes = std::make_unique<Notes>();
  found.drain_timeout = settings_.plane.drain_timeout;
  find_virtual_servers(serving, *notes, found);
  find_addresses(serving, *notes, found);
  for (const Family family : kFamilies) {
    const auto needs_helper_rules = [](const Description& engine) { return engine.needs_helper_rules; };
    if (!serves(serving, family, needs_helper_rules)) find_table(family, kHelperTableName, *notes, found);
    if (!serves(serving, family, std::not_fn(needs_helper_rules)))
      find_table(family, kMasqueradeTableName, *notes, found);
    if (!contains(serving, family) && NodePortRecord(settings_.plane.state_folder, family).exists())
      notes->node_port_files.push_back(family);
    if (!serves(serving, family, records_addresses) && AddressRecord(settings_.plane.state_folder, family).exists())
      notes->address_files.push_back(family);
  }
  if (serving.empty()) notes->settings = recorded_settings(journal_, kSysctlOwner);
  find_rules(!serving.empty(), *notes, found);
  found.objects = notes->objects();
  found.notes = std::move(notes);
  return found;
}

bool IpvsMechanism::serves_by(const Engine& engine, std::span<const Family> serving, Family family) const {
  return serves(serving, family, [&](const Description& each) { return each.name == engine.name(); });
}

void IpvsMechanism::open_engines(std::span<const Family> serving, Evidence& evidence, Notes& notes,
                                 Leftovers& leftovers) const {
  for (const auto& open_engine : surroundings_.engines_in_use()) {
    auto engine = open_engine();
    if (!engine) {
      leftovers.problems.push_back(engine.error().what);
      continue;
    }
    Notes::OfEngine& of_engine = notes.engines.emplace_back();
    of_engine.engine = std::move(*engine);
    of_engine.rules = add_from_rules(*of_engine.engine, evidence);
    std::erase_if(of_engine.rules,
                  [&](const auto& entry) { return serves_by(*of_engine.engine, serving, entry.first); });
  }
}

bool IpvsMechanism::may_leave(Engine& engine, bool in_node, std::span<const Family> serving,
                              Leftovers& leftovers) const {
  if (engine.service_rules() == nullptr) return false;
  for (const Family family : kFamilies) {
    if (serves_by(engine, serving, family)) return false;
  }
  if (in_node) return true;
  const auto presence = engine.presence();
  if (!presence) {
    leftovers.problems.push_back(presence.error().what);
    return false;
  }
  if (*presence == Presence::kOutOfSight && !settings_.remove_engines_out_of_sight) {
    leftovers.unsure.push_back(out_of_sight_text(engine.name()));
    return false;
  }
  return *presence == Presence::kIdle || *presence == Presence::kOutOfSight;
}

void IpvsMechanism::find_virtual_servers(std::span<const Family> serving, Notes& notes, Leftovers& leftovers) {
  Evidence evidence = find_evidence(*node::open_network(), settings_.plane.state_folder);
  open_engines(serving, evidence, notes, leftovers);
  std::move(evidence.problems.begin(), evidence.problems.end(), std::back_inserter(leftovers.problems));
  std::vector<VirtualServerState> to_judge;  // and those of Services, to compare; where a record is missing
  std::set<std::string> others;              // which no record calls ours
  for (Notes::OfEngine& of_engine : notes.engines) {
    Engine& engine = *of_engine.engine;
    std::size_t all = 0;
    const auto unclear = [&](const VirtualServerKey& key) {
      return !evidence.node_ports_known || !evidence.addresses_known.contains(key.family);
    };
    const auto wanted = [&](const VirtualServerKey& key) {
      ++all;
      if (is_owned(key, evidence)) return !serves_by(engine, serving, key.family);
      if (key.firewall_mark == 0) others.insert(sluice::ipvs::to_string(key));
      return unclear(key);
    };
    const auto listed = engine.list(wanted, [&](VirtualServerState state) {
      if (is_owned(state.server.key, evidence)) {
        of_engine.keys.push_back(state.server.key);
        for (const auto& real_server : state.real_servers) leftovers.connections += real_server.active_connections;
      }
      if (unclear(state.server.key)) to_judge.push_back(std::move(state));
    });
    if (!listed) leftovers.problems.push_back(listed.error().what);
    of_engine.leaves_node = listed && all == of_engine.keys.size() &&
                            may_leave(engine, all > 0 || !of_engine.rules.empty(), serving, leftovers);
  }
  judge(to_judge, others, evidence, notes, leftovers);
}

void IpvsMechanism::judge(const std::vector<VirtualServerState>& servers, const std::set<std::string>& others,
                          const Evidence& evidence, Notes& notes, Leftovers& leftovers) const {
  // Once named they stay named, as long as they are there: the next look has no Services to compare with.
  std::set<std::string> named;
  std::set<std::string> unsure;
  if (const auto read = surroundings_.notes.read(); read && read->contains(kUnsureKind)) {
    const auto& texts = read->at(kUnsureKind);
    named.insert(texts.begin(), texts.end());
  }
  std::set_intersection(named.begin(), named.end(), others.begin(), others.end(), std::inserter(unsure, unsure.end()));
  for (const VirtualServerKey& key : suspects(servers, evidence)) unsure.insert(sluice::ipvs::to_string(key));
  if (evidence.node_ports_known || !evidence.addresses_known.empty()) {
    for (const VirtualServerKey& key : strays(servers, evidence)) unsure.insert(sluice::ipvs::to_string(key));
  } else if (named.empty() && !others.empty()) {
    // Of a node that this mode never served, most likely: that they are not ours cannot be proven all the same.
    leftovers.unrecognised.push_back(virtual_servers(others.size()));
  }
  notes.suspects.assign(unsure.begin(), unsure.end());
  notes.suspects_differ = unsure != named;
  for (const std::string& server : unsure) leftovers.unsure.push_back(unsure_text(server));
}

void IpvsMechanism::find_table(Family family, const char* name, Notes& notes, Leftovers& leftovers) {
  const auto table = sys::has_nft_table(family, name);
  if (table && *table) notes.tables.emplace_back(family, name);
  if (!table && table.error().code != Errc::kUnsupported) leftovers.problems.push_back(table.error().what);
}

void IpvsMechanism::find_addresses(std::span<const Family> serving, Notes& notes, Leftovers& leftovers) const {
  const auto exists = sys::link_exists(kServiceDevice);
  if (!exists) return leftovers.problems.push_back(exists.error().what);
  if (!*exists) return;
  const auto carries = [&](Family family) {
    return serves(serving, family, [](const Description& engine) { return engine.needs_local_addresses; });
  };
  notes.device = std::none_of(kFamilies.begin(), kFamilies.end(), carries);
  if (notes.device) return;
  const auto addresses = node::open_network()->list_addresses();
  if (!addresses) return leftovers.problems.push_back(addresses.error().what);
  for (const sys::InterfaceAddress& entry : *addresses) {
    if (is_bound_address(entry) && !carries(entry.address.family())) notes.addresses.push_back(entry.address);
  }
}

void IpvsMechanism::find_rules(bool serves, Notes& notes, Leftovers& leftovers) {
  const auto listed = sys::list_ipsets();
  if (!listed) {
    leftovers.problems.push_back(listed.error().what);
  } else {
    const std::set<std::string> there(listed->begin(), listed->end());
    for (std::string& name : kube_proxys_ip_sets()) {
      if (there.contains(name)) notes.sets.push_back(std::move(name));
    }
  }
  // kube-proxy's mode ipvs has the sets with or without Services: without them, the rules of a node that serves are not
  // read in vain.
  if (surroundings_.kube_proxys_rules == nullptr || (serves && notes.sets.empty())) return;
  notes.rules = surroundings_.kube_proxys_rules->leftovers();
  std::move(notes.rules.problems.begin(), notes.rules.problems.end(), std::back_inserter(leftovers.problems));
}

// ---- removing

std::vector<std::string> IpvsMechanism::retire(const Leftovers& leftovers) {
  std::vector<std::string> problems;
  const auto* notes = dynamic_cast<const Notes*>(leftovers.notes.get());
  if (notes == nullptr) return problems;
  for (const Notes::OfEngine& each : notes->engines) {
    for (const auto& [family, count] : each.rules) {
      const auto retired = each.engine->service_rules()->retire(family);
      if (!retired) problems.push_back(retired.error().what);
    }
  }
  return problems;
}

Removal IpvsMechanism::remove(Leftovers leftovers) {
  Removal removal;
  auto* notes = dynamic_cast<Notes*>(leftovers.notes.get());
  if (notes == nullptr) return removal;
  if (notes->suspects_differ) note_suspects(*notes, removal);
  notes->suspects_differ = false;
  if (notes->servers() > 0) {
    remove_virtual_servers(*notes, removal);
  } else if (notes->has_rules_of_engines()) {
    remove_rules_of_engines(*notes, removal);
  } else if (notes->device || !notes->addresses.empty() || !notes->tables.empty() || !notes->node_port_files.empty() ||
             !notes->address_files.empty()) {
    remove_addresses(*notes, removal);
  } else if (notes->has_engines_that_leave()) {
    remove_engines(*notes, removal);
  } else if (!notes->settings.empty()) {
    restore_settings(*notes, removal);
  } else if (!notes->rules.objects.empty()) {
    remove_rules(*notes, removal);
  } else {
    remove_ip_sets(*notes, removal);
  }
  leftovers.objects = notes->objects();
  if (notes->servers() == 0) leftovers.connections = 0;
  removal.left = std::move(leftovers);
  return removal;
}

void IpvsMechanism::note_suspects(const Notes& notes, Removal& removal) const {
  const auto noted = sys::replace_notes(surroundings_.notes, kUnsureKind, notes.suspects);
  if (!noted && noted.error().code != Errc::kUnsupported) removal.problems.push_back(noted.error().what);
}

void IpvsMechanism::remove_virtual_servers(Notes& notes, Removal& removal) const {
  const auto of_engine = std::find_if(notes.engines.begin(), notes.engines.end(),
                                      [](const Notes::OfEngine& each) { return !each.keys.empty(); });
  std::vector<sluice::ipvs::Change> changes;
  while (!of_engine->keys.empty() && changes.size() < kPiece) {
    changes.emplace_back(sluice::ipvs::RemoveVirtualServer{of_engine->keys.back()});
    of_engine->keys.pop_back();
  }
  const auto failures = of_engine->engine->apply(changes);
  if (!failures) {
    removal.problems.push_back(failures.error().what);
    of_engine->keys.clear();
    return;
  }
  for (const sluice::ipvs::Failure& failure : *failures) {
    if (failure.error.code != Errc::kNotFound) removal.problems.push_back(failure.error.what);
  }
  if (changes.size() > failures->size()) add(removal.removed, virtual_servers(changes.size() - failures->size()));
}

void IpvsMechanism::remove_rules_of_engines(Notes& notes, Removal& removal) {
  for (Notes::OfEngine& each : notes.engines) {
    for (const auto& [family, count] : std::exchange(each.rules, {})) {
      const auto cleared = each.engine->service_rules()->clear(family);
      if (!cleared) removal.problems.push_back(cleared.error().what);
      if (cleared) add(removal.removed, rules_of(each.engine->name(), count));
    }
  }
}

// Another program may have added a virtual server meanwhile: then the engine stays.
void IpvsMechanism::remove_engines(Notes& notes, Removal& removal) {
  for (Notes::OfEngine& each : notes.engines) {
    if (!std::exchange(each.leaves_node, false)) continue;
    const auto presence = each.engine->presence();
    if (!presence) removal.problems.push_back(presence.error().what);
    if (presence && *presence == Presence::kServes) removal.problems.push_back(stays_text(each.engine->name()));
    if (!presence || *presence == Presence::kServes || *presence == Presence::kNone) continue;
    const auto left = each.engine->leave_node();
    if (!left) removal.problems.push_back(left.error().what);
    if (left) add(removal.removed, programs_of(each.engine->name()));
  }
}

void IpvsMechanism::remove_addresses(Notes& notes, Removal& removal) const {
  if (std::exchange(notes.device, false)) {
    if (const auto removed = sys::remove_link(kServiceDevice); removed) {
      add(removal.removed, device());
    } else {
      removal.problems.push_back(removed.error().what);
    }
  }
  if (const auto addresses = std::exchange(notes.addresses, {}); !addresses.empty()) {
    const auto refused = open_service_device()->remove(addresses);
    if (!refused) removal.problems.push_back(refused.error().what);
    for (const auto& failure : refused ? *refused : std::vector<sys::AddressFailure>())
      removal.problems.push_back(failure.error.what);
    if (refused && refused->size() < addresses.size())
      add(removal.removed, addresses_of_device(addresses.size() - refused->size()));
  }
  // Before the tables: a file that is left alone shows that the mode was here, and not with which addresses.
  for (const Family family : std::exchange(notes.node_port_files, {})) {
    if (const auto removed = NodePortRecord(settings_.plane.state_folder, family).remove(); !removed)
      removal.problems.push_back(removed.error().what);
  }
  for (const Family family : std::exchange(notes.address_files, {})) {
    if (const auto removed = AddressRecord(settings_.plane.state_folder, family).remove(); !removed)
      removal.problems.push_back(removed.error().what);
  }
  for (const auto& [family, name] : std::exchange(notes.tables, {})) {
    const auto removed = sys::delete_nft_table(family, name);
    if (!removed) removal.problems.push_back(removed.error().what);
    if (removed && *removed) add(removal.removed, table_of(family, name));
  }
}

void IpvsMechanism::restore_settings(Notes& notes, Removal& removal) const {
  restore_recorded_settings(journal_, kSysctlOwner, removal);
  notes.settings.clear();
}

void IpvsMechanism::remove_rules(Notes& notes, Removal& removal) {
  Removal piece = surroundings_.kube_proxys_rules->remove(std::move(notes.rules));
  for (Objects& objects : piece.removed) add(removal.removed, std::move(objects));
  std::move(piece.problems.begin(), piece.problems.end(), std::back_inserter(removal.problems));
  notes.rules = std::move(piece.left);
}

void IpvsMechanism::remove_ip_sets(Notes& notes, Removal& removal) const {
  std::size_t destroyed = 0;
  for (const std::string& name : std::exchange(notes.sets, {})) {
    const auto gone = sys::destroy_ipset(name);
    if (!gone) removal.problems.push_back(gone.error().what);
    if (gone && *gone) ++destroyed;
  }
  if (destroyed > 0) add(removal.removed, ip_sets(destroyed));
}

}  // namespace sluice::dataplane::ipvs
