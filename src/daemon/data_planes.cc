// SPDX-License-Identifier: Apache-2.0
// A mode is a way to make data planes, and a way to sweep up after the other modes. Sweeping comes after the first sync: until then what an
// earlier process left goes on serving.
#include "daemon/data_planes.h"

#include <fmt/format.h>

#include "daemon/kernel_settings.h"
#include "dataplane/iptables/iptables_data_plane.h"

namespace sluice::daemon {
namespace {

class IptablesMode : public Mode {
 public:
  IptablesMode(const ProxyConfig& config, const SluiceConfig& sluice) : config_(config), sluice_(sluice) {}

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
    return data_plane;
  }

  [[nodiscard]] std::string flavour() const override { return flavour_; }

  CleanupReport remove_others() override { return clean_up_nftables(); }

 private:
  [[nodiscard]] std::string option() const {
    switch (sluice_.iptables.flavour) {
      case IptablesFlavour::kNft: return "nft";
      case IptablesFlavour::kLegacy: return "legacy";
      case IptablesFlavour::kAuto: return "auto";
    }
    return "auto";
  }

  const ProxyConfig& config_;
  const SluiceConfig& sluice_;
  std::string flavour_;
};

}  // namespace

Result<std::unique_ptr<Mode>> Mode::of(const ProxyConfig& config, const SluiceConfig& sluice) {
  switch (proxy_mode(config)) {
    case ProxyMode::kIptables: return std::unique_ptr<Mode>(std::make_unique<IptablesMode>(config, sluice));
    case ProxyMode::kIpvs:
    case ProxyMode::kNftables: break;
  }
  return fail(Errc::kUnsupported, fmt::format("mode \"{}\" cannot be served by this version; iptables can", config.mode));
}

}  // namespace sluice::daemon
