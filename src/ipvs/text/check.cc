// SPDX-License-Identifier: Apache-2.0
// Which options go together. The rules are tables (options.cc); here they are applied: options by their
// number, the first problem wins, then what a service needs, then what a real server needs. No engine has been used
// yet.
#include <fmt/format.h>
#include <netinet/in.h>

#include <array>
#include <utility>

#include "ipvs/text/request.h"

namespace sluice::ipvs::text {
namespace {

using enum Option;

constexpr OptionSet kTunnelOptions{kTunType, kTunPort, kTunNocsum, kTunCsum, kTunRemcsum};
constexpr std::array<Option, 4> kTunnelSettings{kTunPort, kTunNocsum, kTunCsum, kTunRemcsum};

// In the order of TunnelType.
constexpr std::array<Rules, 3> kTunnelRules{{
    {"ipip", {}, {}, {}},
    {"gue", {kTunPort}, {}, {kTunNocsum, kTunCsum, kTunRemcsum}},
    {"gre", {}, {}, {kTunNocsum, kTunCsum}},
}};

struct RuleCheck {
  const Rules& rules;
  std::string_view kind;  // "command", "tunnel type"
  OptionSet given;
  std::optional<Option> chosen{};  // of the rules' one_of

  std::optional<Refusal> look_at(Option option) {
    if (!given.has(option)) {
      if (!rules.must.has(option)) return std::nullopt;
      return refusal(
          fmt::format("You need to supply the '{}' option for the '{}' {}", name_of(option), rules.name, kind));
    }
    if (rules.one_of.has(option)) {
      const auto first = std::exchange(chosen, option);
      if (!first) return std::nullopt;
      return refusal(fmt::format("The option '{}' conflicts with the '{}' option in the '{}' {}", name_of(option),
                                 name_of(*first), rules.name, kind));
    }
    if (rules.must.has(option) || rules.may.has(option)) return std::nullopt;
    return refusal(fmt::format("Illegal '{}' option with the '{}' {}", name_of(option), rules.name, kind));
  }
};

std::optional<Refusal> check_options(const Request& request) {
  RuleCheck check{rules_of(request.command), "command", request.options};
  for (int i = 0; i < kOptionCount; ++i) {
    if (auto problem = check.look_at(static_cast<Option>(i))) return problem;
  }
  return std::nullopt;
}

std::optional<Refusal> check_list(const OptionSet& options) {
  const bool elsewhere = options.has_any({kTimeout, kDaemon});
  const bool clash = (elsewhere || options.has(kConnection)) && options.has_any({kStats, kRate, kThresholds});
  if (clash || (elsewhere && options.has(kPersistentConn))) return refusal("options conflicts in the list command");
  return std::nullopt;
}

std::optional<Refusal> check_service(VirtualServer& server) {
  const bool marked = server.key.firewall_mark != 0;
  if (!marked && server.key.port == 0 && (server.flags & kPersistentFlag) == 0) {
    return refusal("Zero port specified for non-persistent service");
  }
  if (!marked && (server.flags & kOnePacketFlag) != 0 && server.key.protocol != IPPROTO_UDP) {
    return refusal("One-Packet Scheduling is only for UDP virtual services");
  }
  if (server.scheduler.empty()) server.scheduler = kDefaultScheduler;
  return std::nullopt;
}

std::optional<Refusal> check_tunnel(const Request& request) {
  const RealServer& real = request.real_server;
  if (real.method != ForwardMethod::kTunnel) {
    if (!request.options.has_any(kTunnelOptions)) return std::nullopt;
    return refusal("Tunnel options conflict with forward method");
  }
  RuleCheck check{kTunnelRules[static_cast<std::size_t>(real.tunnel.type)], "tunnel type", request.options};
  for (const Option option : kTunnelSettings) {
    if (auto problem = check.look_at(option)) return problem;
  }
  return std::nullopt;
}

std::optional<Refusal> check_server(Request& request) {
  const VirtualServerKey& service = request.virtual_server.key;
  RealServer& real = request.real_server;
  const bool keeps_port = real.method == ForwardMethod::kTunnel || real.method == ForwardMethod::kDirectRoute;
  // These methods leave the packet's port as it is, so another one would only be a wrong label.
  if (keeps_port && service.firewall_mark == 0) real.key.port = service.port;
  if (real.key.family != service.family && real.method != ForwardMethod::kTunnel) {
    return refusal("Different address family is allowed only for tunneling servers");
  }
  return check_tunnel(request);
}

}  // namespace

std::optional<Refusal> check_request(Request& request) {
  if (auto problem = check_options(request)) return problem;
  switch (request.command) {
    case Command::kAddService:
    case Command::kEditService:
      return check_service(request.virtual_server);
    case Command::kAddServer:
    case Command::kEditServer:
      return check_server(request);
    case Command::kList:
      return check_list(request.options);
    case Command::kStartDaemon:
      if (request.daemon.interface.empty()) request.daemon.interface = "eth0";
      return std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace sluice::ipvs::text
