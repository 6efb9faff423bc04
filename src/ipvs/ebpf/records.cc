// SPDX-License-Identifier: Apache-2.0
#include "ipvs/ebpf/records.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "bpf/shared/states.h"
#include "ipvs/ebpf/view.h"

namespace sluice::ipvs::ebpf {
namespace {

constexpr std::uint8_t kIpv4 = 4;
constexpr std::uint8_t kIpv6 = 6;
constexpr std::uint64_t kSecond_ns = 1000000000;

std::uint8_t number_of(Family family) {
  return family == Family::kIPv4 ? kIpv4 : kIpv6;
}

Family family_of(std::uint8_t number) {
  return number == kIpv4 ? Family::kIPv4 : Family::kIPv6;
}

IpAddress address_in(const __u8 (&bytes)[16]) {
  return *IpAddress::from_bytes(bytes);
}

void set_address(__u8 (&to)[16], const IpAddress& address) {
  std::memcpy(to, address.mapped_bytes().data(), sizeof to);
}

constexpr std::array kTcpStates{
#define X(name, text, seconds) std::string_view(text),
    SLUICE_TCP_STATES(X)
#undef X
};
constexpr std::array kSctpStates{
#define X(name, text, seconds) std::string_view(text),
    SLUICE_SCTP_STATES(X)
#undef X
};

std::string_view state_name(std::uint8_t protocol, std::uint32_t state, std::uint32_t flags) {
  if ((flags & SLUICE_CONNECTION_TEMPLATE) != 0) return (flags & SLUICE_CONNECTION_ASSURED) != 0 ? "ASSURED" : "NONE";
  if (protocol == IPPROTO_TCP) return state < kTcpStates.size() ? kTcpStates[state] : "ERR!";
  if (protocol == IPPROTO_SCTP) return state < kSctpStates.size() ? kSctpStates[state] : "ERR!";
  return "UDP";
}

}  // namespace

sluice_service_key record_of(const VirtualServerKey& key) {
  sluice_service_key record{};
  record.family = number_of(key.family);
  if (key.firewall_mark != 0) {
    std::memcpy(record.address, &key.firewall_mark, sizeof key.firewall_mark);
    return record;
  }
  set_address(record.address, key.address);
  record.port = htons(key.port);
  record.protocol = static_cast<std::uint8_t>(key.protocol);
  return record;
}

VirtualServerKey key_in(const sluice_service_key& record) {
  VirtualServerKey key;
  key.family = family_of(record.family);
  if (record.protocol == 0) {
    std::uint32_t mark = 0;
    std::memcpy(&mark, record.address, sizeof mark);
    return VirtualServerKey::of_mark(key.family, mark);
  }
  key.protocol = record.protocol;
  key.address = address_in(record.address);
  key.port = ntohs(record.port);
  return key;
}

std::optional<std::uint32_t> persistence_engine_number(const std::string& name) {
  if (name.empty()) return 0;
  if (name == "sip") return 1;
  return std::nullopt;
}

void set_settings(sluice_service& record, const VirtualServer& server) {
  record.flags = server.flags & ~kHashedFlag;
  record.persistence_s = server.persistence_timeout_s;
  record.persistence_mask = server.persistence_mask;
  record.persistence_engine = persistence_engine_number(server.persistence_engine).value_or(0);
}

VirtualServer settings_in(const sluice_service& record, std::uint32_t scheduler) {
  VirtualServer server;
  server.key = key_in(record.key);
  server.scheduler = scheduler_name(scheduler);
  server.flags = record.flags;
  server.persistence_timeout_s = record.persistence_s;
  server.persistence_mask = record.persistence_mask;
  if (record.persistence_engine == 1) server.persistence_engine = "sip";
  return server;
}

void set_settings(sluice_real& record, const RealServer& server) {
  set_address(record.address, server.key.address);
  record.port = htons(server.key.port);
  record.family = number_of(server.key.family);
  record.method = static_cast<std::uint8_t>(server.method);
  if (server.weight > 0) record.last_weight = server.weight;
  record.tunnel_type = static_cast<std::uint8_t>(server.tunnel.type);
  record.tunnel_port = htons(server.tunnel.port);
  record.tunnel_checksum = static_cast<std::uint16_t>(server.tunnel.checksum);
}

RealServerKey key_in(const sluice_real& record) {
  return {family_of(record.family), address_in(record.address), ntohs(record.port)};
}

RealServer settings_in(const sluice_real& record, const sluice_cell& cell) {
  RealServer server;
  server.key = key_in(record);
  server.method = static_cast<ForwardMethod>(record.method);
  server.weight = cell.weight;
  server.upper_threshold = cell.upper;
  server.lower_threshold = cell.lower;
  server.tunnel.type = static_cast<TunnelType>(record.tunnel_type);
  server.tunnel.port = ntohs(record.tunnel_port);
  server.tunnel.checksum = static_cast<TunnelChecksum>(record.tunnel_checksum);
  return server;
}

std::uint32_t address_word(std::span<const std::uint8_t, 16> address, Family family) {
  std::array<std::uint32_t, 4> words{};
  std::memcpy(words.data(), address.data(), address.size());
  if (family == Family::kIPv4) return ntohl(words[3]);
  return ntohl(words[0] ^ words[1] ^ words[2] ^ words[3]);
}

Counters counters_of(const sluice_counts& counts) {
  return {counts.connections, counts.packets_in, counts.packets_out, counts.bytes_in, counts.bytes_out};
}

// Rounded up, as ip_vs_read_estimator() does.
Counters rates_of(const sluice_estimate& estimate) {
  const auto units = [](std::int64_t rate) { return static_cast<std::uint64_t>((rate + 511) >> 10); };
  const auto bytes = [](std::int64_t rate) { return static_cast<std::uint64_t>((rate + 15) >> 5); };
  return {units(estimate.connections), units(estimate.packets_in), units(estimate.packets_out),
          bytes(estimate.bytes_in), bytes(estimate.bytes_out)};
}

Counters sum(const Counters& a, const Counters& b) {
  return {a.connections + b.connections, a.packets_in + b.packets_in, a.packets_out + b.packets_out,
          a.bytes_in + b.bytes_in, a.bytes_out + b.bytes_out};
}

sluice_counts difference(const sluice_counts& a, const sluice_counts& b) {
  return {a.connections - b.connections, a.packets_in - b.packets_in, a.bytes_in - b.bytes_in,
          a.packets_out - b.packets_out, a.bytes_out - b.bytes_out};
}

sluice_counts sum(const sluice_counts& a, const sluice_counts& b) {
  return {a.connections + b.connections, a.packets_in + b.packets_in, a.bytes_in + b.bytes_in,
          a.packets_out + b.packets_out, a.bytes_out + b.bytes_out};
}

std::optional<Connection> connection_in(const sluice_connection& entry, std::uint64_t now_ns) {
  const std::uint64_t word = __atomic_load_n(&entry.word, __ATOMIC_ACQUIRE);
  const sluice_connection copy = entry;
  if (sluice_phase(word) != SLUICE_PHASE_LIVE) return std::nullopt;
  // It was given to another connection meanwhile: that one will be met again, or is too new to be missed.
  if (sluice_generation(__atomic_load_n(&entry.word, __ATOMIC_ACQUIRE)) != sluice_generation(word)) return std::nullopt;
  const std::uint64_t idle = now_ns > copy.seen_ns ? now_ns - copy.seen_ns : 0;
  const std::uint64_t lasts = copy.timeout_s * kSecond_ns;
  if (idle > lasts) return std::nullopt;
  Connection shown;
  shown.protocol = copy.request.protocol;
  shown.family = family_of(copy.request.family);
  shown.client = {address_in(copy.request.source), ntohs(copy.request.source_port)};
  shown.virtual_end = {address_in(copy.request.target), ntohs(copy.request.target_port)};
  shown.real_family = family_of(copy.reply.family);
  shown.real = {address_in(copy.reply.source), ntohs(copy.reply.source_port)};
  shown.state = state_name(copy.request.protocol, sluice_state(word), sluice_connection_flags(word));
  shown.expires_s = static_cast<std::uint32_t>((lasts - idle) / kSecond_ns);
  return shown;
}

}  // namespace sluice::ipvs::ebpf
