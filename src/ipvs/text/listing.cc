// SPDX-License-Identifier: Apache-2.0
// The table of virtual servers. Column widths were made for IPv4 addresses: names of IPv4 are cut to fit, those of IPv6
// push the rest of the line to the right. Blanks at line ends belong to the format.
#include "ipvs/text/listing.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <array>

#include "ipvs/text/values.h"

namespace sluice::ipvs::text {
namespace {

constexpr std::size_t kAddressTextMax = 59;
constexpr std::size_t kServiceWidth = 33;
constexpr std::size_t kServerWidth = 28;
constexpr std::uint32_t kAllSchedulerFlags = kSchedulerFlag1 | kSchedulerFlag2 | kSchedulerFlag3;

// Methods without a name are printed like a null string in glibc.
std::string_view method_column(ForwardMethod method) {
  switch (method) {
    case ForwardMethod::kMasquerade:
      return "Masq";
    case ForwardMethod::kLocal:
      return "Local";
    case ForwardMethod::kTunnel:
      return "Tunnel";
    case ForwardMethod::kDirectRoute:
      return "Route";
    default:
      return "(null)";
  }
}

std::string_view checksum_column(TunnelChecksum checksum) {
  switch (checksum) {
    case TunnelChecksum::kChecksum:
      return "+c";
    case TunnelChecksum::kRemoteOffload:
      return "r+c";
    default:
      return "-c";
  }
}

std::string tunnel_column(const RealServer& real) {
  if (real.method != ForwardMethod::kTunnel) return "n/a";
  switch (real.tunnel.type) {
    case TunnelType::kIpip:
      return "ipip";
    case TunnelType::kGue:
      return fmt::format("gue:{}:{}", real.tunnel.port, checksum_column(real.tunnel.checksum));
    case TunnelType::kGre:
      return fmt::format("gre:{}", checksum_column(real.tunnel.checksum));
  }
  return "n/a";
}

// Nine columns, the first of them blank, if the number has at most eight digits or need not be exact.
std::string number_column(std::uint64_t number, bool exact) {
  if (exact) return number < 100'000'000 ? fmt::format("{:>9}", number) : fmt::format(" {}", number);
  if (number < 100'000'000) return fmt::format("{:>9}", number);
  struct Unit {
    std::uint64_t below;
    std::uint64_t divisor;
    char letter;
  };
  constexpr std::array<Unit, 3> kUnits{
      {{1'000'000'000, 1'000, 'K'}, {100'000'000'000, 1'000'000, 'M'}, {100'000'000'000'000, 1'000'000'000, 'G'}}};
  for (const Unit& unit : kUnits) {
    if (number < unit.below) return fmt::format("{:>8}{}", number / unit.divisor, unit.letter);
  }
  return fmt::format("{:>8}T", number / 1'000'000'000'000);
}

std::string counter_columns(const Counters& c, bool exact) {
  std::string text;
  for (const std::uint64_t number : {c.connections, c.packets_in, c.packets_out, c.bytes_in, c.bytes_out}) {
    text += number_column(number, exact);
  }
  return text;
}

// libipvs reads a real server's counters, except bytes, as 32 bits.
Counters as_read_for_real(Counters c) {
  c.connections &= 0xffffffff;
  c.packets_in &= 0xffffffff;
  c.packets_out &= 0xffffffff;
  return c;
}

std::string rate_columns_of_real(const Counters& whole, bool exact) {
  const Counters c = as_read_for_real(whole);
  return fmt::format(" {:>8} {:>8} {:>8}", c.connections, c.packets_in, c.packets_out) +
         number_column(c.bytes_in & 0xffffffff, exact) + number_column(c.bytes_out & 0xffffffff, exact);
}

// Ports of a firewall mark's real servers belong to no protocol.
std::uint16_t port_protocol(const VirtualServerKey& key) {
  return key.firewall_mark != 0 ? std::uint16_t{0} : key.protocol;
}

std::string service_column(const VirtualServerKey& key, AddressWriter& addresses) {
  const bool ipv6 = key.family == Family::kIPv6;
  if (key.firewall_mark != 0)
    return fmt::format("FWM  {}{}", static_cast<std::int32_t>(key.firewall_mark), ipv6 ? " IPv6" : "");
  std::string text = fmt::format("{:<4} {}", protocol_name(key.protocol).value_or("?"),
                                 addresses.write(key.family, key.address, key.port, key.protocol));
  if (!ipv6 && text.size() > kServiceWidth) text.resize(kServiceWidth);
  return text;
}

std::string server_column(const RealServerKey& key, const VirtualServerKey& of, AddressWriter& addresses) {
  std::string text = addresses.write(key.family, key.address, key.port, port_protocol(of));
  if (key.family == Family::kIPv4 && text.size() > kServerWidth) text.resize(kServerWidth);
  return text;
}

std::string mask_text(const VirtualServer& server) {
  if (server.key.family == Family::kIPv6) return fmt::format("{}", server.persistence_mask);
  return address_text(Family::kIPv4, IpAddress::from_v4(server.persistence_mask));
}

bool whole_client(const VirtualServer& server) {
  return server.persistence_mask == whole_client_mask(server.key.family);
}

std::string settings_columns(const VirtualServer& server) {
  std::string text = ' ' + server.scheduler;
  if ((server.flags & kAllSchedulerFlags) != 0)
    text += fmt::format(" ({})", scheduler_flags_text(server.flags, server.scheduler));
  if ((server.flags & kPersistentFlag) != 0) {
    text += fmt::format(" persistent {}", server.persistence_timeout_s);
    if (!whole_client(server)) text += " mask " + mask_text(server);
    if (!server.persistence_engine.empty()) text += " pe " + server.persistence_engine;
  }
  if ((server.flags & kOnePacketFlag) != 0) text += " ops";
  return text;
}

std::string service_line(const VirtualServerState& state, const ListStyle& style, AddressWriter& addresses) {
  const std::string name = service_column(state.server.key, addresses);
  switch (style.columns) {
    case Columns::kStatistics:
      return fmt::format("{:<33}{}\n", name, counter_columns(state.statistics.totals, style.exact));
    case Columns::kRates:
      return fmt::format("{:<33}{}\n", name, counter_columns(state.statistics.per_second, style.exact));
    default:
      return name + settings_columns(state.server) + '\n';
  }
}

std::string server_line(const RealServerState& state, const VirtualServerKey& of, const ListStyle& style,
                        AddressWriter& addresses) {
  const RealServer& real = state.server;
  const std::string name = server_column(real.key, of, addresses);
  switch (style.columns) {
    case Columns::kStatistics:
      return fmt::format("  -> {:<28}{}\n", name,
                         counter_columns(as_read_for_real(state.statistics.totals), style.exact));
    case Columns::kRates:
      return fmt::format("  -> {:<28}{}\n", name, rate_columns_of_real(state.statistics.per_second, style.exact));
    case Columns::kThresholds:
      return fmt::format("  -> {:<28} {:<10} {:<10} {:<10} {:<10}\n", name, real.upper_threshold, real.lower_threshold,
                         state.active_connections, state.inactive_connections);
    case Columns::kPersistentConnections:
      return fmt::format("  -> {:<28} {:<9} {:<11} {:<10} {:<10}\n", name, static_cast<std::uint32_t>(real.weight),
                         state.persistent_connections, state.active_connections, state.inactive_connections);
    case Columns::kTunnels:
      return fmt::format("  -> {:<28} {:<7} {:<13} {:<6} {:<10} {:<10}\n", name, method_column(real.method),
                         tunnel_column(real), real.weight, state.active_connections, state.inactive_connections);
    case Columns::kNormal:
      return fmt::format("  -> {:<28} {:<7} {:<6} {:<10} {:<10}\n", name, method_column(real.method), real.weight,
                         state.active_connections, state.inactive_connections);
  }
  return {};
}

}  // namespace

Columns columns_of(const OptionSet& options) {
  if (options.has(Option::kStats)) return Columns::kStatistics;
  if (options.has(Option::kRate)) return Columns::kRates;
  if (options.has(Option::kThresholds)) return Columns::kThresholds;
  if (options.has(Option::kPersistentConn)) return Columns::kPersistentConnections;
  return options.has(Option::kTunInfo) ? Columns::kTunnels : Columns::kNormal;
}

std::string AddressWriter::host(Family family, const IpAddress& address) {
  if (numeric_) return address_text(family, address);
  const auto [entry, added] = hosts_.try_emplace({family, address});
  if (added) entry->second = names_.host_name(family, address).value_or(address_text(family, address));
  return entry->second;
}

std::string AddressWriter::write(Family family, const IpAddress& address, std::uint16_t port, std::uint16_t protocol) {
  std::string text = host(family, address);
  if (family == Family::kIPv6) text = '[' + text + ']';
  const auto name = numeric_ ? std::nullopt : names_.service_name(port, protocol);
  text += ':' + name.value_or(std::to_string(port));
  if (text.size() > kAddressTextMax) text.resize(kAddressTextMax);
  return text;
}

std::string version_line(const EngineInfo& info) {
  return fmt::format("IP Virtual Server version {}.{}.{} (size={})\n", info.version >> 16 & 0xff,
                     info.version >> 8 & 0xff, info.version & 0xff, info.connection_table_size);
}

std::string title_lines(Columns columns) {
  constexpr std::string_view kServer = "  -> RemoteAddress:Port";
  const auto four = [&](std::string_view first, std::string_view second, std::string_view third,
                        std::string_view fourth) {
    return fmt::format("{:<33} {} {} {} {}\n{}\n", "Prot LocalAddress:Port", first, second, third, fourth, kServer);
  };
  const auto five = [&](std::string_view names) {
    return fmt::format("{:<33}{}\n{}\n", "Prot LocalAddress:Port", names, kServer);
  };
  switch (columns) {
    case Columns::kStatistics:
      return five("    Conns   InPkts  OutPkts  InBytes OutBytes");
    case Columns::kRates:
      return five("      CPS    InPPS   OutPPS    InBPS   OutBPS");
    case Columns::kThresholds:
      return four("Uthreshold", "Lthreshold", "ActiveConn", "InActConn ");
    case Columns::kPersistentConnections:
      return four("Weight   ", "PersistConn", "ActiveConn", "InActConn ");
    case Columns::kTunnels:
      return fmt::format(
          "Prot LocalAddress:Port Scheduler Flags\n{}           Forward TunnelInfo    Weight ActiveConn InActConn\n",
          kServer);
    case Columns::kNormal:
      return fmt::format("Prot LocalAddress:Port Scheduler Flags\n{}           Forward Weight ActiveConn InActConn\n",
                         kServer);
  }
  return {};
}

std::string list_lines(const VirtualServerState& state, const ListStyle& style, AddressWriter& addresses) {
  std::string text = service_line(state, style, addresses);
  for (const RealServerState& real : state.real_servers) text += server_line(real, state.server.key, style, addresses);
  return text;
}

}  // namespace sluice::ipvs::text
