// SPDX-License-Identifier: Apache-2.0
// The names that kube-proxy gives to its chains. Operators and their tools know them, and a node that switches from
// kube-proxy to Sluice keeps its chains by them, so they are reproduced exactly.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

#include "plan/plan.h"

namespace sluice::dataplane::iptables {

enum class Table : std::uint8_t { kFilter, kNat, kMangle };
inline constexpr std::array<Table, 3> kTables{Table::kFilter, Table::kNat, Table::kMangle};
std::string_view to_string(Table table);  // "filter", "nat", "mangle"

inline constexpr std::string_view kServicesChain = "KUBE-SERVICES";                   // nat and filter
inline constexpr std::string_view kNodePortsChain = "KUBE-NODEPORTS";                 // nat and filter
inline constexpr std::string_view kExternalServicesChain = "KUBE-EXTERNAL-SERVICES";  // filter
inline constexpr std::string_view kForwardChain = "KUBE-FORWARD";                     // filter
inline constexpr std::string_view kProxyFirewallChain = "KUBE-PROXY-FIREWALL";        // filter
inline constexpr std::string_view kFirewallChain = "KUBE-FIREWALL";                   // filter; shared with kubelet
inline constexpr std::string_view kPostroutingChain = "KUBE-POSTROUTING";             // nat
inline constexpr std::string_view kMarkMasqChain = "KUBE-MARK-MASQ";                  // nat
inline constexpr std::string_view kCanaryChain = "KUBE-PROXY-CANARY";                 // all three; empty
// Made by kubelet in mangle; they show which flavour of iptables a node uses (KEP-3178).
inline constexpr std::string_view kKubeletHintChain = "KUBE-IPTABLES-HINT";
inline constexpr std::string_view kKubeletCanaryChain = "KUBE-KUBELET-CANARY";

// The chains of one Service port, all in nat. In the order in which they may be deleted: no later one refers to
// an earlier one.
enum class ChainKind : std::uint8_t { kFirewall, kExternal, kExternalOld, kService, kServiceLocal, kRealServer };
inline constexpr std::size_t kChainKinds = 6;
// "KUBE-FW-", "KUBE-EXT-", "KUBE-XLB-" (kube-proxy's up to 1.23, never written by us), "KUBE-SVC-", "KUBE-SVL-",
// "KUBE-SEP-".
std::string_view prefix_of(ChainKind kind);
// The kind of a per-port chain by its name, whichever program made it; false for all other chains.
bool parse_port_chain(std::string_view name, ChainKind& kind);

// The first 16 characters of the base32 (RFC 4648) of the SHA-256 of the port's printed name and protocol
// ("shop/web:http" "tcp").
std::string port_hash(const plan::ServicePortKey& key);
// The same with the real server's "ip:port" appended.
std::string real_server_hash(const plan::ServicePortKey& key, const plan::RealServer& server);

}  // namespace sluice::dataplane::iptables
