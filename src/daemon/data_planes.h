// SPDX-License-Identifier: Apache-2.0
// From the configured mode to data planes: the one place of the daemon that knows every mode.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "daemon/cleanup.h"
#include "dataplane/dataplane.h"

namespace sluice::daemon {

struct DataPlaneSettings {
  Family family = Family::kIPv4;
  plan::LocalDetector detector;
  bool localhost_node_ports = false;
  std::vector<IpAddress> api_server_addresses;  // never taken by a Service
};

class Mode {
 public:
  virtual ~Mode() = default;
  // Refers to the configurations, which outlive it. kUnsupported for a mode that this program does not have.
  static Result<std::unique_ptr<Mode>> of(const config::ProxyConfig& config, const config::SluiceConfig& sluice);

  // Can this node serve the family in this mode? kUnsupported says what is missing.
  virtual Result<> probe(Family family) = 0;
  virtual Result<std::unique_ptr<dataplane::DataPlane>> make(const DataPlaneSettings& settings) = 0;
  // How the mode is done here, once a data plane was made: "nft", "legacy", "kernel".
  [[nodiscard]] virtual std::string flavour() const = 0;
  // Kernel settings and the like that belong to the whole node, before the first data plane serves.
  virtual Result<> prepare_node() { return {}; }
  // Takes away what the other modes left, now that they serve no one.
  virtual CleanupReport remove_others() = 0;
};

// This node's own addresses. Those that mode ipvs binds for Services are left out: they come and go with the Services,
// and within nodePortAddresses each would look like a change of the node, which costs a full sync. Empty, with an error
// in the log, where they cannot be listed.
std::vector<IpAddress> local_addresses();

}  // namespace sluice::daemon
