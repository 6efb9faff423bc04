// SPDX-License-Identifier: Apache-2.0
// Mode nftables as a mechanism. This version does not serve it; what kube-proxy's mode leaves is known all the same.
#pragma once

#include "dataplane/mechanism.h"

namespace sluice::dataplane::nftables {

class NftablesMechanism : public Mechanism {
 public:
  [[nodiscard]] std::string_view name() const override { return "nftables"; }
  Result<> probe(Family family) override;
  Result<std::unique_ptr<DataPlane>> open(const PlaneSettings& settings) override;
  [[nodiscard]] std::string flavour() const override { return ""; }
  Leftovers leftovers(std::span<const Family> serving) override;
  Removal remove(Leftovers leftovers) override;
};

}  // namespace sluice::dataplane::nftables
