// SPDX-License-Identifier: Apache-2.0
// The mode has one table per family and nothing else: no device, no settings of the node. kube-proxy's mode has another
// one, "kube-proxy", which goes as soon as ours serves. A table goes in one transaction, which cannot be divided.
#include "dataplane/nftables/nftables_mechanism.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "dataplane/nftables/nftables_data_plane.h"
#include "dataplane/nftables/probe.h"
#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {
namespace {

constexpr const char* kKubeProxysTable = "kube-proxy";

struct Table {
  Family family;
  const char* name;
  [[nodiscard]] Objects objects() const {
    return {fmt::format("the nftables table {} {}", family == Family::kIPv4 ? "ip" : "ip6", name), "", 1};
  }
};

struct Tables : LeftoverNotes {
  std::vector<Table> tables;
  [[nodiscard]] std::vector<Objects> objects() const {
    std::vector<Objects> objects;
    for (const Table& table : tables) objects.push_back(table.objects());
    return objects;
  }
};

Result<> probe_once(Family family) {
  Options options;
  options.family = family;
  SLUICE_CHECK_OK(NftablesDataPlane::open(std::move(options)));
  return probe_kernel(family);
}

}  // namespace

Result<> NftablesMechanism::probe(Family family) {
  constexpr int kAttemptsMax = 5;
  std::chrono::milliseconds pause{50};  // twice as long each time: a shortage lasts a moment
  if (family == Family::kIPv6 && ::access("/proc/net/if_inet6", F_OK) != 0)
    return fail(Errc::kUnsupported, "this kernel has no IPv6");
  for (int attempt = 1;; ++attempt) {
    const auto probed = probe_once(family);
    if (probed || probed.error().code != Errc::kUnavailable || attempt == kAttemptsMax) return probed;
    std::this_thread::sleep_for(pause);
    pause *= 2;
  }
}

Result<std::unique_ptr<DataPlane>> NftablesMechanism::open(const PlaneSettings& settings) {
  // Of two planes of one family, each is to see what the other one does to their table.
  if (opened_.contains(settings.family)) {
    generation_ = std::make_shared<Generation>();
    opened_.clear();
  }
  Options options;
  options.family = settings.family;
  options.detector = settings.detector;
  options.masquerade_bit = std::uint32_t{1} << settings_.masquerade_bit;
  options.generation = generation_;
  SLUICE_TRY(auto plane, NftablesDataPlane::open(std::move(options)));
  opened_.insert(settings.family);
  return std::unique_ptr<DataPlane>(std::move(plane));
}

Leftovers NftablesMechanism::leftovers(std::span<const Family> serving) {
  Leftovers found;
  auto notes = std::make_unique<Tables>();
  for (const Family family : kFamilies) {
    const bool serves = std::find(serving.begin(), serving.end(), family) != serving.end();
    for (const char* name : {kTableName, kKubeProxysTable}) {
      if (serves && name == kTableName) continue;
      const auto table = sys::has_nft_table(family, name);
      if (table && *table) notes->tables.push_back({family, name});
      if (!table && table.error().code != Errc::kUnsupported) found.problems.push_back(table.error().what);
    }
  }
  found.objects = notes->objects();
  found.notes = std::move(notes);
  return found;
}

Removal NftablesMechanism::remove(Leftovers leftovers) {
  Removal removal;
  auto* notes = dynamic_cast<Tables*>(leftovers.notes.get());
  if (notes == nullptr || notes->tables.empty()) return removal;
  const Table table = notes->tables.back();
  notes->tables.pop_back();
  const auto deleted = sys::delete_nft_table(table.family, table.name);
  if (!deleted) removal.problems.push_back(deleted.error().what);
  if (deleted && *deleted) add(removal.removed, table.objects());
  leftovers.objects = notes->objects();
  removal.left = std::move(leftovers);
  return removal;
}

}  // namespace sluice::dataplane::nftables
