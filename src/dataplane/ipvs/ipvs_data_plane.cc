// SPDX-License-Identifier: Apache-2.0
// One change of a Service touches four things: elements of the helper table, virtual servers, addresses on kube-ipvs0,
// and drains. The order is always the same, and each step leaves the node serving: elements are added before the
// traffic that needs them and removed after it; virtual servers before addresses; unwanted objects are removed last.
//
// What is live is read once by a full apply and known from then on, so an incremental one reads nothing: the number of
// its requests depends on the change alone. If the kernel then refuses something and that can only mean that another
// program changed our objects, everything is compared at once, and the change is served within the same call. What it
// refuses for other reasons is remembered (incomplete_, unbound_), and read back when it is tried again.
#include "dataplane/ipvs/ipvs_data_plane.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

#include "dataplane/ipvs/masquerade_table.h"
#include "plan/importance.h"

namespace sluice::dataplane::ipvs {
namespace {

using sluice::ipvs::AddVirtualServer;
using sluice::ipvs::Engine;
using sluice::ipvs::RemoveRealServer;
using sluice::ipvs::RemoveVirtualServer;
using sluice::ipvs::virtual_server_of;

// First those that others wait for; then by address, so that an address is bound once all its ports exist.
void put_in_order(std::vector<Served::VirtualServerChange>& changes) {
  const auto rank = [](const Served::VirtualServerChange& change) {
    return std::make_tuple(!change.first, change.key.address);
  };
  std::stable_sort(changes.begin(), changes.end(), [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
}

bool is_removal(const TableChange& change) {
  return std::holds_alternative<RemoveVirtualServer>(change) || std::holds_alternative<RemoveRealServer>(change);
}

std::set<IpAddress> endpoints_of(const plan::ServicePortPlanPtr& port) {
  std::set<IpAddress> addresses;
  if (!port) return addresses;
  for (const plan::RealServer& server : port->real_servers) addresses.insert(server.address);
  return addresses;
}

// Whatever the engine: its contract has one list of real servers for a virtual server.
Capabilities capabilities_of(const sluice::ipvs::Description& engine) {
  Capabilities capabilities{{
      {Gap::kDropByPolicy,
       "a virtual server without local endpoints sends to the others: it has one list of real servers for all clients"},
      {Gap::kPoolBySource, "a virtual server has one list of real servers for all clients"},
  }};
  if (engine.needs_helper_rules) {
    capabilities.lacks.push_back({Gap::kMasqueradeOwnPackets,
                                  "what the node sends by ip_vs to an address under policy Local keeps its source, "
                                  "which may be that address itself"});
  }
  if (!engine.serves_loopback_clients)
    capabilities.lacks.push_back(
        {Gap::kSourceFromLoopback, "nothing is sent from a loopback address to another machine"});
  return capabilities;
}

bool node_ports_differ(const plan::Change& change) {
  const auto node_port = [](const plan::ServicePortPlanPtr& port) {
    return port ? port->served_node_port() : std::uint16_t{0};
  };
  return node_port(change.before) != node_port(change.after);
}

}  // namespace

IpvsDataPlane::IpvsDataPlane(Options options, WantedSettings settings, Parts parts, const Clock& clock)
    : options_(std::move(options)),
      settings_(std::move(settings)),
      engine_(std::move(parts.engine)),
      network_(std::move(parts.network)),
      table_(std::move(parts.table)),
      device_(std::move(parts.device)),
      clock_(clock),
      node_port_record_(options_.state_folder, options_.family),
      address_record_(records_addresses(engine_->description()) ? options_.state_folder : "", options_.family),
      capabilities_(capabilities_of(engine_->description())) {}

Result<std::unique_ptr<IpvsDataPlane>> IpvsDataPlane::open(Options options, Parts parts, const Clock& clock) {
  SLUICE_CHECK_OK(check_complete(parts));
  WantedSettings settings;
  settings.family = options.family;
  auto scheduler = parse_default_scheduler(options.scheduler);
  if (!scheduler) return annotate(scheduler.error(), "ipvs.scheduler");
  settings.scheduler = *std::move(scheduler);
  settings.drain_timeout = options.drain_timeout;
  settings.localhost_node_ports = options.localhost_node_ports;
  settings.binds_addresses = parts.device != nullptr;
  settings.routes_cluster_ips = parts.engine->service_rules() != nullptr;
  settings.api_server_addresses = options.api_server_addresses;
  return std::unique_ptr<IpvsDataPlane>(
      new IpvsDataPlane(std::move(options), std::move(settings), std::move(parts), clock));
}

// Not in open(), which writes nothing: an engine may have to be put into the node for that.
void IpvsDataPlane::set_timeouts() {
  if (timeouts_set_ || options_.timeouts == sluice::ipvs::Timeouts{}) return;
  const auto set = engine_->set_timeouts(options_.timeouts);
  timeouts_set_ = static_cast<bool>(set);
  if (!set) warn_once(std::nullopt, set.error().what + "; keeping the timeouts as they are");
}

bool IpvsDataPlane::api_servers_change(const std::vector<plan::Change>& ports) const {
  return std::any_of(ports.begin(), ports.end(), [&](const plan::Change& change) {
    if (!plan::is_api_servers_service(change.key().service)) return false;
    const auto known = api_servers_.find(change.key());
    return endpoints_of(change.after) != (known == api_servers_.end() ? std::set<IpAddress>() : known->second);
  });
}

void IpvsDataPlane::note_api_servers(const std::vector<plan::Change>& ports) {
  for (const plan::Change& change : ports) {
    if (plan::is_api_servers_service(change.key().service)) api_servers_[change.key()] = endpoints_of(change.after);
  }
  settings_.api_server_addresses = options_.api_server_addresses;
  for (const auto& [port, addresses] : api_servers_) {
    settings_.api_server_addresses.insert(settings_.api_server_addresses.end(), addresses.begin(), addresses.end());
  }
}

Result<Outcome> IpvsDataPlane::apply(const Changes& changes) {
  if (!changes.full && !served_) return fail(Errc::kInvalid, "ipvs: the first apply must be full");
  Run run;
  if (changes.full) {
    options_.before_full();
    node_port_addresses_ = changes.node_port_addresses;
    api_servers_.clear();
    note_api_servers(changes.ports);
    SLUICE_CHECK_OK(apply_full(changes.ports, run));
  } else if (api_servers_change(changes.ports)) {
    // Any Service may have one of these addresses.
    (void)served_->update(changes.ports, settings_);
    note_api_servers(changes.ports);
    SLUICE_CHECK_OK(apply_full(served_->all_ports(), run));
  } else {
    SLUICE_CHECK_OK(apply_incremental(changes.ports, run));
    if (run.surprise) {
      warn_once(std::nullopt, run.surprise->what + "; another program changed our objects, so everything is compared");
      run.begin_again();
      SLUICE_CHECK_OK(apply_full(served_->all_ports(), run));
    }
  }
  if (run.surprise) return tl::unexpected(*std::move(run.surprise));
  return run.outcome();
}

Result<NodeAddresses> IpvsDataPlane::read_node(const NodePortAddresses& node_ports,
                                               const std::vector<sys::InterfaceAddress>& listed) {
  SLUICE_TRY(const auto gateways, network_->list_gateways(settings_.family));
  return node::node_addresses(settings_.family, {node_ports, settings_.localhost_node_ports}, listed, gateways);
}

bool IpvsDataPlane::excluded(const IpAddress& address) const {
  return std::any_of(options_.exclude_cidrs.begin(), options_.exclude_cidrs.end(),
                     [&](const Cidr& cidr) { return cidr.contains(address); });
}

Result<> IpvsDataPlane::write_elements(const std::function<Result<std::size_t>(HelperTable&)>& write, Run& run) {
  SLUICE_TRY(const std::size_t elements, write(*table_));
  ++run.stats.kernel_transactions;
  run.stats.rules_written += elements;
  auto& by_table = run.stats.written_by_table;
  if (by_table.empty()) by_table.emplace_back(table_->elements_in(), 0);
  by_table.front().second += elements;
  return {};
}

void IpvsDataPlane::record_before() {
  if (auto kept = node_port_record_.before(served_->node_ports()); !kept) warn_once(std::nullopt, kept.error().what);
  if (auto kept = address_record_.before(served_->addresses()); !kept) warn_once(std::nullopt, kept.error().what);
}

void IpvsDataPlane::record_after() {
  if (auto kept = node_port_record_.after(served_->node_ports()); !kept) warn_once(std::nullopt, kept.error().what);
  if (auto kept = address_record_.after(served_->addresses()); !kept) warn_once(std::nullopt, kept.error().what);
}

std::set<IpAddress> IpvsDataPlane::to_bind(const HelperElements& added) const {
  return device_ == nullptr ? std::set<IpAddress>() : added.service_addresses;
}

std::vector<IpAddress> IpvsDataPlane::bound_in(const std::vector<sys::InterfaceAddress>& listed) const {
  std::vector<IpAddress> bound;
  if (device_ == nullptr) return bound;
  for (const sys::InterfaceAddress& entry : listed) {
    if (is_bound_address(entry) && entry.address.family() == settings_.family) bound.push_back(entry.address);
  }
  return bound;
}

Result<> IpvsDataPlane::apply_full(const std::vector<plan::Change>& ports, Run& run) {
  // A module may have been installed since.
  settings_.missing_schedulers.clear();
  SLUICE_TRY(const auto listed, network_->list_addresses());
  SLUICE_TRY(NodeAddresses node, read_node(node_port_addresses_, listed));
  SLUICE_TRY(LiveTable live, list_live(*engine_, settings_.family));
  Served served(std::move(node));
  Served::Delta delta = served.update(ports, settings_);
  served_ = std::move(served);
  std::erase_if(warned_, [&](const auto& entry) { return entry.first && !served_->has_service(*entry.first); });
  warn_of_ports(ports);
  record_before();

  SLUICE_CHECK_OK(write_elements([&](HelperTable& table) { return table.replace(delta.added); }, run));
  set_timeouts();
  incomplete_.clear();
  unbound_.clear();
  unremoved_.clear();
  still_bound_.clear();
  device_refused_.reset();
  if (device_ != nullptr) {
    if (auto ensured = device_->ensure(); !ensured) device_refused_ = ensured.error();
  }

  std::set<IpAddress> missing = to_bind(delta.added);
  std::vector<IpAddress> superfluous;
  for (const IpAddress& address : bound_in(listed)) {
    missing.erase(address);
    if (!delta.added.service_addresses.contains(address)) superfluous.push_back(address);
  }
  drains_.end_unless([&](const VirtualServerKey& key) { return live.contains(key); });
  WorkBuilder builder(drains_, clock_.steady_now(), std::move(missing));
  put_in_order(delta.virtual_servers);
  bool first = true;
  for (const Served::VirtualServerChange& change : delta.virtual_servers) {
    if (std::exchange(first, change.first) && !change.first) builder.end_piece();
    const auto there = live.find(change.key);
    builder.add(change.key, there == live.end() ? nullptr : &there->second, &*change.after);
    if (there != live.end()) live.erase(there);
  }
  for (const auto& [key, server] : live) {
    if (!excluded(key.address)) builder.add(key, &server, nullptr);
  }
  SLUICE_CHECK_OK(carry_out(std::move(builder).take(std::move(superfluous)), run));
  record_after();
  return {};
}

Result<> IpvsDataPlane::apply_incremental(const std::vector<plan::Change>& ports, Run& run) {
  Served::Delta delta = served_->update(ports, settings_);
  warn_of_ports(ports);
  const bool record = std::any_of(ports.begin(), ports.end(), node_ports_differ) ||
                      !delta.added.service_addresses.empty() || !delta.removed.service_addresses.empty();
  if (record) record_before();
  if (delta.added != HelperElements{})
    SLUICE_CHECK_OK(write_elements([&](HelperTable& table) { return table.change(delta.added, {}); }, run));
  std::set<IpAddress> missing = to_bind(delta.added);
  add_what_is_missing(ports, delta, missing);
  WorkBuilder builder(drains_, clock_.steady_now(), missing);
  put_in_order(delta.virtual_servers);
  for (const Served::VirtualServerChange& change : delta.virtual_servers) {
    SLUICE_TRY(const auto live, live_of(change.key, change.before));
    incomplete_.erase(change.key);
    builder.add(change.key, live ? &*live : nullptr, change.after ? &*change.after : nullptr);
  }
  for (const IpAddress& address : missing) unbound_.erase(address);
  std::vector<IpAddress> superfluous;
  for (const IpAddress& address : to_bind(delta.removed)) {
    if (unbound_.erase(address) == 0) superfluous.push_back(address);
  }
  SLUICE_CHECK_OK(carry_out(std::move(builder).take(std::move(superfluous)), run));
  if (delta.removed != HelperElements{})
    SLUICE_CHECK_OK(write_elements([&](HelperTable& table) { return table.change({}, delta.removed); }, run));
  if (record) record_after();
  return {};
}

Result<std::optional<LiveVirtualServer>> IpvsDataPlane::live_of(const VirtualServerKey& key,
                                                                const std::optional<WantedVirtualServer>& known) {
  std::optional<LiveVirtualServer> live;
  if (!incomplete_.contains(key)) {
    if (known) live = as_live(*known);
    return live;
  }
  const auto found = engine_->find(key);
  if (found) {
    live = as_live(*found);
  } else if (found.error().code != Errc::kNotFound) {
    return tl::unexpected(found.error());
  }
  return live;
}

void IpvsDataPlane::add_what_is_missing(const std::vector<plan::Change>& ports, Served::Delta& delta,
                                        std::set<IpAddress>& to_bind) const {
  if (incomplete_.empty() && unbound_.empty()) return;
  std::set<VirtualServerKey> listed;
  for (const Served::VirtualServerChange& change : delta.virtual_servers) listed.insert(change.key);
  for (const plan::Change& change : ports) {
    if (!change.after) continue;
    for (const WantedVirtualServer& server : served_->wanted_by(change.key(), settings_)) {
      const VirtualServerKey& key = server.server.key;
      if (unbound_.contains(key.address)) to_bind.insert(key.address);
      if (incomplete_.contains(key) && listed.insert(key).second)
        delta.virtual_servers.push_back({key, std::nullopt, server, plan::comes_first(*change.after)});
    }
  }
}

Result<> IpvsDataPlane::carry_out(const Work& work, Run& run) {
  for (const Piece& piece : work.pieces) {
    SLUICE_CHECK_OK(write(piece.changes, run));
    SLUICE_CHECK_OK(bind(piece.addresses, run));
  }
  // Beyond this point all that is wanted is served; what follows removes.
  SLUICE_CHECK_OK(write(work.removals, run));
  SLUICE_CHECK_OK(finish_drains({work.drained.begin(), work.drained.end()}, run));
  return unbind(work.superfluous, run);
}

std::optional<TableChange> IpvsDataPlane::with_fallback(const TableChange& change, const Error& error) {
  TableChange changed = change;
  VirtualServer* server = sluice::ipvs::settings_in(changed);
  if (error.code != Errc::kUnsupported || server == nullptr || server->scheduler == Scheduler{}.name)
    return std::nullopt;
  const plan::ServicePortKey* port = served_->owner(server->key);
  const bool from_annotation = port != nullptr && server->scheduler != settings_.scheduler.name;
  settings_.missing_schedulers.insert(server->scheduler);
  warn_once(from_annotation ? std::optional(port->service) : std::nullopt,
            describe_missing_scheduler(server->scheduler));
  server->scheduler = Scheduler{}.name;
  server->flags &= sluice::ipvs::kPersistentFlag;
  return changed;
}

void IpvsDataPlane::note_failure(const TableChange& change, const Error& error, Run& run) {
  const bool missing = error.code == Errc::kNotFound;
  if (is_removal(change) && missing) return;  // it is gone
  // What follows from an earlier refusal is not worth a message.
  if (missing && run.failed.contains(virtual_server_of(change))) return;
  const VirtualServerKey& key = virtual_server_of(change);
  const bool adds_virtual_server = std::holds_alternative<AddVirtualServer>(change);
  if (error.code == Errc::kAlreadyExists || missing) {
    if (!run.surprise) run.surprise = error;
    return;
  }
  if (adds_virtual_server) run.failed.insert(key);
  const plan::ServicePortKey* port = served_->owner(key);
  if (port == nullptr) {
    run.unremoved.push_back(error.what);
    unremoved_.insert(key);
    return;
  }
  incomplete_.insert(key);
  run.refused[*port].push_back(error.what);
}

Result<> IpvsDataPlane::write(const std::vector<TableChange>& changes, Run& run) {
  if (changes.empty()) return {};
  SLUICE_TRY(const auto failures, engine_->apply(changes));
  ++run.stats.kernel_transactions;
  run.stats.rules_written += changes.size() - failures.size();
  std::vector<TableChange> again;
  std::set<VirtualServerKey> fallen_back;
  for (const sluice::ipvs::Failure& failure : failures) {
    const TableChange& change = changes[failure.index];
    if (auto fallback = with_fallback(change, failure.error)) {
      fallen_back.insert(virtual_server_of(change));
      again.push_back(*std::move(fallback));
    } else if (failure.error.code == Errc::kNotFound && fallen_back.contains(virtual_server_of(change))) {
      again.push_back(change);
    } else {
      note_failure(change, failure.error, run);
    }
  }
  if (again.empty()) return {};
  SLUICE_TRY(const auto refused_again, engine_->apply(again));
  ++run.stats.kernel_transactions;
  run.stats.rules_written += again.size() - refused_again.size();
  for (const sluice::ipvs::Failure& failure : refused_again) note_failure(again[failure.index], failure.error, run);
  return {};
}

Result<> IpvsDataPlane::bind(const std::vector<IpAddress>& addresses, Run& run) {
  if (addresses.empty()) return {};
  std::map<IpAddress, std::string> reasons;
  // Virtual servers of node ports are served without the device.
  if (device_refused_ && device_->ensure()) device_refused_.reset();
  if (device_refused_) {
    for (const IpAddress& address : addresses) reasons.emplace(address, device_refused_->what);
  } else {
    auto refused = device_->add(addresses);
    ++run.stats.kernel_transactions;
    if (!refused) {  // the device was deleted since it was last seen
      if (!run.surprise) run.surprise = refused.error();
      return {};
    }
    for (const sys::AddressFailure& each : *refused) reasons.emplace(addresses[each.index], each.error.what);
  }
  refuse_addresses(reasons, run);
  return {};
}

void IpvsDataPlane::refuse_addresses(const std::map<IpAddress, std::string>& reasons, Run& run) {
  if (reasons.empty()) return;
  std::set<IpAddress> addresses;
  for (const auto& [address, reason] : reasons) addresses.insert(address);
  for (const auto& [address, ports] : served_->ports_on(addresses)) {
    for (const plan::ServicePortKey& port : ports) run.refused[port].push_back(reasons.at(address));
  }
  unbound_.merge(addresses);
}

Result<> IpvsDataPlane::unbind(const std::vector<IpAddress>& addresses, Run& run) {
  if (addresses.empty()) return {};
  auto refused = device_->remove(addresses);
  ++run.stats.kernel_transactions;
  if (!refused) {
    if (!run.surprise) run.surprise = refused.error();
    return {};
  }
  for (const sys::AddressFailure& each : *refused) {
    run.unremoved.push_back(each.error.what);
    still_bound_.insert(addresses[each.index]);
  }
  return {};
}

std::optional<KernelWork> IpvsDataPlane::kernel_work() {
  const auto work = engine_->work();
  if (!work || !*work) return std::nullopt;
  const sluice::ipvs::EngineWork& found = **work;
  KernelWork shown;
  shown.lines.push_back(fmt::format("connections: {} of at most {}", found.connections, found.connections_max));
  if (found.devices_unknown.empty()) {
    shown.lines.push_back(fmt::format("programs on {} devices{}{}", found.devices,
                                      found.devices_without.empty() ? "" : ", not on ",
                                      fmt::join(found.devices_without, ", ")));
  } else {
    shown.lines.push_back("devices with programs: not known: " + found.devices_unknown);
  }
  std::string dropped;
  for (const auto& [reason, packets] : found.dropped) {
    shown.dropped.emplace_back(reason, packets);
    if (packets > 0) dropped += fmt::format("{}{} {}", dropped.empty() ? "" : ", ", reason, packets);
  }
  if (!dropped.empty()) shown.lines.push_back("dropped packets: " + dropped);
  return shown;
}

std::vector<std::pair<std::string, std::size_t>> IpvsDataPlane::rules_by_table() const {
  return {{"nftables", table_->rules()}};
}

void IpvsDataPlane::warn_of_ports(const std::vector<plan::Change>& ports) {
  const auto& bad = served_->bad_annotations();
  for (const plan::Change& change : ports) {
    if (!change.after) warned_.erase(change.key().service);
    const std::uint16_t node_port = change.after ? change.after->served_node_port() : std::uint16_t{0};
    if (settings_.routes_cluster_ips && node_port >= kMasqueradePortFirst) {
      warn_once(change.key().service,
                fmt::format("node port {} is among the ports that masqueraded connections come from ({} to {}): a real "
                            "server's reply by UDP to that port may be taken for a new client",
                            node_port, kMasqueradePortFirst, kMasqueradePortLast));
    }
    const auto found = bad.find(change.key());
    if (found == bad.end()) continue;
    for (const std::string& text : found->second) warn_once(change.key().service, text);
  }
}

void IpvsDataPlane::warn_once(const std::optional<plan::ObjectKey>& service, std::string what) {
  // Texts that concern no Service may name addresses; a bound in case they never end.
  constexpr std::size_t kTextsMax = 100;
  std::set<std::string>& reported = warned_[service];
  if (reported.size() >= kTextsMax) reported.clear();
  if (reported.insert(what).second) options_.warn({service, std::move(what)});
}

}  // namespace sluice::dataplane::ipvs
