// SPDX-License-Identifier: Apache-2.0
// Byte order is the pitfall here: ports are in network order, except the sync daemon's; an IPv4 mask is in network
// order, the IPv6 prefix length in the same attribute is not; everything else is in the machine's (struct
// ip_vs_service_user's history, net/netfilter/ipvs/ip_vs_ctl.c). Addresses take 16 bytes, of which IPv4 uses four.
#include "ipvs/kernel/encode.h"

#include <arpa/inet.h>
#include <linux/ip_vs.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace sluice::ipvs::kernel {
namespace {

std::uint16_t family_number(Family family) {
  return family == Family::kIPv4 ? AF_INET : AF_INET6;
}

std::array<std::uint8_t, 16> address_bytes(Family family, const IpAddress& address) {
  const auto& mapped = address.mapped_bytes();
  if (family == Family::kIPv6) return mapped;
  std::array<std::uint8_t, 16> bytes{};
  std::copy(mapped.begin() + 12, mapped.end(), bytes.begin());
  return bytes;
}

void put_key(sys::AttributeWriter& out, const VirtualServerKey& key) {
  out.put_u16(IPVS_SVC_ATTR_AF, family_number(key.family));
  if (key.firewall_mark != 0) {
    out.put_u32(IPVS_SVC_ATTR_FWMARK, key.firewall_mark);
    return;
  }
  out.put_u16(IPVS_SVC_ATTR_PROTOCOL, key.protocol);
  out.put(IPVS_SVC_ATTR_ADDR, address_bytes(key.family, key.address));
  out.put_u16(IPVS_SVC_ATTR_PORT, htons(key.port));
}

void put_key_alone(sys::AttributeWriter& out, const VirtualServerKey& key) {
  const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_SERVICE);
  put_key(out, key);
  out.end_nest(nest);
}

void put_virtual_server(sys::AttributeWriter& out, const VirtualServer& server) {
  const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_SERVICE);
  put_key(out, server.key);
  out.put_text(IPVS_SVC_ATTR_SCHED_NAME, server.scheduler);
  if (!server.persistence_engine.empty()) out.put_text(IPVS_SVC_ATTR_PE_NAME, server.persistence_engine);
  const std::array<std::uint32_t, 2> flags_and_mask{server.flags, 0xffffffff};  // of struct ip_vs_flags
  std::array<std::uint8_t, sizeof flags_and_mask> bytes{};
  std::memcpy(bytes.data(), flags_and_mask.data(), bytes.size());
  out.put(IPVS_SVC_ATTR_FLAGS, bytes);
  out.put_u32(IPVS_SVC_ATTR_TIMEOUT, server.persistence_timeout_s);
  const bool ipv4 = server.key.family == Family::kIPv4;
  out.put_u32(IPVS_SVC_ATTR_NETMASK, ipv4 ? htonl(server.persistence_mask) : server.persistence_mask);
  out.end_nest(nest);
}

// The family is sent if it is not the virtual server's.
void put_key(sys::AttributeWriter& out, const RealServerKey& key, Family of) {
  out.put(IPVS_DEST_ATTR_ADDR, address_bytes(key.family, key.address));
  out.put_u16(IPVS_DEST_ATTR_PORT, htons(key.port));
  if (key.family != of) out.put_u16(IPVS_DEST_ATTR_ADDR_FAMILY, family_number(key.family));
}

void put_real_server(sys::AttributeWriter& out, const RealServer& server, Family of) {
  const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_DEST);
  put_key(out, server.key, of);
  out.put_u32(IPVS_DEST_ATTR_FWD_METHOD, static_cast<std::uint32_t>(server.method));
  out.put_u32(IPVS_DEST_ATTR_WEIGHT, static_cast<std::uint32_t>(server.weight));
  out.put_u32(IPVS_DEST_ATTR_U_THRESH, server.upper_threshold);
  out.put_u32(IPVS_DEST_ATTR_L_THRESH, server.lower_threshold);
  if (server.tunnel != Tunnel{}) {
    out.put_u8(IPVS_DEST_ATTR_TUN_TYPE, static_cast<std::uint8_t>(server.tunnel.type));
    out.put_u16(IPVS_DEST_ATTR_TUN_PORT, htons(server.tunnel.port));
    out.put_u16(IPVS_DEST_ATTR_TUN_FLAGS, static_cast<std::uint16_t>(server.tunnel.checksum));
  }
  out.end_nest(nest);
}

struct ChangeEncoder {
  sys::AttributeWriter out{};

  std::uint8_t operator()(const AddVirtualServer& c) {
    put_virtual_server(out, c.server);
    return IPVS_CMD_NEW_SERVICE;
  }
  std::uint8_t operator()(const EditVirtualServer& c) {
    put_virtual_server(out, c.server);
    return IPVS_CMD_SET_SERVICE;
  }
  std::uint8_t operator()(const RemoveVirtualServer& c) {
    put_key_alone(out, c.key);
    return IPVS_CMD_DEL_SERVICE;
  }
  std::uint8_t operator()(const AddRealServer& c) {
    put_key_alone(out, c.to);
    put_real_server(out, c.server, c.to.family);
    return IPVS_CMD_NEW_DEST;
  }
  std::uint8_t operator()(const EditRealServer& c) {
    put_key_alone(out, c.of);
    put_real_server(out, c.server, c.of.family);
    return IPVS_CMD_SET_DEST;
  }
  std::uint8_t operator()(const RemoveRealServer& c) {
    put_key_alone(out, c.from);
    const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_DEST);
    put_key(out, c.key, c.from.family);
    out.end_nest(nest);
    return IPVS_CMD_DEL_DEST;
  }
};

sys::GenericRequest about(std::uint8_t command, const VirtualServerKey& key) {
  sys::AttributeWriter out;
  put_key_alone(out, key);
  return {command, std::move(out).take()};
}

}  // namespace

sys::GenericRequest encode(const Change& change) {
  ChangeEncoder encoder;
  const std::uint8_t command = std::visit(encoder, change);
  return {command, std::move(encoder.out).take()};
}

sys::GenericRequest encode_list() {
  return {IPVS_CMD_GET_SERVICE, {}};
}
sys::GenericRequest encode_find(const VirtualServerKey& key) {
  return about(IPVS_CMD_GET_SERVICE, key);
}
sys::GenericRequest encode_list_real_servers(const VirtualServerKey& key) {
  return about(IPVS_CMD_GET_DEST, key);
}
sys::GenericRequest encode_flush() {
  return {IPVS_CMD_FLUSH, {}};
}
sys::GenericRequest encode_info() {
  return {IPVS_CMD_GET_INFO, {}};
}
sys::GenericRequest encode_timeouts() {
  return {IPVS_CMD_GET_CONFIG, {}};
}
sys::GenericRequest encode_list_daemons() {
  return {IPVS_CMD_GET_DAEMON, {}};
}

sys::GenericRequest encode_zero(const std::optional<VirtualServerKey>& key) {
  if (!key) return {IPVS_CMD_ZERO, {}};
  return about(IPVS_CMD_ZERO, *key);
}

sys::GenericRequest encode_set_timeouts(const Timeouts& timeouts) {
  sys::AttributeWriter out;
  out.put_u32(IPVS_CMD_ATTR_TIMEOUT_TCP, timeouts.tcp_s);
  out.put_u32(IPVS_CMD_ATTR_TIMEOUT_TCP_FIN, timeouts.tcp_fin_s);
  out.put_u32(IPVS_CMD_ATTR_TIMEOUT_UDP, timeouts.udp_s);
  return {IPVS_CMD_SET_CONFIG, std::move(out).take()};
}

sys::GenericRequest encode_start(const SyncDaemon& daemon) {
  sys::AttributeWriter out;
  const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_DAEMON);
  out.put_u32(IPVS_DAEMON_ATTR_STATE, static_cast<std::uint32_t>(daemon.role));
  out.put_text(IPVS_DAEMON_ATTR_MCAST_IFN, daemon.interface);
  out.put_u32(IPVS_DAEMON_ATTR_SYNC_ID, daemon.sync_id);
  if (daemon.message_bytes_max != 0) out.put_u16(IPVS_DAEMON_ATTR_SYNC_MAXLEN, daemon.message_bytes_max);
  if (daemon.port != 0) out.put_u16(IPVS_DAEMON_ATTR_MCAST_PORT, daemon.port);
  if (daemon.ttl != 0) out.put_u8(IPVS_DAEMON_ATTR_MCAST_TTL, daemon.ttl);
  if (daemon.group) {
    const bool ipv6 = daemon.group->family() == Family::kIPv6;
    out.put(ipv6 ? IPVS_DAEMON_ATTR_MCAST_GROUP6 : IPVS_DAEMON_ATTR_MCAST_GROUP, daemon.group->bytes());
  }
  out.end_nest(nest);
  return {IPVS_CMD_NEW_DAEMON, std::move(out).take()};
}

sys::GenericRequest encode_stop(SyncRole role) {
  sys::AttributeWriter out;
  const std::size_t nest = out.begin_nest(IPVS_CMD_ATTR_DAEMON);
  out.put_u32(IPVS_DAEMON_ATTR_STATE, static_cast<std::uint32_t>(role));
  out.end_nest(nest);
  return {IPVS_CMD_DEL_DAEMON, std::move(out).take()};
}

}  // namespace sluice::ipvs::kernel
