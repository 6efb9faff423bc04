// SPDX-License-Identifier: Apache-2.0
// Mode nftables as a mechanism: our table of each family, and what kube-proxy's mode leaves.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>

#include "dataplane/mechanism.h"
#include "dataplane/nftables/generation.h"

namespace sluice::dataplane::nftables {

struct MechanismSettings {
  unsigned masquerade_bit = 14;
};

class NftablesMechanism : public Mechanism {
 public:
  explicit NftablesMechanism(MechanismSettings settings) : settings_(std::move(settings)) {}

  [[nodiscard]] std::string_view name() const override { return "nftables"; }
  Result<> probe(Family family) override;
  Result<std::unique_ptr<DataPlane>> open(const PlaneSettings& settings) override;
  [[nodiscard]] std::string flavour() const override { return ""; }
  Leftovers leftovers(std::span<const Family> serving) override;
  Removal remove(Leftovers leftovers) override;

 private:
  MechanismSettings settings_;
  std::shared_ptr<Generation> generation_ =
      std::make_shared<Generation>();  // of the planes opened last, one per family
  std::set<Family> opened_;            // their families
};

}  // namespace sluice::dataplane::nftables
