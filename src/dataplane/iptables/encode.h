// SPDX-License-Identifier: Apache-2.0
// Encoder: from the plan to chains and rules, spelt as in kube-proxy 1.36. Pure. A rule here is what follows
// "-A CHAIN " in the input of iptables-restore.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/dataplane.h"
#include "dataplane/iptables/chain_names.h"

namespace sluice::dataplane::iptables {

// Fixed for the life of the data plane.
struct EncodeSettings {
  Family family = Family::kIPv4;
  plan::LocalDetector detector;  // how a rule matches pods; the same that the plan was made with
  unsigned masquerade_bit = 14;
  bool localhost_node_ports = true;  // as configured; only IPv4 has them
  bool tcp_be_liberal = false;       // nf_conntrack_tcp_be_liberal was set at start: invalid packets are not dropped
  bool random_fully = true;          // iptables 1.6.2 and later support MASQUERADE --random-fully
};

// Chains with a rule or two for every Service port.
enum class DispatchChain : std::uint8_t {
  kNatServices,
  kNatNodePorts,
  kFilterServices,
  kFilterExternalServices,
  kFilterNodePorts,
  kFilterProxyFirewall,
};
inline constexpr std::size_t kDispatchChains = 6;
Table table_of(DispatchChain chain);
std::string_view name_of(DispatchChain chain);

struct DispatchRule {
  DispatchChain chain = DispatchChain::kNatServices;
  std::string rule;
  friend auto operator<=>(const DispatchRule&, const DispatchRule&) = default;
};

struct PortChain {
  ChainKind kind = ChainKind::kService;
  std::string name;
  std::vector<std::string> rules;
};

// One Service port: its rules in the shared chains, and its own chains, which are all in nat.
struct PortRules {
  std::vector<DispatchRule> dispatch;
  std::vector<PortChain> chains;  // external, firewall, service, local, real servers
  [[nodiscard]] std::size_t rule_count(Table table) const;
};

enum class Detail : std::uint8_t { kDispatch, kChainNames, kRules };  // each more than the one before

class Encoder {
 public:
  explicit Encoder(EncodeSettings settings) : settings_(std::move(settings)) {}

  // `comments` is false in kube-proxy's large cluster mode: the chains of services and real servers then carry none.
  [[nodiscard]] PortRules encode_port(const plan::ServicePortPlan& port, Detail detail, bool comments = true) const;

  // The chains whose rules are the same whatever is served, in the order in which kube-proxy writes them.
  struct FixedChain {
    Table table = Table::kFilter;
    std::string_view name;
    std::vector<std::string> rules;
  };
  [[nodiscard]] std::vector<FixedChain> fixed_chains() const;
  // The rule that KUBE-FIREWALL must have for node ports on 127.0.0.1 to be safe; empty if they are not served.
  [[nodiscard]] std::string martian_rule(const NodePortAddresses& addresses) const;
  // The last rules of nat KUBE-SERVICES, which send the rest to the node ports.
  [[nodiscard]] std::vector<std::string> node_port_rules(const NodePortAddresses& addresses) const;
  // Rules that exist whatever is served, by table: what kube-proxy's metrics count for an empty cluster.
  [[nodiscard]] std::size_t fixed_rule_count(Table table, const NodePortAddresses& addresses) const;

  [[nodiscard]] const EncodeSettings& settings() const { return settings_; }

 private:
  [[nodiscard]] bool localhost_in_force(const NodePortAddresses& addresses) const;
  [[nodiscard]] std::string mark() const;

  EncodeSettings settings_;
};

// Rules in the kernel's own chains that lead into ours. In the order in which kube-proxy prepends them.
struct JumpRule {
  Table table = Table::kFilter;
  std::string_view from;
  std::string_view to;
  std::string rule;
};
const std::vector<JumpRule>& jump_rules();

}  // namespace sluice::dataplane::iptables
