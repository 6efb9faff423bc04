// SPDX-License-Identifier: Apache-2.0
// The data plane of mode nftables: our table of one family (layout.h), whose elements follow the Service ports. What is
// live is read by a full apply and known from then on; a partial one writes one small transaction and reads nothing.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/nftables/comparison.h"
#include "dataplane/nftables/element_sums.h"
#include "dataplane/nftables/fixed_part.h"
#include "dataplane/nftables/generation.h"
#include "dataplane/nftables/layout.h"
#include "dataplane/nftables/live.h"
#include "dataplane/nftables/parts.h"
#include "dataplane/nftables/shared_elements.h"
#include "dataplane/nftables/unit.h"
#include "sys/nf_tables.h"

namespace sluice::dataplane::nftables {

struct Options {
  Family family = Family::kIPv4;
  plan::LocalDetector detector;
  std::uint32_t masquerade_bit = 0x4000;
  // For tests: a kernel between us and the kernel.
  std::function<Result<>(const sys::NftBatch&)> commit = [](const sys::NftBatch& batch) { return batch.commit(); };
  std::function<Result<>(const sys::NftBatch&)> check = [](const sys::NftBatch& batch) { return batch.check(); };
  // Shared with the plane of the other family.
  std::shared_ptr<Generation> generation = std::make_shared<Generation>();
  // A commit holds the kernel's only lock for nf_tables: no more elements, sets, chains and rules than this in one, unless
  // one Service port has more.
  std::size_t batch_objects_max = 4000;
  // Where other programs change tables all the time, intact() lists so many elements for each time it is called.
  std::size_t listed_per_look_max = 20'000;
};

class NftablesDataPlane : public DataPlane {
 public:
  // kUnsupported: this kernel has no nf_tables.
  static Result<std::unique_ptr<NftablesDataPlane>> open(Options options);

  [[nodiscard]] std::string_view name() const override { return "nftables"; }
  [[nodiscard]] Family family() const override { return options_.family; }
  [[nodiscard]] const Capabilities& capabilities() const override;
  Result<Outcome> apply(const Changes& changes) override;
  Result<Integrity> intact() override;
  Result<Difference> compare(const Changes& wanted) override;
  Result<> retire() override;
  Result<std::optional<std::chrono::milliseconds>> tend() override;
  [[nodiscard]] std::vector<UnmetRequest> unmet_requests() const override;
  [[nodiscard]] std::size_t cleanup_failures() const override { return cleanup_failures_; }
  [[nodiscard]] std::vector<std::pair<std::string, std::size_t>> rules_by_table() const override;

 private:
  struct Run;
  struct PutParts;
  explicit NftablesDataPlane(Options options);

  Result<> apply_full(const Changes& changes, Run& run);
  Result<> apply_partial(const std::vector<plan::Change>& ports, Run& run);
  Result<> commit_in_batches(std::vector<Unit> units, Run& run);
  // Each half by itself where the kernel refuses the whole.
  Result<> commit_or_divide(std::span<Unit> units, Run& run);
  // In place of a table of another kind: all that the kernel accepts at once, or nothing. What it has no memory for, and
  // what shares a batch with too many that it refuses, follows.
  Result<> commit_at_once(std::vector<Unit> units, Run& run);
  struct Trial;
  // Of those it does not accept, each by itself. Nothing is done.
  Result<> find_refused(std::span<Unit> units, Run& run, Trial& trial);
  Result<> commit(std::span<Unit> units, Run& run);
  Result<> check(std::span<Unit> units, Run& run);
  struct Draft;
  Draft draft(std::span<Unit> units, Run& run);
  Result<> put_through(const sys::NftBatch& batch);
  // What the kernel refused as a whole: each port by itself, where there are several.
  Result<> commit_apart(const Unit& unit, const Error& error, Run& run);
  void refuse(const Unit& unit, const Error& error, bool untried, Run& run);
  bool note_if_live(Unit& unit, Run& run);
  void drop_live_parts(Unit& unit) const;
  [[nodiscard]] bool is_reshaped(const Step& step) const;
  [[nodiscard]] std::size_t size_of(const Unit& unit) const;
  void note_committed(Unit& unit, Run& run);
  void count_shared(const Unit& unit);
  void discount_shared(const Unit& unit);  // undoes that
  enum class Verb : std::uint8_t { kAdd, kRemove };
  Result<> commit_elements(const std::string& set, std::span<const sys::NftElement> elements, Verb verb, Run& run);
  Result<> add_elements(const std::string& set, std::span<const sys::NftElement> elements, Run& run);
  // What the kernel does not release is noted, and stays.
  Result<> remove_elements(const std::string& set, std::span<const sys::NftElement> elements, Run& run);
  Result<> remove_or_divide(const std::string& set, std::span<const sys::NftElement> elements, Run& run);
  Result<> commit_rest(Run& run);

  // What of the fixed part is not as it must be goes into the batch.
  void put_fixed(sys::NftBatch& batch, const Live& live, bool anew, Run& run) const;
  // Chains and sets that a unit needs and that are not there as they must be; they are noted in `put`.
  void put_parts(sys::NftBatch& batch, const Step& step, PutParts& put, Run& run) const;
  void put_own_sets(sys::NftBatch& batch, const Step& step, PutParts& put, Run& run) const;
  // `anew`: also where it is there as it must be.
  void put_chain(sys::NftBatch& batch, const Chain& chain, bool anew, PutParts& put, Run& run) const;
  void put_fixed_chain(sys::NftBatch& batch, const Live& live, const sys::NftChain& chain) const;
  // Those that set the mark's bit, and are there with another bit.
  void put_marking_chains(const std::vector<plan::ServicePortPlanPtr>& ports, Run& run) const;
  // Chains and sets that are no longer used.
  struct IdlePart;
  struct Removal;
  [[nodiscard]] std::vector<IdlePart> idle_parts() const;
  Result<> remove_idle_parts(Removal& removal);
  Result<> remove_parts(std::span<const IdlePart> parts, Removal& removal);
  void forget_part(const IdlePart& part);
  void forget_released();    // of those that are held
  void name_held(Run& run);  // in the outcome
  [[nodiscard]] bool must_write_anew(const Live& live) const;

  void note_requests(const Changes& changes);
  [[nodiscard]] PortSlots known_slots(const plan::ServicePortPlan& port) const;
  [[nodiscard]] bool is_expected(const sys::NftTable& table) const;
  struct Elements {
    bool expected = true;
    std::size_t listed = 0;
  };
  [[nodiscard]] Result<Elements> look_at_elements() const;

  Options options_;
  FixedPart fixed_;
  bool touched_ = false;  // any of the table may be ours to end
  bool applied_ = false;  // it is known what is live
  std::map<plan::ServicePortKey, std::vector<std::string>> unmet_requests_;
  std::size_t cleanup_failures_ = 0;

  // In which our table is known to be as it must be, unless others have changed it.
  std::optional<std::uint64_t> epoch_;
  std::size_t looks_without_elements_ = 0;  // how many are next
  // What is live, beside the elements that follow from the plans of ports.
  Parts parts_;
  ElementSums sums_;                                 // of the elements of each fixed set
  std::set<Treatment> ready_;                        // whose chains are there; of those that are shared
  std::map<plan::ServicePortKey, PortSlots> slots_;  // where they are not the fresh ones
  SharedElements cluster_ips_{kClusterIps};
  SharedElements hairpins_{kHairpins};
  // Ports that the kernel refused, with what is live of each; null: nothing. Among them those that it does not release.
  std::map<plan::ServicePortKey, plan::ServicePortPlanPtr> refused_;
  nft::ElementsBySet unremoved_;  // that a full apply could not remove
  // Idle chains and sets that the kernel did not release when they were last to be removed.
  struct Held {
    int attempts = 0;
    bool named = false;  // in an outcome
    std::string reason{};
  };
  std::map<std::string, Held> held_;  // by what they are called for people
};

}  // namespace sluice::dataplane::nftables
