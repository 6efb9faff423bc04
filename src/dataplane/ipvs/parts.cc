// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/parts.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::dataplane::ipvs {

Result<Parts> open_parts(std::unique_ptr<sluice::ipvs::Engine> engine, const HelperSettings& helper) {
  const sluice::ipvs::Description description = engine->description();
  Parts parts;
  parts.engine = std::move(engine);
  parts.network = node::open_network();
  if (description.needs_helper_rules) {
    SLUICE_TRY(parts.table, open_helper_table(helper));
  }
  if (description.needs_local_addresses) parts.device = open_service_device();
  return parts;
}

Result<> check_complete(const Parts& parts) {
  if (parts.engine == nullptr || parts.network == nullptr) return fail(Errc::kInvalid, "ipvs: no engine or no network");
  const sluice::ipvs::Description description = parts.engine->description();
  if (description.needs_helper_rules && parts.table == nullptr)
    return fail(Errc::kInvalid, fmt::format("ipvs: engine {} needs helper rules", description.name));
  if (description.needs_local_addresses && parts.device == nullptr)
    return fail(Errc::kInvalid, fmt::format("ipvs: engine {} needs a device for addresses", description.name));
  return {};
}

}  // namespace sluice::dataplane::ipvs
