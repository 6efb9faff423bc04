// SPDX-License-Identifier: Apache-2.0
// kube-proxy's mode nftables has one table per family, "kube-proxy", and nothing else: no device, no settings of the
// node. A table goes in one transaction, which the kernel does not let anybody divide.
#include "dataplane/nftables/nftables_mechanism.h"

#include <fmt/format.h>

#include <utility>

#include "sys/netfilter_objects.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {
namespace {

constexpr const char* kTable = "kube-proxy";

Objects table_of(Family family) {
  return {fmt::format("the nftables table {} {}", family == Family::kIPv4 ? "ip" : "ip6", kTable), "", 1};
}

struct Tables : LeftoverNotes {
  std::vector<Family> families;
  [[nodiscard]] std::vector<Objects> objects() const {
    std::vector<Objects> objects;
    for (const Family family : families) objects.push_back(table_of(family));
    return objects;
  }
};

Error unserved() {
  return {Errc::kUnsupported, "mode nftables cannot be served by this version; iptables and ipvs can"};
}

}  // namespace

Result<> NftablesMechanism::probe(Family) {
  return tl::unexpected(unserved());
}

Result<std::unique_ptr<DataPlane>> NftablesMechanism::open(const PlaneSettings&) {
  return tl::unexpected(unserved());
}

Leftovers NftablesMechanism::leftovers(std::span<const Family>) {
  Leftovers found;
  auto notes = std::make_unique<Tables>();
  for (const Family family : kFamilies) {
    const auto table = sys::read_nft_table(family, kTable);
    if (table && *table) notes->families.push_back(family);
    if (!table && table.error().code != Errc::kUnsupported) found.problems.push_back(table.error().what);
  }
  found.objects = notes->objects();
  found.notes = std::move(notes);
  return found;
}

Removal NftablesMechanism::remove(Leftovers leftovers) {
  Removal removal;
  auto* notes = dynamic_cast<Tables*>(leftovers.notes.get());
  if (notes == nullptr || notes->families.empty()) return removal;
  const Family family = notes->families.back();
  notes->families.pop_back();
  const auto deleted = sys::delete_nft_table(family, kTable);
  if (!deleted) removal.problems.push_back(deleted.error().what);
  if (deleted && *deleted) add(removal.removed, table_of(family));
  leftovers.objects = notes->objects();
  removal.left = std::move(leftovers);
  return removal;
}

}  // namespace sluice::dataplane::nftables
