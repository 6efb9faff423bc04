// SPDX-License-Identifier: Apache-2.0
#include "daemon/observe_servers.h"

#include <utility>

#include "base/log.h"
#include "config/feature_gates.h"
#include "config/text.h"

namespace sluice::daemon {

ObserveServers::ObserveServers(net::EventLoop& loop, const config::CommandLine& command, observe::Health& health,
                               observe::Metrics& metrics, EventPosts& events)
    : loop_(loop), command_(command), health_(health), metrics_(metrics), events_(events) {}

Result<> ObserveServers::start() {
  const config::ProxyConfig& config = command_.config;
  if (!config.healthz_bind_address.empty()) {
    SLUICE_TRY(auto healthz, options(config.healthz_bind_address, "healthz", "FailedToStartProxierHealthcheck"));
    SLUICE_TRY(healthz_, observe::start_healthz_server(loop_, std::move(healthz), health_, metrics_));
  }
  SLUICE_TRY(auto metrics, options(config.metrics_bind_address, "metrics", "FailedToStartMetricServer"));
  SLUICE_TRY(metrics_server_, observe::start_metrics_server(loop_, std::move(metrics), metrics_, pages()));
  return {};
}

void ObserveServers::answer_health_checks_at(const std::vector<IpAddress>& addresses) {
  health_checks_.emplace(loop_, health_, addresses, [this](const observe::HealthCheck& check, const std::string& why) {
    SLUICE_LOG_ERROR("Failed to start healthcheck", {"service", check.namespace_name + "/" + check.name},
                     {"port", check.port}, {"err", why});
    events_.health_check_failed(check, why);
  });
}

void ObserveServers::sync_health_checks(std::vector<observe::HealthCheck> checks) {
  health_checks_->sync(std::move(checks));
}

Result<observe::ServerOptions> ObserveServers::options(const std::string& address, const char* name,
                                                       const char* event_reason) {
  SLUICE_TRY(const observe::ListenOn listen_on, observe::parse_listen_on(address));
  observe::ServerOptions options;
  options.listen_on = listen_on;
  options.hard_fail = command_.config.bind_address_hard_fail;
  options.on_failure = [this, name, event_reason, reported = std::string()](const std::string& why) mutable {
    const bool hard_fail = command_.config.bind_address_hard_fail;
    if (std::exchange(reported, why) == why) return;  // a lasting problem is logged once
    SLUICE_LOG_ERROR(hard_fail ? "A server cannot listen" : "A server cannot listen, trying again", {"server", name},
                     {"err", why});
    if (hard_fail) events_.server_failed(event_reason, why);
  };
  return options;
}

observe::MetricsPages ObserveServers::pages() const {
  observe::MetricsPages pages;
  pages.proxy_mode = to_string(proxy_mode(command_.config));
  pages.configz = [this] { return config::configz_json(command_.config); };
  if (config::gate_enabled(command_.config.feature_gates, "ComponentFlagz")) pages.flagz = command_.flag_values;
  if (config::gate_enabled(command_.config.feature_gates, "ComponentStatusz"))
    pages.emulation_version = config::kKubernetesMinorVersion;
  pages.profiling = command_.config.enable_profiling;
  pages.set_verbosity = [](int verbosity) { log::set_verbosity(verbosity); };
  return pages;
}

}  // namespace sluice::daemon
