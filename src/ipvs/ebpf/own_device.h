// SPDX-License-Identifier: Apache-2.0
// sluice0: where packets to a cluster IP are routed that have met no hook of ours before, the node's own above all. Its egress hook serves them or
// refuses them, and nothing ever leaves it. It has routes, one for each address, and no addresses: the node owns none of the virtual servers'.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "base/ip.h"
#include "base/result.h"

namespace sluice::ipvs::ebpf {

inline constexpr const char* kOwnDevice = "sluice0";
// Of its routes: `ip route show proto 183`. In no list of /etc/iproute2/rt_protos.
inline constexpr std::uint8_t kRouteProtocol = 183;

class OwnDevice {
 public:
  // Makes what is missing of the device, not of the routes; its number.
  static Result<int> ensure();
  // Whether it is there and sends.
  static Result<bool> intact();
  // The device, and so its routes. Succeeds if there is none.
  static Result<> remove();
  // The addresses that are routed to it.
  static Result<std::vector<IpAddress>> addresses(Family family);

  // Makes the routes of that family exactly these. The device must be there. Returns how many were written. An address to which another program has a
  // route is left to that.
  Result<std::size_t> replace(Family family, std::span<const IpAddress> wanted);
  // Adds, then removes.
  Result<std::size_t> change(Family family, std::span<const IpAddress> add, std::span<const IpAddress> remove);
  // After links or addresses of the node have changed: what the kernel has taken away with them, the source of the node's own packets, and
  // the MTU. Makes the device again where it was removed. Its number, 0 where there is to be none. Cheap where nothing is to be done.
  Result<int> follow();

 private:
  // Whether routes were lost, or have another source than they must have now.
  Result<bool> needs_routes(Family family);
  // Routes as they must be now: nothing of `wanted` is missing, and no other is there.
  Result<std::size_t> set(Family family);
  std::set<IpAddress>& wanted(Family family) { return wanted_[family == Family::kIPv4 ? 0 : 1]; }

  std::set<IpAddress> wanted_[2];
  std::optional<IpAddress> source_[2];  // of the routes
  bool known_[2] = {false, false};      // whether replace() has said what is wanted
};

}  // namespace sluice::ipvs::ebpf
