// SPDX-License-Identifier: Apache-2.0
// A mode is a way to make data planes, and a way to sweep up after the other modes. Sweeping comes after the first
// sync: until then what an earlier process left goes on serving.
#include "daemon/data_planes.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <optional>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/kernel_settings.h"
#include "dataplane/iptables/iptables_data_plane.h"
#include "dataplane/ipvs/ipvs_data_plane.h"
#include "dataplane/ipvs/ipvs_sysctls.h"
#include "dataplane/ipvs/wanted.h"
#include "ipvs/engines/open_engine.h"
#include "sys/addresses.h"
#include "sys/links.h"

namespace sluice::daemon {
namespace {

// Between two looks at whether IPVS still carries connections after the node has left mode ipvs.
constexpr std::chrono::seconds kIpvsLookInterval{10};

bool ipvs_carries_connections() {
  const auto engine = ipvs::engines::open_engine("kernel");
  if (!engine) return false;
  std::uint64_t active = 0;
  const auto listed = (*engine)->list(ipvs::every_virtual_server, [&active](const ipvs::VirtualServerState& state) {
    for (const ipvs::RealServerState& real_server : state.real_servers) active += real_server.active_connections;
  });
  return listed && active > 0;
}

class IptablesMode : public Mode {
 public:
  IptablesMode(const config::ProxyConfig& config, const config::SluiceConfig& sluice)
      : config_(config), sluice_(sluice) {}

  Result<> probe(Family family) override { return dataplane::iptables::probe(family, option()); }

  Result<std::unique_ptr<dataplane::DataPlane>> make(const DataPlaneSettings& settings) override {
    dataplane::iptables::Options options;
    options.family = settings.family;
    options.masquerade = {settings.detector, masquerade_all(config_)};
    options.masquerade_bit = static_cast<unsigned>(masquerade_bit(config_));
    options.localhost_node_ports = settings.localhost_node_ports;
    options.flavour = option();
    if (settings.localhost_node_ports && settings.family == Family::kIPv4) allow_localhost_node_ports();
    SLUICE_TRY(auto data_plane, dataplane::iptables::IptablesDataPlane::open(options));
    flavour_ = to_string(data_plane->tool().flavour);
    flavours_.emplace_back(settings.family, data_plane->tool().flavour);
    return data_plane;
  }

  [[nodiscard]] std::string flavour() const override { return flavour_; }

  CleanupReport remove_others() override {
    CleanupReport report = clean_up_nftables();
    // Packets pass both flavours: what a proxy before us wrote with the other one would send them to old endpoints. And
    // by the first sync our rules no longer refer to what kube-proxy's mode ipvs had.
    append(report, clean_up_beside_iptables(flavours_));
    if (const auto device = sys::link_exists(dataplane::ipvs::kServiceDevice); !device || !*device) return report;
    // New connections are ours by now, those that IPVS carries end there.
    const auto now = system_clock().steady_now();
    if (!leaving_ipvs_until_) leaving_ipvs_until_ = now + sluice_.ipvs.drain_timeout;
    if (now < *leaving_ipvs_until_ && ipvs_carries_connections()) {
      report.again_in = kIpvsLookInterval;
      return report;
    }
    append(report, clean_up_ipvs(sluice_.data_dir));
    return report;
  }

 private:
  [[nodiscard]] std::string option() const {
    switch (sluice_.iptables.flavour) {
      case config::IptablesFlavour::kNft:
        return "nft";
      case config::IptablesFlavour::kLegacy:
        return "legacy";
      case config::IptablesFlavour::kAuto:
        return "auto";
    }
    return "auto";
  }

  const config::ProxyConfig& config_;
  const config::SluiceConfig& sluice_;
  std::string flavour_;
  ServingFlavours flavours_;
  std::optional<Clock::SteadyTime> leaving_ipvs_until_;
};

class IpvsMode : public Mode {
 public:
  IpvsMode(const config::ProxyConfig& config, const config::SluiceConfig& sluice) : config_(config), sluice_(sluice) {}

  Result<> probe(Family family) override {
    SLUICE_CHECK_OK(ipvs::engines::open_engine(engine_option()));
    if (family == Family::kIPv6 && ::access("/proc/net/if_inet6", F_OK) != 0)
      return fail(Errc::kUnsupported, "this kernel has no IPv6");
    dataplane::ipvs::HelperSettings settings;
    settings.family = family;
    SLUICE_CHECK_OK(dataplane::ipvs::open_helper_table(settings));
    return {};
  }

  Result<> prepare_node() override {
    namespace dp = dataplane::ipvs;
    const dp::SysctlReport report = dp::apply_sysctls(dp::wanted_sysctls(config_.ipvs.strict_arp, dp::kernel_version()),
                                                      state_folder(sluice_.data_dir));
    for (const dp::SysctlSetting& setting : report.changed)
      SLUICE_LOG_INFO("Set sysctl", {"entry", setting.name}, {"value", setting.value});
    for (const Error& problem : report.problems) {
      SLUICE_LOG_ERROR("Could not write a kernel setting that mode ipvs needs, keeping the kernel's value",
                       {"err", problem.what});
    }
    return {};
  }

  Result<std::unique_ptr<dataplane::DataPlane>> make(const DataPlaneSettings& settings) override {
    dataplane::ipvs::Options options;
    options.family = settings.family;
    options.scheduler = config_.ipvs.scheduler;
    for (const std::string& text : config_.ipvs.exclude_cidrs) {
      if (const auto cidr = Cidr::parse(text)) options.exclude_cidrs.push_back(*cidr);  // validated before
    }
    options.drain_timeout = std::chrono::duration_cast<std::chrono::milliseconds>(sluice_.ipvs.drain_timeout);
    options.localhost_node_ports = settings.localhost_node_ports;
    options.api_server_addresses = settings.api_server_addresses;
    options.timeouts = {seconds(config_.ipvs.tcp_timeout), seconds(config_.ipvs.tcp_fin_timeout),
                        seconds(config_.ipvs.udp_timeout)};
    options.state_folder = state_folder(sluice_.data_dir);
    options.warn = [](const dataplane::ipvs::Warning& warning) {
      SLUICE_LOG_WARNING("Mode ipvs", {"service", warning.service ? warning.service->to_string() : ""},
                         {"why", warning.what});
    };
    SLUICE_TRY(auto engine, ipvs::engines::open_engine(engine_option()));
    flavour_ = engine->name();
    dataplane::ipvs::HelperSettings helper;
    helper.family = settings.family;
    helper.masquerade = {settings.detector, masquerade_all(config_)};
    helper.masquerade_bit = static_cast<unsigned>(masquerade_bit(config_));
    SLUICE_TRY(auto table, dataplane::ipvs::open_helper_table(helper));
    SLUICE_TRY(auto data_plane,
               dataplane::ipvs::IpvsDataPlane::open(std::move(options), std::move(engine), std::move(table)));
    return data_plane;
  }

  [[nodiscard]] std::string flavour() const override { return flavour_; }

  CleanupReport remove_others() override {
    CleanupReport report = clean_up_iptables();
    append(report, clean_up_nftables());
    return report;
  }

 private:
  static std::uint32_t seconds(config::Duration duration) {
    return static_cast<std::uint32_t>(std::chrono::duration_cast<std::chrono::seconds>(duration).count());
  }
  [[nodiscard]] std::string_view engine_option() const {
    switch (sluice_.ipvs.engine) {
      case config::IpvsEngine::kAuto:
        return "auto";
      case config::IpvsEngine::kKernel:
        return "kernel";
      case config::IpvsEngine::kEbpf:
        return "ebpf";
    }
    return "auto";
  }

  const config::ProxyConfig& config_;
  const config::SluiceConfig& sluice_;
  std::string flavour_;
};

}  // namespace

Result<std::unique_ptr<Mode>> Mode::of(const config::ProxyConfig& config, const config::SluiceConfig& sluice) {
  switch (proxy_mode(config)) {
    case config::ProxyMode::kIptables:
      return std::unique_ptr<Mode>(std::make_unique<IptablesMode>(config, sluice));
    case config::ProxyMode::kIpvs:
      return std::unique_ptr<Mode>(std::make_unique<IpvsMode>(config, sluice));
    case config::ProxyMode::kNftables:
      break;
  }
  return fail(Errc::kUnsupported,
              fmt::format("mode \"{}\" cannot be served by this version; iptables and ipvs can", config.mode));
}

std::vector<IpAddress> local_addresses() {
  std::vector<IpAddress> addresses;
  const auto listed = sys::list_addresses();
  if (!listed) {
    SLUICE_LOG_ERROR("Could not list this node's addresses", {"err", listed.error().what});
    return addresses;
  }
  for (const sys::InterfaceAddress& entry : *listed) {
    if (entry.interface != dataplane::ipvs::kServiceDevice) addresses.push_back(entry.address);
  }
  return addresses;
}

}  // namespace sluice::daemon
