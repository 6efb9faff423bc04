// SPDX-License-Identifier: Apache-2.0
// Two threads: the event loop (sources, HTTP servers, signals), and the control loop, which is the main thread once
// everything is made. Order of the start, and why: servers and the source first, since the Node has this node's
// addresses, and a liveness probe must not kill a proxy that waits for them; then kernel settings and data planes; the
// control loop last, which programs nothing before the source's lists are complete. `sluice status` works from the
// start on. After the end, of whatever kind, the kernel keeps forwarding by what it was given.
#include "daemon/server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/config_watch.h"
#include "daemon/event_posts.h"
#include "daemon/kernel_settings.h"
#include "daemon/loop_settings.h"
#include "daemon/node_gate.h"
#include "daemon/object_source.h"
#include "daemon/observe_servers.h"
#include "daemon/own_node.h"
#include "daemon/planes.h"
#include "daemon/request_server.h"
#include "daemon/waits.h"
#include "sync/control_loop.h"

namespace sluice::daemon {
namespace {

using config::CommandLine;
using config::ProxyConfig;

constexpr std::chrono::seconds kLastWords{3};  // for the events that report why the program ends

class Server {
 public:
  explicit Server(const CommandLine& command)
      : command_(command), config_(command.config), health_(system_clock(), 2 * sync_periods(command.config).period) {}

  ~Server() {
    gate_.close();
    if (requests_) requests_->forget_control();
    {
      const MutexLock lock(control_mutex_);
      control_pointer_ = nullptr;
    }
    control_.reset();
    work_.reset();
    loop_.stop();
    if (loop_thread_.joinable()) loop_thread_.join();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Result<int> run() {
    SLUICE_TRY(const std::string node_name, own_node_name(config_));
    SLUICE_TRY(source_, make_object_source(loop_, command_, node_name, source_hooks()));
    start_requests_and_signals(node_name);
    // One that must listen ends the program otherwise, with an event about the Node, which has to be known then.
    const bool servers_wait = command_.init_only || config_.bind_address_hard_fail;
    if (!servers_wait) SLUICE_CHECK_OK(start_servers(node_name));
    boost::asio::post(loop_, [this] { source_.source->start(); });
    loop_thread_ = std::thread([this] { loop_.run(); });
    SLUICE_LOG_INFO("Sluice starts", {"version", SLUICE_VERSION}, {"node", node_name}, {"source", source_.words});

    SLUICE_TRY(const auto node, learn_own_node(config_, node_name, source_.files, gate_));
    if (!node) return exit_status_.load();
    if (node->object) events_->set_node_uid(node->object->uid);
    SLUICE_TRY(serving_, choose_serving(command_, *node));
    record_state_folder(command_.sluice);
    apply_conntrack_settings(config_, open_journal(command_.sluice));
    SLUICE_CHECK_OK(check_against_node(config_, serving_, *node));
    SLUICE_TRY(auto planes, open_data_planes(command_, serving_, source_.api_server_addresses));
    if (command_.init_only) {
      for (const Family family : serving_.families)
        SLUICE_LOG_INFO("System initialized and --init-only specified", {"ipFamily", to_string(family)});
      return 0;
    }
    apply_oom_score(config_);
    if (servers_wait) SLUICE_CHECK_OK(start_servers(node_name));
    servers_->answer_health_checks_at(health_check_addresses_now(serving_));
    make_control_loop(*node, std::move(planes));
    if (!ending_) control_->run();
    return exit_status_.load();
  }

 private:
  kube::SourceHooks source_hooks() {
    kube::SourceHooks hooks;
    hooks.on_update = [this](model::Update&& update) { gate_.pass(std::move(update)); };
    hooks.on_request = [this](std::string_view code, std::string_view method, std::string_view host) {
      metrics_.add_rest_request(code, method, host);
    };
    hooks.on_refused = [this](std::string_view kind) { metrics_.add_refused_object(kind); };
    return hooks;
  }

  // Requests, signals and writes of the configuration file are handled while the rest starts.
  void start_requests_and_signals(const std::string& node_name) {
    events_.emplace(node_name, std::move(source_.events));
    const view::ProcessFacts process{static_cast<int>(::getpid()),
                                     std::string(to_string(proxy_mode(config_))),
                                     "",
                                     node_name,
                                     source_.words,
                                     started_};
    requests_.emplace(loop_, process, [this] { return waits_of(*source_.source, gate_); });
    signals_.async_wait([this](boost::system::error_code error, int number) {
      if (!error) end(0, fmt::format("signal {}", number));
    });
    if (command_.config_path.empty()) return;
    config_watch_.emplace(loop_, command_.config_path,
                          [this] { end(1, "content of the proxy server's configuration file was updated"); });
  }

  // May be called from any thread; the first call counts.
  void end(int status, const std::string& why) {
    if (ending_.exchange(true)) return;
    exit_status_ = status;
    if (status == 0) {
      SLUICE_LOG_INFO("Ending; the rules stay in place", {"why", why});
    } else {
      SLUICE_LOG_ERROR("Error running ProxyServer", {"err", why});
    }
    gate_.give_up();
    const MutexLock lock(control_mutex_);
    if (control_pointer_ != nullptr) control_pointer_->stop();
  }

  Result<> start_servers(const std::string& node_name) {
    health_.explain_unknown_node(
        [this, node_name] { return why_node_is_unknown(*source_.source, source_.words, node_name); });
    servers_.emplace(loop_, command_, health_, metrics_, *events_);
    auto started = servers_->start();
    if (!started) events_->flush(kLastWords);
    return started;
  }

  void make_control_loop(const OwnNode& node, std::vector<std::unique_ptr<dataplane::DataPlane>> planes) {
    auto control = std::make_unique<sync::ControlLoop>(loop_settings(command_, node, serving_, started_), loop_hooks(),
                                                       system_clock(), metrics_, health_, std::move(planes),
                                                       pointers_to(serving_.mechanisms));
    {
      const MutexLock lock(control_mutex_);
      control_ = std::move(control);
      control_pointer_ = control_.get();
      if (ending_) control_pointer_->stop();
    }
    requests_->set_control(*control_, serving_.mode->flavour());
    gate_.open([this](model::Update&& update) { control_->post(std::move(update)); });
    events_->started();
  }

  sync::LoopHooks loop_hooks() {
    sync::LoopHooks hooks = sync::kernel_hooks();
    hooks.sync_health_checks = [this](std::vector<observe::HealthCheck> checks) {
      servers_->sync_health_checks(std::move(checks));
    };
    if (!serving_.node_port_cidrs.empty())
      hooks.node_port_addresses = [this](Family family) { return node_port_addresses_now(serving_, family); };
    hooks.address_refused = [this](const dataplane::Refusal& refusal) { events_->address_refused(refusal); };
    hooks.request_unmet = [this](const dataplane::UnmetRequest& unmet) { events_->request_unmet(unmet); };
    hooks.port_refused = [this](const dataplane::RefusedPort& refused) { events_->port_refused(refused); };
    hooks.fatal = [this](const std::string& why) { end(1, why); };
    return hooks;
  }

  const CommandLine& command_;
  const ProxyConfig& config_;
  const Clock::WallTime started_ = system_clock().wall_now();
  std::atomic<bool> ending_{false};
  std::atomic<int> exit_status_{0};
  observe::Metrics metrics_;
  observe::Health health_;
  NodeGate gate_;
  Serving serving_;

  net::EventLoop loop_{1};
  boost::asio::executor_work_guard<net::EventLoop::executor_type> work_{loop_.get_executor()};
  boost::asio::signal_set signals_{loop_, SIGTERM, SIGINT};
  ObjectSource source_;
  std::optional<EventPosts> events_;
  std::optional<ConfigWatch> config_watch_;
  std::optional<ObserveServers> servers_;
  std::optional<RequestServer> requests_;

  Mutex control_mutex_;
  sync::ControlLoop* control_pointer_ SLUICE_GUARDED_BY(control_mutex_) = nullptr;
  std::unique_ptr<sync::ControlLoop> control_;
  std::thread loop_thread_;
};

}  // namespace

int serve(const CommandLine& command) {
  std::signal(SIGPIPE, SIG_IGN);
  Server server(command);
  const auto status = server.run();
  if (status) return *status;
  SLUICE_LOG_ERROR("Error running ProxyServer", {"err", status.error().what});
  return 1;
}

}  // namespace sluice::daemon
