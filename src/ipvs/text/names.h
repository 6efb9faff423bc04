// SPDX-License-Identifier: Apache-2.0
// Names of hosts and of ports, both ways. Injected, because the results depend on the machine's files and its name
// servers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/ip.h"

namespace sluice::ipvs::text {

class Names {
 public:
  virtual ~Names() = default;
  virtual std::optional<IpAddress> host_address(const std::string& name) = 0;  // the first IPv4 one
  virtual std::optional<std::uint16_t> service_port(const std::string& name, std::uint16_t protocol) = 0;
  virtual std::optional<std::string> host_name(Family family, const IpAddress& address) = 0;
  virtual std::optional<std::string> service_name(std::uint16_t port, std::uint16_t protocol) = 0;
};

// The C library's: hosts file, services file, name servers. For one thread. May block as long as a name server
// does.
class SystemNames : public Names {
 public:
  std::optional<IpAddress> host_address(const std::string& name) override;
  std::optional<std::uint16_t> service_port(const std::string& name, std::uint16_t protocol) override;
  std::optional<std::string> host_name(Family family, const IpAddress& address) override;
  std::optional<std::string> service_name(std::uint16_t port, std::uint16_t protocol) override;
};

}  // namespace sluice::ipvs::text
