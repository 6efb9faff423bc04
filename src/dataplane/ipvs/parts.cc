// SPDX-License-Identifier: Apache-2.0
#include "dataplane/ipvs/parts.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "dataplane/ipvs/engine_rules.h"
#include "dataplane/ipvs/masquerade_table.h"

namespace sluice::dataplane::ipvs {

Result<std::unique_ptr<HelperTable>> open_table_of(sluice::ipvs::Engine& engine, const HelperSettings& helper) {
  if (engine.description().needs_helper_rules) return open_helper_table(helper);
  sluice::ipvs::ServiceRules* rules = engine.service_rules();
  if (rules == nullptr)
    return fail(Errc::kInvalid, fmt::format("ipvs: engine {} neither has rules nor needs any", engine.name()));
  SLUICE_TRY(auto masquerade, open_masquerade_table(helper.family, rule_settings(helper).masquerade_mark));
  return make_engine_rules(*rules, std::string(engine.name()), helper, std::move(masquerade));
}

Result<Parts> open_parts(std::unique_ptr<sluice::ipvs::Engine> engine, const HelperSettings& helper) {
  const sluice::ipvs::Description description = engine->description();
  Parts parts;
  parts.engine = std::move(engine);
  parts.network = node::open_network();
  SLUICE_TRY(parts.table, open_table_of(*parts.engine, helper));
  if (description.needs_local_addresses) parts.device = open_service_device();
  return parts;
}

Result<> check_complete(const Parts& parts) {
  if (parts.engine == nullptr || parts.network == nullptr) return fail(Errc::kInvalid, "ipvs: no engine or no network");
  const sluice::ipvs::Description description = parts.engine->description();
  if (parts.table == nullptr) return fail(Errc::kInvalid, fmt::format("ipvs: engine {} needs rules", description.name));
  if (description.needs_local_addresses && parts.device == nullptr)
    return fail(Errc::kInvalid, fmt::format("ipvs: engine {} needs a device for addresses", description.name));
  return {};
}

}  // namespace sluice::dataplane::ipvs
