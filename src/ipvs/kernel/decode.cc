// SPDX-License-Identifier: Apache-2.0
// The mirror of encode.cc. Counters come twice, cut to 32 bits (STATS) and whole (STATS64, since 4.1); u64 values may
// be at addresses that are only four-byte aligned, so everything is copied.
#include "ipvs/kernel/decode.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/ip_vs.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "sys/genetlink.h"

namespace sluice::ipvs::kernel {
namespace {

// The attributes of one nest, by their number.
class Attributes {
 public:
  explicit Attributes(Bytes bytes) {
    sys::for_each_attribute(bytes, [&](const sys::Attribute& attribute) {
      if (attribute.type < values_.size()) values_[attribute.type] = {true, attribute.value};
    });
  }
  [[nodiscard]] bool has(std::size_t type) const { return values_[type].first; }
  [[nodiscard]] Bytes bytes(std::size_t type) const { return values_[type].second; }

  // 0 where it is missing or too short.
  template <typename Integer>
  [[nodiscard]] Integer number(std::size_t type) const {
    Integer value{};
    const Bytes from = bytes(type);
    if (from.size() >= sizeof value) std::memcpy(&value, from.data(), sizeof value);
    return value;
  }
  [[nodiscard]] std::string text(std::size_t type) const {
    const Bytes from = bytes(type);
    return {from.begin(), std::find(from.begin(), from.end(), 0)};
  }
  [[nodiscard]] IpAddress address(std::size_t type, Family family) const {
    std::array<std::uint8_t, 16> whole{};
    const Bytes from = bytes(type);
    std::copy_n(from.begin(), std::min(from.size(), whole.size()), whole.begin());
    const std::size_t length = family == Family::kIPv4 ? 4 : 16;
    return IpAddress::from_bytes(Bytes(whole).first(length)).value_or(IpAddress{});
  }

 private:
  std::array<std::pair<bool, Bytes>, 16> values_{};
};

struct Needed {
  std::size_t type;
  const char* name;
};

Result<> need(const Attributes& attributes, std::initializer_list<Needed> all) {
  for (const Needed& each : all) {
    if (!attributes.has(each.type))
      return fail(Errc::kInternal, fmt::format("ipvs: the kernel's answer has no {}", each.name), EPROTO);
  }
  return {};
}

Result<Family> family_of(std::uint16_t number) {
  if (number == AF_INET) return Family::kIPv4;
  if (number == AF_INET6) return Family::kIPv6;
  return fail(Errc::kInternal, fmt::format("ipvs: the kernel's answer has address family {}", number), EPROTO);
}

Statistics decode_statistics(const Attributes& server, std::size_t whole_type, std::size_t cut_type) {
  const bool whole = server.has(whole_type);
  const Attributes all(server.bytes(whole ? whole_type : cut_type));
  const auto number = [&](std::size_t type) {
    const bool wide = all.bytes(type).size() >= sizeof(std::uint64_t);
    return wide ? all.number<std::uint64_t>(type) : std::uint64_t{all.number<std::uint32_t>(type)};
  };
  Statistics s;
  s.totals = {number(IPVS_STATS_ATTR_CONNS), number(IPVS_STATS_ATTR_INPKTS), number(IPVS_STATS_ATTR_OUTPKTS),
              number(IPVS_STATS_ATTR_INBYTES), number(IPVS_STATS_ATTR_OUTBYTES)};
  s.per_second = {number(IPVS_STATS_ATTR_CPS), number(IPVS_STATS_ATTR_INPPS), number(IPVS_STATS_ATTR_OUTPPS),
                  number(IPVS_STATS_ATTR_INBPS), number(IPVS_STATS_ATTR_OUTBPS)};
  return s;
}

Result<VirtualServerKey> decode_key(const Attributes& service) {
  SLUICE_CHECK_OK(need(service, {{IPVS_SVC_ATTR_AF, "address family"}}));
  SLUICE_TRY(const Family family, family_of(service.number<std::uint16_t>(IPVS_SVC_ATTR_AF)));
  if (const auto mark = service.number<std::uint32_t>(IPVS_SVC_ATTR_FWMARK); mark != 0)
    return VirtualServerKey::of_mark(family, mark);
  SLUICE_CHECK_OK(need(
      service, {{IPVS_SVC_ATTR_PROTOCOL, "protocol"}, {IPVS_SVC_ATTR_ADDR, "address"}, {IPVS_SVC_ATTR_PORT, "port"}}));
  VirtualServerKey key;
  key.family = family;
  key.protocol = service.number<std::uint16_t>(IPVS_SVC_ATTR_PROTOCOL);
  key.address = service.address(IPVS_SVC_ATTR_ADDR, family);
  key.port = ntohs(service.number<std::uint16_t>(IPVS_SVC_ATTR_PORT));
  return key;
}

}  // namespace

Result<VirtualServerState> decode_virtual_server(Bytes attributes) {
  const Attributes service(Attributes(attributes).bytes(IPVS_CMD_ATTR_SERVICE));
  VirtualServerState state;
  SLUICE_TRY(state.server.key, decode_key(service));
  SLUICE_CHECK_OK(need(service, {{IPVS_SVC_ATTR_SCHED_NAME, "scheduler"},
                                 {IPVS_SVC_ATTR_FLAGS, "flags"},
                                 {IPVS_SVC_ATTR_TIMEOUT, "timeout"},
                                 {IPVS_SVC_ATTR_NETMASK, "netmask"}}));
  state.server.scheduler = service.text(IPVS_SVC_ATTR_SCHED_NAME);
  state.server.flags = service.number<std::uint32_t>(IPVS_SVC_ATTR_FLAGS) & ~kHashedFlag;
  state.server.persistence_timeout_s = service.number<std::uint32_t>(IPVS_SVC_ATTR_TIMEOUT);
  const auto mask = service.number<std::uint32_t>(IPVS_SVC_ATTR_NETMASK);
  state.server.persistence_mask = state.server.key.family == Family::kIPv4 ? ntohl(mask) : mask;
  state.server.persistence_engine = service.text(IPVS_SVC_ATTR_PE_NAME);
  state.statistics = decode_statistics(service, IPVS_SVC_ATTR_STATS64, IPVS_SVC_ATTR_STATS);
  return state;
}

Result<RealServerState> decode_real_server(Bytes attributes, Family of_virtual_server) {
  const Attributes dest(Attributes(attributes).bytes(IPVS_CMD_ATTR_DEST));
  SLUICE_CHECK_OK(need(dest, {{IPVS_DEST_ATTR_ADDR, "real server's address"},
                              {IPVS_DEST_ATTR_PORT, "real server's port"},
                              {IPVS_DEST_ATTR_FWD_METHOD, "forward method"},
                              {IPVS_DEST_ATTR_WEIGHT, "weight"}}));
  RealServerState state;
  RealServer& real = state.server;
  real.key.family = of_virtual_server;
  if (const auto number = dest.number<std::uint16_t>(IPVS_DEST_ATTR_ADDR_FAMILY); number != 0) {
    SLUICE_TRY(real.key.family, family_of(number));
  }
  real.key.address = dest.address(IPVS_DEST_ATTR_ADDR, real.key.family);
  real.key.port = ntohs(dest.number<std::uint16_t>(IPVS_DEST_ATTR_PORT));
  real.method =
      static_cast<ForwardMethod>(dest.number<std::uint32_t>(IPVS_DEST_ATTR_FWD_METHOD) & IP_VS_CONN_F_FWD_MASK);
  real.weight = static_cast<std::int32_t>(dest.number<std::uint32_t>(IPVS_DEST_ATTR_WEIGHT));
  real.upper_threshold = dest.number<std::uint32_t>(IPVS_DEST_ATTR_U_THRESH);
  real.lower_threshold = dest.number<std::uint32_t>(IPVS_DEST_ATTR_L_THRESH);
  real.tunnel.type = static_cast<TunnelType>(dest.number<std::uint8_t>(IPVS_DEST_ATTR_TUN_TYPE));
  real.tunnel.port = ntohs(dest.number<std::uint16_t>(IPVS_DEST_ATTR_TUN_PORT));
  real.tunnel.checksum = static_cast<TunnelChecksum>(dest.number<std::uint16_t>(IPVS_DEST_ATTR_TUN_FLAGS));
  state.active_connections = dest.number<std::uint32_t>(IPVS_DEST_ATTR_ACTIVE_CONNS);
  state.inactive_connections = dest.number<std::uint32_t>(IPVS_DEST_ATTR_INACT_CONNS);
  state.persistent_connections = dest.number<std::uint32_t>(IPVS_DEST_ATTR_PERSIST_CONNS);
  state.statistics = decode_statistics(dest, IPVS_DEST_ATTR_STATS64, IPVS_DEST_ATTR_STATS);
  return state;
}

Result<SyncDaemon> decode_daemon(Bytes attributes) {
  const Attributes nest(Attributes(attributes).bytes(IPVS_CMD_ATTR_DAEMON));
  SLUICE_CHECK_OK(need(nest, {{IPVS_DAEMON_ATTR_STATE, "daemon's role"},
                              {IPVS_DAEMON_ATTR_MCAST_IFN, "daemon's interface"},
                              {IPVS_DAEMON_ATTR_SYNC_ID, "daemon's number"}}));
  SyncDaemon daemon;
  daemon.role = static_cast<SyncRole>(nest.number<std::uint32_t>(IPVS_DAEMON_ATTR_STATE));
  daemon.interface = nest.text(IPVS_DAEMON_ATTR_MCAST_IFN);
  daemon.sync_id = nest.number<std::uint32_t>(IPVS_DAEMON_ATTR_SYNC_ID);
  daemon.message_bytes_max = nest.number<std::uint16_t>(IPVS_DAEMON_ATTR_SYNC_MAXLEN);
  daemon.port = nest.number<std::uint16_t>(IPVS_DAEMON_ATTR_MCAST_PORT);
  daemon.ttl = nest.number<std::uint8_t>(IPVS_DAEMON_ATTR_MCAST_TTL);
  if (nest.has(IPVS_DAEMON_ATTR_MCAST_GROUP)) daemon.group = nest.address(IPVS_DAEMON_ATTR_MCAST_GROUP, Family::kIPv4);
  if (nest.has(IPVS_DAEMON_ATTR_MCAST_GROUP6))
    daemon.group = nest.address(IPVS_DAEMON_ATTR_MCAST_GROUP6, Family::kIPv6);
  return daemon;
}

Result<Timeouts> decode_timeouts(Bytes attributes) {
  const Attributes all(attributes);
  SLUICE_CHECK_OK(need(all, {{IPVS_CMD_ATTR_TIMEOUT_TCP, "TCP timeout"},
                             {IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, "TCP FIN timeout"},
                             {IPVS_CMD_ATTR_TIMEOUT_UDP, "UDP timeout"}}));
  return Timeouts{all.number<std::uint32_t>(IPVS_CMD_ATTR_TIMEOUT_TCP),
                  all.number<std::uint32_t>(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN),
                  all.number<std::uint32_t>(IPVS_CMD_ATTR_TIMEOUT_UDP)};
}

Result<EngineInfo> decode_info(Bytes attributes) {
  const Attributes all(attributes);
  SLUICE_CHECK_OK(
      need(all, {{IPVS_INFO_ATTR_VERSION, "version"}, {IPVS_INFO_ATTR_CONN_TAB_SIZE, "connection table size"}}));
  return EngineInfo{all.number<std::uint32_t>(IPVS_INFO_ATTR_VERSION),
                    all.number<std::uint32_t>(IPVS_INFO_ATTR_CONN_TAB_SIZE)};
}

}  // namespace sluice::ipvs::kernel
