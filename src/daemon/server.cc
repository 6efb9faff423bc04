// SPDX-License-Identifier: Apache-2.0
// Two threads: the event loop (sources, HTTP servers, signals), and the control loop, which is the main thread once
// everything is made. Order of the start, and why: the source first, since the Node tells this node's addresses; then
// kernel settings, data planes and servers; the control loop last, which programs nothing before the source's lists are
// complete. Beyond the end, however it comes, the kernel goes on forwarding by what it was told.
#include "daemon/server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <thread>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "config/detect.h"
#include "config/feature_gates.h"
#include "config/file.h"
#include "config/text.h"
#include "config/validate_families.h"
#include "daemon/data_planes.h"
#include "daemon/kernel_settings.h"
#include "daemon/local_socket.h"
#include "daemon/node_gate.h"
#include "kube/source.h"
#include "net/local_channel.h"
#include "observe/health_check_server.h"
#include "observe/servers.h"
#include "sync/control_loop.h"
#include "sys/folder_watch.h"
#include "view/router.h"
#include "view/status_json.h"
#include "view/status_text.h"

namespace sluice::daemon {
namespace {

using config::ByFamily;
using config::ClusterFacts;
using config::CommandLine;
using config::Findings;
using config::LocalDetectors;
using config::NodeAddressFacts;
using config::NodeIps;
using config::of;
using config::ProxyConfig;
using config::ProxyMode;
using config::SyncPeriods;

constexpr std::chrono::seconds kNodeWait{30};
constexpr std::chrono::seconds kPodCidrWait{300};
constexpr std::chrono::minutes kDriftRepairInterval{10};
constexpr std::chrono::seconds kLastWords{3};           // for events when the program ends because of what they tell
constexpr std::chrono::seconds kListenLocallyAgain{5};  // on a restart the process before us may still be ending

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// Of the configuration file; empty if it cannot be read, as while an editor replaces it.
std::string text_of(const std::string& path) {
  auto text = read_file(path, config::kConfigFileBytesMax);
  return text ? std::move(*text) : "";
}

class Server {
 public:
  explicit Server(const CommandLine& command)
      : command_(command),
        config_(command.config),
        periods_(sync_periods(command.config)),
        health_(system_clock(), 2 * periods_.period) {}

  ~Server() {
    gate_.close();
    {
      const MutexLock lock(control_mutex_);
      control_pointer_ = nullptr;
    }
    control_.reset();
    work_.reset();
    loop_.stop();
    if (loop_thread_.joinable()) loop_thread_.join();
    if (config_descriptor_ && config_descriptor_->is_open()) config_descriptor_->release();
  }
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  Result<int> run() {
    SLUICE_TRY(node_name_, node_name(config_, host_name()));
    SLUICE_CHECK_OK(make_source());
    router_.add(
        "/status", {{"form", {"text", "wide", "json"}}},
        [this](const view::Request& request, view::Router::Reply reply) { answer_status(request, std::move(reply)); });
    listen_locally(true);
    watch_signals();
    watch_config_file();
    loop_thread_ = std::thread([this] { loop_.run(); });
    SLUICE_LOG_INFO("Sluice starts", {"version", SLUICE_VERSION}, {"node", node_name_}, {"source", source_words_});
    SLUICE_CHECK_OK(learn_node());
    if (ending_) return exit_status_.load();
    SLUICE_CHECK_OK(prepare_families());
    apply_conntrack_settings(config_);
    SLUICE_CHECK_OK(check_configuration());
    SLUICE_CHECK_OK(make_data_planes());
    if (command_.init_only) {
      for (const Family family : families_)
        SLUICE_LOG_INFO("System initialized and --init-only specified", {"ipFamily", to_string(family)});
      return 0;
    }
    apply_oom_score(config_);
    if (auto started = start_servers(); !started) {
      if (events_) events_->flush(kLastWords);
      return tl::unexpected(started.error());
    }
    make_control_loop();
    if (!ending_) control_->run();
    return exit_status_.load();
  }

 private:
  // ---- before the control loop
  // -------------------------------------------------------------------------------------------------

  Result<> make_source() {
    kube::SourceHooks hooks;
    hooks.on_update = [this](model::Update&& update) { gate_.pass(std::move(update)); };
    hooks.on_request = [this](std::string_view code, std::string_view method, std::string_view host) {
      metrics_.add_rest_request(code, method, host);
    };
    hooks.on_refused = [this](std::string_view kind) { metrics_.add_refused_object(kind); };
    if (!command_.sluice.manifests.empty()) {
      source_words_ = "files in " + command_.sluice.manifests;
      source_ = kube::make_file_source(loop_, command_.sluice.manifests,
                                       kept_manifests_folder(command_.sluice.data_dir), node_name_, std::move(hooks));
    } else {
      SLUICE_TRY(const kube::ClientConfig client, client_config());
      // A name is left out: no Service can claim that.
      if (const auto address = IpAddress::parse(client.target.host)) api_server_addresses_.push_back(*address);
      source_words_ = "API server " + client.server();
      events_ = kube::make_event_sink(loop_, client, node_name_, hooks);
      source_ = kube::make_api_source(loop_, client, node_name_, std::move(hooks));
    }
    boost::asio::post(loop_, [this] { source_->start(); });
    return {};
  }

  Result<kube::ClientConfig> client_config() const {
    for (const char* name : {"HTTPS_PROXY", "https_proxy"}) {
      if (std::getenv(name) == nullptr) continue;
      SLUICE_LOG_WARNING("A proxy is not used, the API server is connected to directly", {"variable", name});
    }
    const std::string& path = config_.client_connection.kubeconfig;
    if (!path.empty()) return kube::load_kubeconfig(path, command_.master);
    if (!command_.master.empty()) return kube::master_config(command_.master);
    SLUICE_LOG_INFO("Neither kubeconfig file nor master URL was specified, falling back to in-cluster config");
    return kube::in_cluster_config();
  }

  void watch_signals() {
    signals_.async_wait([this](boost::system::error_code error, int number) {
      if (!error) end(0, fmt::format("signal {}", number));
    });
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

  // kube-proxy ends when its configuration file is written, and expects to be started again. The symlink swap of a
  // ConfigMap volume is not such a write.
  void watch_config_file() {
    if (command_.config_path.empty()) return;
    const std::size_t slash = command_.config_path.rfind('/');
    const std::string folder =
        slash == std::string::npos ? "." : command_.config_path.substr(0, std::max<std::size_t>(slash, 1));
    auto watch = sys::FolderWatch::open(folder);
    if (!watch) {
      SLUICE_LOG_WARNING("Cannot watch the configuration file, a change needs a restart",
                         {"file", command_.config_path}, {"err", watch.error().what});
      return;
    }
    config_text_ = text_of(command_.config_path);
    config_watch_.emplace(std::move(*watch));
    config_descriptor_.emplace(loop_, config_watch_->fd());
    wait_for_config_change(command_.config_path.substr(slash == std::string::npos ? 0 : slash + 1));
  }

  void wait_for_config_change(const std::string& name) {
    config_descriptor_->async_wait(
        boost::asio::posix::descriptor_base::wait_read, [this, name](boost::system::error_code error) {
          if (error) return;
          const auto names = config_watch_->read_names();
          const bool touched = names && std::find(names->begin(), names->end(), name) != names->end();
          const std::string text = touched ? text_of(command_.config_path) : "";
          if (touched && !text.empty() && text != config_text_)
            return end(1, "content of the proxy server's configuration file was updated");
          wait_for_config_change(name);
        });
  }

  Result<> learn_node() {
    const bool files = !command_.sluice.manifests.empty();
    node_ = gate_.wait(kNodeWait, files, [](const model::Node& node) {
      return !node.internal_ips.empty() || !node.external_ips.empty();
    });
    if (config_.detect_local_mode == "NodeCIDR" && !ending_) {
      node_ = gate_.wait(kPodCidrWait, files, [](const model::Node& node) { return !node.pod_cidrs.empty(); });
      if (!ending_ && (!node_ || node_->pod_cidrs.empty())) {
        return fail(
            Errc::kUnavailable,
            fmt::format("timed out waiting for podCIDRs of node \"{}\" (detectLocalMode NodeCIDR)", node_name_));
      }
    }
    if (ending_) return {};
    NodeAddressFacts facts;
    facts.bind_address = config_.bind_address;
    if (node_) {
      facts.internal_ips = node_->internal_ips;
      facts.external_ips = node_->external_ips;
    }
    if (files && facts.internal_ips.empty() && facts.external_ips.empty()) facts.internal_ips = own_addresses();
    node_ips_ = config::detect_node_ips(facts);
    if (node_ips_.loopback_assumed) {
      SLUICE_LOG_ERROR(
          "Can't determine this node's IP, assuming loopback; if this is incorrect, please set the --bind-address flag",
          {"node", node_name_});
    } else {
      SLUICE_LOG_INFO("Successfully retrieved NodeIPs", {"IPv4", of(node_ips_.by_family, Family::kIPv4).to_string()},
                      {"IPv6", of(node_ips_.by_family, Family::kIPv6).to_string()});
    }
    return {};
  }

  // Without an API server nobody tells which of the addresses is the node's: the first of each family that others can
  // reach.
  static std::vector<IpAddress> own_addresses() {
    std::vector<IpAddress> result;
    for (const Family family : kFamilies) {
      for (const IpAddress& address : local_addresses()) {
        if (address.family() != family || address.is_loopback() || address.is_link_local()) continue;
        result.push_back(address);
        break;
      }
    }
    return result;
  }

  // Without a word nobody would know why such a node port does not answer.
  void note_loopback_node_ports() const {
    for (const std::string& text : node_port_cidrs_) {
      const auto cidr = Cidr::parse(text);
      if (!cidr || cidr->is_zero() || !cidr->address().is_loopback()) continue;
      const bool six = cidr->address().family() == Family::kIPv6;
      if (!six && config_.iptables.localhost_node_ports.value_or(true)) continue;
      SLUICE_LOG_ERROR(
          "A nodePortAddresses entry is left out", {"cidr", text},
          {"reason", six ? "node ports are not served on IPv6 loopback" : "iptables.localhostNodePorts is false"});
    }
  }

  Result<> prepare_families() {
    if (!command_.mode_named) SLUICE_LOG_INFO("Using iptables proxy");  // as kube-proxy says where no mode is named
    SLUICE_TRY(mode_, Mode::of(config_, command_.sluice));
    ByFamily<bool> supported{};
    ByFamily<std::string> reasons;
    for (const Family family : kFamilies) {
      const auto probed = mode_->probe(family);
      of(supported, family) = static_cast<bool>(probed);
      if (!probed) of(reasons, family) = probed.error().what;
    }
    auto chosen = config::choose_families(node_ips_.primary, supported);
    if (!chosen)
      return annotate(chosen.error(), fmt::format("mode {} is not available on this host: {}",
                                                  to_string(proxy_mode(config_)), of(reasons, node_ips_.primary)));
    families_ = std::move(*chosen);
    if (families_.size() == 2) {
      SLUICE_LOG_INFO("kube-proxy running in dual-stack mode", {"primary ipFamily", to_string(families_.front())});
    } else {
      SLUICE_LOG_INFO("kube-proxy running in single-stack mode", {"ipFamily", to_string(families_.front())},
                      {"reason", of(reasons, config::other_family(families_.front()))});
    }
    node_port_cidrs_ = expand_node_port_addresses(config_, node_ips_);
    note_loopback_node_ports();
    return {};
  }

  Result<> check_configuration() const {
    const ClusterFacts facts{families_.front(), families_.size() == 2, node_ ? node_->pod_cidrs : std::vector<Cidr>{},
                             node_port_cidrs_};
    for (const Findings& findings : {check_node_ports(config_, facts), check_families(config_, facts)}) {
      for (const std::string& problem : findings.problems)
        SLUICE_LOG_ERROR("Kube-proxy configuration may be incomplete or incorrect", {"err", problem});
      if (findings.fatal) return fail(Errc::kInvalid, findings.fatal_text());
    }
    return {};
  }

  Result<> make_data_planes() {
    const LocalDetectors detectors =
        local_detectors(config_, node_ ? node_->pod_cidrs : std::vector<Cidr>{}, families_.front());
    if (!detectors.notice.empty()) SLUICE_LOG_INFO(detectors.notice);
    SLUICE_CHECK_OK(mode_->prepare_node());
    const std::string name(to_string(proxy_mode(config_)));
    for (const Family family : families_) {
      SLUICE_TRY(auto data_plane,
                 mode_->make({family, of(detectors.by_family, family), localhost_node_ports(config_, node_port_cidrs_),
                              api_server_addresses_}));
      SLUICE_LOG_INFO(fmt::format("Using {} Proxier", name), {"ipFamily", to_string(family)},
                      {"flavour", mode_->flavour()},
                      {"why", command_.mode_named ? fmt::format("mode {} is configured", name)
                                                  : "no mode is configured, iptables is the default"});
      data_planes_.push_back(std::move(data_plane));
      metrics_.expect(family, proxy_mode(config_) == ProxyMode::kIptables);
    }
    return {};
  }

  void remove_other_modes() {
    const CleanupReport report = mode_->remove_others();
    for (const std::string& text : report.removed) SLUICE_LOG_INFO("Removed what another mode left", {"what", text});
    for (const std::string& text : report.problems)
      SLUICE_LOG_WARNING("Could not remove what another mode left, going on", {"err", text});
    if (!report.again_in) return;
    SLUICE_LOG_V(1, "Another mode still carries connections, looking again",
                 {"after", fmt::format("{}s", report.again_in->count())});
    leftovers_timer_.expires_after(*report.again_in);
    leftovers_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) remove_other_modes();
    });
  }

  // ---- servers
  // -----------------------------------------------------------------------------------------------------------------

  void post_event(bool warning, const std::string& reason, const std::string& action, const std::string& note) {
    if (!events_) return;
    kube::EventNote event;
    event.warning = warning;
    event.reason = reason;
    event.action = action;
    event.note = note;
    event.regarding = {"", node_name_};
    event.regarding_uid = node_ ? node_->uid : "";
    events_->post(std::move(event));
  }

  void post_refusal(const dataplane::Refusal& refusal) {
    if (!events_) return;
    kube::EventNote event;
    event.warning = true;
    event.reason = "AddressRefused";
    event.action = "Serve";
    event.note = fmt::format("node {} does not serve {}: {}", node_name_, refusal.address.to_string(), refusal.reason);
    event.regarding_kind = "Service";
    event.regarding = refusal.port.service;
    events_->post(std::move(event));
  }

  Result<observe::ServerOptions> server_options(const std::string& address, const char* what,
                                                const char* event_reason) {
    SLUICE_TRY(const observe::ListenOn listen_on, observe::parse_listen_on(address));
    observe::ServerOptions options;
    options.listen_on = listen_on;
    options.hard_fail = config_.bind_address_hard_fail;
    options.on_failure = [this, what, event_reason](const std::string& text) {
      SLUICE_LOG_ERROR(
          config_.bind_address_hard_fail ? "A server cannot listen" : "A server cannot listen, trying again",
          {"server", what}, {"err", text});
      if (config_.bind_address_hard_fail) post_event(true, event_reason, "StartKubeProxy", text);
    };
    return options;
  }

  Result<> start_servers() {
    if (!config_.healthz_bind_address.empty()) {
      SLUICE_TRY(auto options,
                 server_options(config_.healthz_bind_address, "healthz", "FailedToStartProxierHealthcheck"));
      SLUICE_TRY(healthz_server_, observe::start_healthz_server(loop_, std::move(options), health_, metrics_));
    }
    SLUICE_TRY(auto options, server_options(config_.metrics_bind_address, "metrics", "FailedToStartMetricServer"));
    observe::MetricsPages pages;
    pages.proxy_mode = to_string(proxy_mode(config_));
    pages.configz = [this] { return configz_json(config_); };
    if (config::gate_enabled(config_.feature_gates, "ComponentFlagz")) pages.flagz = command_.flag_values;
    if (config::gate_enabled(config_.feature_gates, "ComponentStatusz"))
      pages.emulation_version = config::kKubernetesMinorVersion;
    pages.profiling = config_.enable_profiling;
    pages.set_verbosity = [](int verbosity) { log::set_verbosity(verbosity); };
    SLUICE_TRY(metrics_server_, observe::start_metrics_server(loop_, std::move(options), metrics_, pages));
    start_health_checks();
    return {};
  }

  void listen_locally(bool first) {
    auto local = net::LocalServer::listen(
        loop_, std::string(kLocalSocket),
        [this](const std::string& line, net::LocalServer::Reply reply) { router_.route(line, std::move(reply)); });
    if (local) {
      local_server_ = std::move(*local);
      return;
    }
    if (first)
      SLUICE_LOG_WARNING("`sluice status` will not find this proxy, trying again", {"err", local.error().what});
    local_timer_.expires_after(kListenLocallyAgain);
    local_timer_.async_wait([this](boost::system::error_code error) {
      if (!error) listen_locally(false);
    });
  }

  void start_health_checks() {
    ByFamily<dataplane::NodePortAddresses> addresses;
    const std::vector<IpAddress> local = local_addresses();
    for (const Family family : families_)
      of(addresses, family) = config::node_port_addresses(family, node_port_cidrs_, local);
    health_checks_.emplace(
        loop_, health_, config::health_check_addresses(families_, addresses),
        [this](const observe::HealthCheck& check, const std::string& text) {
          const std::string note = fmt::format("node {} failed to start healthcheck \"{}/{}\" on port {}: {}",
                                               node_name_, check.namespace_name, check.name, check.port, text);
          SLUICE_LOG_ERROR("Failed to start healthcheck", {"service", check.namespace_name + "/" + check.name},
                           {"port", check.port}, {"err", text});
          if (!events_) return;
          kube::EventNote event;
          event.warning = true;
          event.reason = "FailedToStartServiceHealthcheck";
          event.action = "Listen";
          event.note = note;
          event.regarding_kind = "Service";
          event.regarding = {check.namespace_name, check.name};
          events_->post(std::move(event));
        });
  }

  // `sluice status`: on the loop's thread; the comparison comes from the control loop's.
  void answer_status(const view::Request& request, view::Router::Reply reply) {
    const auto asked = request.parameters.find("form");
    const std::string form = asked == request.parameters.end() ? "text" : asked->second;
    const auto respond = [form, reply = std::move(reply)](const view::Status& status) {
      const auto now = system_clock().wall_now();
      const auto width = form == "wide" ? view::Width::kWide : view::Width::kNarrow;
      reply({false, serves_as_wanted(status) ? 0 : 1,
             form == "json" ? status_json(status, now) : status_text(status, width, now)});
    };
    view::ProcessFacts facts{static_cast<int>(::getpid()),
                             std::string(to_string(proxy_mode(config_))),
                             "",
                             node_name_,
                             source_words_,
                             started_};
    const MutexLock lock(control_mutex_);
    if (control_pointer_ == nullptr) return respond(view::starting_status(std::move(facts), {}));
    facts.flavour = mode_->flavour();
    // The answer comes on the control loop's thread, at the latest from its destructor: it lives until then, while
    // control_pointer_ may be null already.
    sync::ControlLoop* control = control_pointer_;
    control->compare([control, facts, respond](const std::vector<sync::FamilyComparison>& comparisons) {
      respond(view::make_status(facts, {}, control->status(), comparisons));
    });
  }

  // ---- the control loop
  // --------------------------------------------------------------------------------------------------------

  void make_control_loop() {
    sync::LoopSettings settings;
    settings.sync_period = periods_.period;
    settings.min_sync_period = periods_.min;
    settings.drift_repair_interval =
        command_.sluice.drift_repair ? std::chrono::nanoseconds(kDriftRepairInterval) : std::chrono::nanoseconds(0);
    settings.plan.node_name = node_name_;
    const auto gate = config_.feature_gates.find("AllowServiceExternalIPs");
    settings.plan.allow_external_ips = gate == config_.feature_gates.end() || gate->second;
    for (const Family family : families_) of(settings.facts.node_ip, family) = of(node_ips_.by_family, family);
    if (node_) {
      const auto zone = node_->labels.find(std::string(model::kZoneLabel));
      if (zone != node_->labels.end()) settings.facts.zone = zone->second;
    }
    if (config_.detect_local_mode == "NodeCIDR" && node_) settings.pod_cidrs = node_->pod_cidrs;
    settings.process_start = started_;
    sync::LoopHooks hooks = sync::kernel_hooks();
    hooks.sync_health_checks = [this](std::vector<observe::HealthCheck> checks) {
      health_checks_->sync(std::move(checks));
    };
    if (!node_port_cidrs_.empty()) {
      hooks.node_port_addresses = [this](Family family) {
        return config::node_port_addresses(family, node_port_cidrs_, local_addresses());
      };
    }
    // On the event loop's thread, so that the control loop goes on.
    hooks.first_synced = [this] { boost::asio::post(loop_, [this] { remove_other_modes(); }); };
    hooks.address_refused = [this](const dataplane::Refusal& refusal) { post_refusal(refusal); };
    hooks.fatal = [this](const std::string& why) { end(1, why); };
    auto control = std::make_unique<sync::ControlLoop>(std::move(settings), std::move(hooks), system_clock(), metrics_,
                                                       health_, std::move(data_planes_));
    {
      const MutexLock lock(control_mutex_);
      control_ = std::move(control);
      control_pointer_ = control_.get();
      if (ending_) control_pointer_->stop();
    }
    gate_.open([this](model::Update&& update) { control_->post(std::move(update)); });
    post_event(false, "Starting", "StartKubeProxy", "");
  }

  const CommandLine& command_;
  const ProxyConfig& config_;
  const SyncPeriods periods_;
  const Clock::WallTime started_ = system_clock().wall_now();
  std::string node_name_;
  std::string source_words_;
  std::unique_ptr<Mode> mode_;
  std::vector<IpAddress> api_server_addresses_;
  NodeIps node_ips_;
  std::optional<model::Node> node_;
  std::vector<Family> families_;  // the primary one first
  std::vector<std::string> node_port_cidrs_;

  std::atomic<bool> ending_{false};
  std::atomic<int> exit_status_{0};
  observe::Metrics metrics_;
  observe::Health health_;
  NodeGate gate_;
  std::vector<std::unique_ptr<dataplane::DataPlane>> data_planes_;

  net::EventLoop loop_{1};
  boost::asio::executor_work_guard<net::EventLoop::executor_type> work_{loop_.get_executor()};
  boost::asio::signal_set signals_{loop_, SIGTERM, SIGINT};
  boost::asio::steady_timer leftovers_timer_{loop_};
  boost::asio::steady_timer local_timer_{loop_};
  std::string config_text_;
  std::optional<sys::FolderWatch> config_watch_;
  std::optional<boost::asio::posix::stream_descriptor> config_descriptor_;
  std::unique_ptr<kube::EventSink> events_;
  std::unique_ptr<kube::Source> source_;
  std::unique_ptr<observe::ObserveServer> healthz_server_;
  std::unique_ptr<observe::ObserveServer> metrics_server_;
  std::optional<observe::HealthCheckServer> health_checks_;
  view::Router router_;
  std::unique_ptr<net::LocalServer> local_server_;

  Mutex control_mutex_;
  sync::ControlLoop* control_pointer_ SLUICE_GUARDED_BY(control_mutex_) = nullptr;
  std::unique_ptr<sync::ControlLoop> control_;
  std::thread loop_thread_;
};

}  // namespace

int serve(const config::CommandLine& command) {
  std::signal(SIGPIPE, SIG_IGN);
  Server server(command);
  const auto status = server.run();
  if (status) return *status;
  SLUICE_LOG_ERROR("Error running ProxyServer", {"err", status.error().what});
  return 1;
}

}  // namespace sluice::daemon
