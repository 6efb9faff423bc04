// SPDX-License-Identifier: Apache-2.0
#include "ipvs/admission.h"

#include <cerrno>
#include <limits>

namespace sluice::ipvs {
namespace {

constexpr std::uint32_t kSignedMax = std::numeric_limits<std::int32_t>::max();

}  // namespace

int refusal_of_names(const VirtualServer& server) {
  const bool too_long =
      server.scheduler.size() > kSchedulerNameMax || server.persistence_engine.size() > kPersistenceEngineNameMax;
  return too_long ? EINVAL : 0;
}

int refusal_of_settings(const VirtualServer& server, bool scheduler_known, bool persistence_engine_known) {
  if (server.scheduler != kNoScheduler && !scheduler_known) return ENOENT;
  if (!server.persistence_engine.empty() && !persistence_engine_known) return ENOENT;
  const bool prefix_fits = server.persistence_mask >= 1 && server.persistence_mask <= 128;
  return server.key.family == Family::kIPv6 && !prefix_fits ? EINVAL : 0;
}

int refusal_of_settings(const VirtualServerKey& of, const RealServer& server, bool sync_daemon_runs) {
  if (server.key.family != of.family && (server.method != ForwardMethod::kTunnel || sync_daemon_runs)) return EINVAL;
  if (server.weight < 0) return ERANGE;
  if (server.lower_threshold > server.upper_threshold) return ERANGE;
  if (server.upper_threshold > kSignedMax) return EINVAL;
  return server.tunnel.type == TunnelType::kGue && server.tunnel.port == 0 ? EINVAL : 0;
}

// IPv4 by route type: unicast and local addresses pass. IPv6 by inet6_addr_type: unicast that is not link-local passes.
bool may_be_real_server(const RealServerKey& key) {
  if (key.address.is_multicast() || key.address.is_unspecified()) return false;
  if (key.family == Family::kIPv6) return !key.address.is_link_local();
  return key.address != IpAddress::from_v4(0xffffffff);
}

}  // namespace sluice::ipvs
