// SPDX-License-Identifier: Apache-2.0
// Chains and sets that no Service uses any more are removed after the apply() that freed them, by tend(). Connections
// continue by the kernel's connection tracking, which needs no rule of ours.
//
// The kernel may not release one: kernels before 6.2 count a chain as used for a while after the last element that led
// to it has gone, and another program's rule or map in our table may lead to it. Such a part costs the others nothing,
// and is tried again after a while; what stays so is named in the outcome of the next apply(), and each full apply has it
// tried once more.
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "dataplane/nftables/nftables_data_plane.h"
#include "dataplane/nftables/run.h"

namespace sluice::dataplane::nftables {
namespace {

using sys::NftBatch;

constexpr std::chrono::milliseconds kRemovalRetry{1000};
constexpr int kRemovalAttemptsMax = 32;

}  // namespace

struct NftablesDataPlane::IdlePart {
  bool is_set = false;
  std::string name;
  std::size_t objects = 1;  // that go with it

  [[nodiscard]] std::string description() const {
    return fmt::format("nftables {} {}", is_set ? "set" : "chain", name);
  }
};

struct NftablesDataPlane::Removal {
  std::size_t removed = 0;
  std::map<std::string, std::string> refused{};  // each with the kernel's reason, by its description
  bool untried = false;                          // some, since several others were refused
};

std::vector<NftablesDataPlane::IdlePart> NftablesDataPlane::idle_parts() const {
  const PartNames& names = parts_.idle();
  std::vector<IdlePart> idle;
  for (const std::string& chain : names.chains)
    idle.push_back({false, chain, 1 + parts_.chains().at(chain).rules.count});
  for (const std::string& set : names.sets) idle.push_back({true, set});
  return idle;
}

void NftablesDataPlane::forget_released() {
  if (held_.empty()) return;
  std::set<std::string> idle;
  for (const IdlePart& part : idle_parts()) idle.insert(part.description());
  std::erase_if(held_, [&](const auto& held) { return !idle.contains(held.first); });
}

void NftablesDataPlane::name_held(Run& run) {
  forget_released();
  const bool full = run.live.has_value();
  for (auto& [description, held] : held_) {
    if (!held.named && held.attempts < kRemovalAttemptsMax) continue;
    if (full || !held.named) run.outcome.unremoved.push_back(fmt::format("{}: {}", description, held.reason));
    held.named = true;
    if (full) held.attempts = kRemovalAttemptsMax - 1;
  }
}

void NftablesDataPlane::forget_part(const IdlePart& part) {
  PartNames names;
  (part.is_set ? names.sets : names.chains).insert(part.name);
  parts_.forget(names);
  held_.erase(part.description());
}

// Each half by itself where the kernel refuses the whole.
Result<> NftablesDataPlane::remove_parts(std::span<const IdlePart> parts, Removal& removal) {
  NftBatch batch(options_.family, kTableName);
  const auto each = [&](bool is_set, void (NftBatch::*remove)(const std::string&)) {
    for (const IdlePart& part : parts) {
      if (part.is_set == is_set) (batch.*remove)(part.name);
    }
  };
  // Sets before chains: elements of another program's map may lead to one.
  each(false, &NftBatch::delete_rules);
  each(true, &NftBatch::delete_set);
  each(false, &NftBatch::delete_chain);
  const auto committed = put_through(batch);
  if (committed) {
    removal.removed += parts.size();
    for (const IdlePart& part : parts) forget_part(part);
    return {};
  }
  ++cleanup_failures_;
  // What is not there, another program has removed: intact() sees that.
  if (sys::nft_outcome_unknown(committed.error())) return tl::unexpected(committed.error());
  if (means_surprise(committed.error()) || committed.error().code == Errc::kPermission)
    return tl::unexpected(committed.error());
  if (parts.size() == 1) {
    removal.refused.emplace(parts[0].description(), committed.error().what);
    return {};
  }
  if (removal.refused.size() >= kRefusalsMax) {
    removal.untried = true;
    return {};
  }
  SLUICE_CHECK_OK(remove_parts(parts.first(parts.size() / 2), removal));
  return remove_parts(parts.subspan(parts.size() / 2), removal);
}

Result<> NftablesDataPlane::remove_idle_parts(Removal& removal) {
  // A chain can go after those that lead to it.
  do {
    removal = Removal{};
    std::vector<IdlePart> idle = idle_parts();
    std::erase_if(idle, [this](const IdlePart& part) {
      const auto held = held_.find(part.description());
      return held != held_.end() && held->second.attempts >= kRemovalAttemptsMax;
    });
    const auto all = std::span<const IdlePart>(idle);
    std::size_t begin = 0;
    std::size_t objects = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (i > begin && objects + all[i].objects > options_.batch_objects_max) {
        SLUICE_CHECK_OK(remove_parts(all.subspan(begin, i - begin), removal));
        begin = i;
        objects = 0;
      }
      objects += all[i].objects;
    }
    if (begin < all.size()) SLUICE_CHECK_OK(remove_parts(all.subspan(begin), removal));
  } while (removal.removed > 0 && (!removal.refused.empty() || removal.untried));
  return {};
}

Result<std::optional<std::chrono::milliseconds>> NftablesDataPlane::tend() {
  // Where an apply() has failed, what seems to be idle may serve; and a table that has retired goes as a whole.
  if (!applied_) return std::optional<std::chrono::milliseconds>();
  forget_released();
  const std::size_t chains = parts_.chains().size();
  Removal removal;
  const auto done = remove_idle_parts(removal);
  if (parts_.chains().size() != chains) {
    std::erase_if(ready_, [this](const Treatment& treatment) {
      return std::ranges::any_of(chain_names(treatment),
                                 [this](const std::string& chain) { return !parts_.has_chain(chain); });
    });
  }
  if (!done) return tl::unexpected(done.error());
  std::optional<std::chrono::milliseconds> again;
  if (removal.untried) again = kRemovalRetry;
  for (const auto& [description, reason] : removal.refused) {
    Held& held = held_[description];
    held.reason = reason;
    if (++held.attempts < kRemovalAttemptsMax) again = kRemovalRetry;
  }
  return again;
}

}  // namespace sluice::dataplane::nftables
