// SPDX-License-Identifier: Apache-2.0
// The annotation sluice.dev/weight, on a Service or on an EndpointSlice: which share of new connections each real
// server gets in mode ipvs, if the scheduler uses weights. "3" is the weight of all;
// "zone/eu-1a=3,node/worker-7=0,10.2.0.1=10,*=1" names some.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::model {

inline constexpr std::string_view kWeightAnnotation = "sluice.dev/weight";

class Weights {
 public:
  // kInvalid names the part that cannot be read: a weight outside 0 to 65535, an unknown selector, one that appears
  // twice.
  static Result<Weights> parse(std::string_view text);
  // The most specific selector counts: the address, then the node, then the zone, then "*".
  [[nodiscard]] std::optional<std::uint16_t> of(const IpAddress& address, std::string_view node,
                                                std::string_view zone) const;

 private:
  Result<> add(std::string_view selector, std::uint16_t weight);

  std::map<IpAddress, std::uint16_t> by_address_;
  std::map<std::string, std::uint16_t, std::less<>> by_node_;
  std::map<std::string, std::uint16_t, std::less<>> by_zone_;
  std::optional<std::uint16_t> everybody_;
};

}  // namespace sluice::model
