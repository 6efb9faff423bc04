// SPDX-License-Identifier: Apache-2.0
// What is in the engine's maps, as the values of ipvs/ and back. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "bpf/shared/lb_maps.h"
#include "ipvs/connection.h"
#include "ipvs/engine.h"
#include "ipvs/real_server.h"
#include "ipvs/virtual_server.h"

namespace sluice::ipvs::ebpf {

using AddressBytes = std::array<std::uint8_t, 16>;

sluice_service_key record_of(const VirtualServerKey& key);
VirtualServerKey key_in(const sluice_service_key& record);

// The settings of a virtual server, without its scheduler: that is in its view.
void set_settings(sluice_service& record, const VirtualServer& server);
// `scheduler` and its flags as the view has them.
VirtualServer settings_in(const sluice_service& record, std::uint32_t scheduler);

// Address, port, method and tunnel.
void set_settings(sluice_real& record, const RealServer& server);
RealServer settings_in(const sluice_real& record, const sluice_cell& cell);
RealServerKey key_in(const sluice_real& record);

// The address' words as hashes see them.
std::uint32_t address_word(std::span<const std::uint8_t, 16> address, Family family);

Counters counters_of(const sluice_counts& counts);
Counters rates_of(const sluice_estimate& estimate);
Counters sum(const Counters& a, const Counters& b);
sluice_counts difference(const sluice_counts& a, const sluice_counts& b);
sluice_counts sum(const sluice_counts& a, const sluice_counts& b);

// "sip": 1. Nothing for one that the engine does not have.
std::optional<std::uint32_t> persistence_engine_number(const std::string& name);

// What an entry shows at this time; nothing for one that is none, or is over.
std::optional<Connection> connection_in(const sluice_connection& entry, std::uint64_t now_ns);

}  // namespace sluice::ipvs::ebpf
