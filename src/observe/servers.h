// SPDX-License-Identifier: Apache-2.0
// The two HTTP servers that a kube-proxy has: healthz (10256: /healthz, /livez) and metrics (10249: /metrics,
// /proxyMode, /configz ...). Both are started, called and destroyed on the loop's thread, or while the loop does not
// run.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/ip.h"
#include "base/result.h"
#include "net/event_loop.h"
#include "observe/health.h"
#include "observe/metrics.h"
#include "observe/zpages.h"

namespace sluice::observe {

struct ListenOn {
  IpAddress address;
  std::uint16_t port = 0;
};
// "0.0.0.0:10256", "[::]:10256".
Result<ListenOn> parse_listen_on(std::string_view text);

// A server that keeps trying until it listens.
class ObserveServer {
 public:
  virtual ~ObserveServer() = default;
  [[nodiscard]] virtual std::uint16_t port() const = 0;  // 0 while it does not listen
};

struct ServerOptions {
  ListenOn listen_on;
  bool hard_fail = false;                                // not listening at once is an error
  std::function<void(const std::string&)> on_failure{};  // called for each attempt that failed
  std::chrono::milliseconds retry_interval{5'000};
};

// `health` and `metrics` must outlive the server and the loop's run.
Result<std::unique_ptr<ObserveServer>> start_healthz_server(net::EventLoop& loop, ServerOptions options,
                                                            const Health& health, Metrics& metrics);

// A page whose field is not set does not exist (404).
struct MetricsPages {
  std::string proxy_mode;                          // "iptables"
  std::function<std::string()> configz{};          // JSON of the KubeProxyConfiguration
  std::optional<FlagValues> flagz{};               // the command line's flags with their values
  std::optional<std::string> emulation_version{};  // for /statusz: whose behaviour this is, "1.36"
  bool profiling = false;                          // whether /debug/flags/v and /debug/pprof exist
  std::function<void(int)> set_verbosity{};
};
Result<std::unique_ptr<ObserveServer>> start_metrics_server(net::EventLoop& loop, ServerOptions options,
                                                            const Metrics& metrics, const MetricsPages& pages);

}  // namespace sluice::observe
