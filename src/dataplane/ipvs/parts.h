// SPDX-License-Identifier: Apache-2.0
// What IpvsDataPlane works with: an engine, and what the engine's description says the node must provide for it.
#pragma once

#include <memory>

#include "base/result.h"
#include "dataplane/ipvs/helper_table.h"
#include "dataplane/ipvs/service_device.h"
#include "dataplane/node/network.h"
#include "ipvs/engine.h"

namespace sluice::dataplane::ipvs {

struct Parts {
  std::unique_ptr<sluice::ipvs::Engine> engine;
  std::unique_ptr<node::Network> network;
  std::unique_ptr<HelperTable> table;     // helper rules, or the engine's own behind the same interface
  std::unique_ptr<ServiceDevice> device;  // null: it needs no local addresses
};

// Helper rules, or the engine's own, which must then outlive the table. Nothing is written.
// Errors are those of check_nf_tables().
Result<std::unique_ptr<HelperTable>> open_table_of(sluice::ipvs::Engine& engine, const HelperSettings& helper);
// The real ones, in the calling thread's network namespace; nothing is written. Errors are those of
// open_table_of().
Result<Parts> open_parts(std::unique_ptr<sluice::ipvs::Engine> engine, const HelperSettings& helper);
// kInvalid: a part that the engine needs is missing.
Result<> check_complete(const Parts& parts);

}  // namespace sluice::dataplane::ipvs
