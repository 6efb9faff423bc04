// SPDX-License-Identifier: Apache-2.0
#include "daemon/loop_settings.h"

#include "config/feature_gates.h"

namespace sluice::daemon {
namespace {

constexpr std::chrono::minutes kDriftRepairInterval{10};

}  // namespace

sync::LoopSettings loop_settings(const config::CommandLine& command, const OwnNode& node, const Serving& serving,
                                 Clock::WallTime process_start) {
  const config::ProxyConfig& config = command.config;
  const config::SyncPeriods periods = sync_periods(config);
  sync::LoopSettings settings;
  settings.sync_period = periods.period;
  settings.min_sync_period = periods.min;
  settings.drain_timeout = command.sluice.ipvs.drain_timeout;
  settings.drift_repair_interval =
      command.sluice.drift_repair ? std::chrono::nanoseconds(kDriftRepairInterval) : std::chrono::nanoseconds(0);
  settings.plan.node_name = node.name;
  const auto gate = config.feature_gates.find("AllowServiceExternalIPs");
  settings.plan.allow_external_ips = gate == config.feature_gates.end() || gate->second;
  for (const Family family : serving.families) {
    config::of(settings.plan.masquerade, family) = {config::of(serving.detectors.by_family, family),
                                                    masquerade_all(config)};
    config::of(settings.facts.node_ip, family) = config::of(node.ips.by_family, family);
  }
  settings.facts.zone = node.zone();
  if (detect_local_mode(config) == config::DetectLocalMode::kNodeCidr && node.object)
    settings.pod_cidrs = node.object->pod_cidrs;
  settings.process_start = process_start;
  return settings;
}

}  // namespace sluice::daemon
