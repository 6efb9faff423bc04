// SPDX-License-Identifier: Apache-2.0
// ipvsadm's output, to the byte: tables of virtual servers, connections, timeouts, daemons, and the lines that -S
// saves.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "ipvs/engine.h"
#include "ipvs/text/names.h"
#include "ipvs/text/options.h"

namespace sluice::ipvs::text {

// The columns to list. If several are requested, the first one here wins.
enum class Columns : unsigned char { kStatistics, kRates, kThresholds, kPersistentConnections, kTunnels, kNormal };
Columns columns_of(const OptionSet& options);

struct ListStyle {
  Columns columns = Columns::kNormal;
  bool numeric = false;
  bool exact = false;
};

// Addresses and ports as text, by name unless that is not wanted or not possible. Caches hosts, since each may cost
// a query.
class AddressWriter {
 public:
  AddressWriter(Names& names, bool numeric) : names_(names), numeric_(numeric) {}
  // A port of protocol 0 stays a number.
  std::string write(Family family, const IpAddress& address, std::uint16_t port, std::uint16_t protocol);

 private:
  std::string host(Family family, const IpAddress& address);
  Names& names_;
  bool numeric_;
  std::map<std::pair<Family, IpAddress>, std::string> hosts_;
};

std::string version_line(const EngineInfo& info);  // "IP Virtual Server version 1.2.1 (size=4096)"
std::string title_lines(Columns columns);
// One virtual server with its real servers, in the order given.
std::string list_lines(const VirtualServerState& state, const ListStyle& style, AddressWriter& addresses);
std::string save_lines(const VirtualServerState& state, AddressWriter& addresses);

std::string connection_titles(bool engine_data);
std::string connection_line(const Connection& connection, bool engine_data, AddressWriter& addresses);
std::string timeout_line(const Timeouts& timeouts);
std::string daemon_line(const SyncDaemon& daemon);

}  // namespace sluice::ipvs::text
