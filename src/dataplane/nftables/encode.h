// SPDX-License-Identifier: Apache-2.0
// From a Service port's plan to elements of our maps. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/nft/elements.h"
#include "dataplane/nft/keys.h"
#include "dataplane/nftables/slots.h"
#include "dataplane/nftables/treatment.h"
#include "plan/plan.h"

namespace sluice::dataplane::nftables {

struct Encoded {
  nft::ElementsBySet elements;        // the Service port's own: no other one has an element with such a key
  std::vector<Treatment> treatments;  // of its frontends, sorted, each once
  // Elements that it shares with others.
  nft::Elements cluster_ips;
  nft::Elements hairpins;
};
// Errc::kExhausted: more real servers than slots can be numbered.
Result<Encoded> encode(const plan::ServicePortPlan& port, const PortSlots& slots);

// Where to find what belongs to a frontend: the keys of its endpoints and source ranges begin with its own.
struct FrontendKeys {
  const char* set;        // kFrontends or kNodePorts
  const char* endpoints;  // kEndpoints or kNodePortEndpoints
  nft::Bytes key;
};
FrontendKeys keys_of(const plan::Frontend& frontend, Protocol protocol);

// The slots that a map of endpoints has for a frontend, from its elements whose keys begin with the frontend's.
struct LiveSlots {
  std::vector<std::optional<plan::AddressPort>> cluster;
  std::vector<std::optional<plan::AddressPort>> local;
};
LiveSlots decode_slots(std::span<const sys::NftElement> elements);

}  // namespace sluice::dataplane::nftables
