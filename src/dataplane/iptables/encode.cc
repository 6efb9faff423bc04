// SPDX-License-Identifier: Apache-2.0
// How iptables serves a Service. A packet to 172.30.10.20:80 meets, in nat PREROUTING or OUTPUT:
//
//   KUBE-SERVICES  one rule per frontend: destination and port -> the Service port's chain
//   KUBE-FW-hash   (LoadBalancer with source ranges) allowed sources -> EXT; all others are dropped in filter
//   KUBE-EXT-hash  from outside the cluster: marks for masquerading, or, by externalTrafficPolicy Local, sends to the
//                  local pool
//   KUBE-SVC-hash  picks a real server: rule i of n matches with probability 1/(n-i), so each gets 1/n
//   KUBE-SVL-hash  the same over the local pool
//   KUBE-SEP-hash  one real server: marks a connection to itself (hairpin) for masquerading, then DNAT
//
// What must not be served is refused in filter, where the packet arrives with its original destination because nothing
// in nat matched. KUBE-POSTROUTING masquerades what was marked.
//
// The rules are kube-proxy 1.36's, letter for letter (pkg/proxy/iptables/proxier.go), so that a node can switch between
// the two without a rule being touched. Its nfacct matches, two packet counters that it adds only where the kernel
// module nfnetlink_acct is loaded, are left out: without the module kube-proxy writes the same rules as we do.
#include "dataplane/iptables/encode.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::dataplane::iptables {
namespace {

using plan::Frontend;
using plan::FrontendKind;
using plan::Pool;
using plan::RealServer;
using plan::Route;
using plan::ServicePortPlan;
using plan::Verdict;

constexpr std::string_view kNodePortsComment =
    "kubernetes service nodeports; NOTE: this must be the last rule in this chain";

// The kernel keeps 255 bytes of a comment (XT_MAX_COMMENT_LEN in linux/netfilter/xt_comment.h); words of ours take up to 60 of them.
constexpr std::size_t kNameBytesMax = 190;

// Names come from the API server, which allows only DNS labels: 143 bytes for a port. Manifests may hold others. One odd name must not break
// the restore input of all Services, and one that the kernel cut off would always differ from what is wanted.
std::string for_comment(const std::string& text) {
  std::string safe = text.substr(0, kNameBytesMax);
  std::replace_if(safe.begin(), safe.end(), [](char c) { return c < ' ' || c > '~' || c == '"' || c == '\\'; }, '_');
  return safe;
}

class PortEncoder {
 public:
  PortEncoder(const EncodeSettings& settings, const ServicePortPlan& port, bool comments)
      : settings_(settings),
        port_(port),
        comments_(comments),
        name_(for_comment(port.key.printed_name())),
        protocol_(lower_name(port.key.protocol)),
        hash_(port_hash(port.key)) {
    has_cluster_ = !port.pool_empty(Pool::kCluster);
    has_local_ = !port.pool_empty(Pool::kLocal);
    external_ = port.has_endpoints && port.externally_accessible;
    firewall_ = std::ranges::any_of(port.frontends, [this](const Frontend& frontend) { return guarded(frontend); });
    has_internal_ = forwards(port.internal.outside);
    has_external_ = external_ && forwards(port.external.outside);
  }

  PortRules encode(Detail detail) {
    add_dispatch();
    if (detail != Detail::kDispatch) add_chains(detail == Detail::kRules);
    return std::move(out_);
  }

 private:
  [[nodiscard]] bool pool_served(Pool pool) const { return pool == Pool::kCluster ? has_cluster_ : has_local_; }
  [[nodiscard]] std::string chain(ChainKind kind) const { return std::string(prefix_of(kind)) + hash_; }
  [[nodiscard]] std::string pool_chain(Pool pool) const {
    return chain(pool == Pool::kCluster ? ChainKind::kService : ChainKind::kServiceLocal);
  }
  // Without endpoints there is nothing to guard: all clients are refused alike.
  [[nodiscard]] bool guarded(const Frontend& frontend) const { return frontend.filtered && port_.has_endpoints; }
  [[nodiscard]] bool forwards(const Route& route) const {
    return route.verdict == Verdict::kForward && pool_served(route.pool);
  }
  // "-m tcp -p tcp -d 10.0.0.1 --dport 80"; for a node port without the address.
  [[nodiscard]] std::string match(const Frontend& frontend) const {
    const bool node_port = frontend.kind == FrontendKind::kNodePort;
    return fmt::format("-m {0} -p {0}{1} --dport {2}", protocol_,
                       node_port ? "" : " -d " + frontend.address.to_string(), frontend.port);
  }
  [[nodiscard]] std::string refusal(Verdict verdict, std::string_view where) const {
    const bool reject = verdict == Verdict::kReject;
    return fmt::format("-m comment --comment \"{} has no {}\" {} -j {}", name_,
                       reject ? "endpoints" : "local endpoints", where, reject ? "REJECT" : "DROP");
  }
  void dispatch(DispatchChain chain, std::string rule) { out_.dispatch.push_back({chain, std::move(rule)}); }

  // Rows a to e of the rule table. External destinations may be both served and refused: with policy Local and no local
  // real server the short-circuit for pods and the node continues in nat, while filter drops all others.
  void add_dispatch() {
    for (const Frontend& frontend : port_.frontends) {
      switch (frontend.kind) {
        case FrontendKind::kClusterIp:
          add_internal(frontend);
          break;
        case FrontendKind::kExternalIp:
          add_external(frontend, "external IP");
          break;
        case FrontendKind::kLoadBalancerIp:
          if (guarded(frontend)) {
            dispatch(DispatchChain::kFilterProxyFirewall,
                     fmt::format("-m comment --comment \"{} traffic not accepted by {}\" {} -j DROP", name_,
                                 chain(ChainKind::kFirewall), match(frontend)));
          }
          add_external(frontend, "loadbalancer IP");
          break;
        case FrontendKind::kNodePort:
          add_node_port(frontend);
          break;
      }
    }
    if (port_.health_check_node_port != 0) {
      dispatch(DispatchChain::kFilterNodePorts,
               fmt::format("-m comment --comment \"{} health check node port\" -m tcp -p tcp --dport {} -j ACCEPT",
                           name_, port_.health_check_node_port));
    }
  }

  void add_internal(const Frontend& frontend) {
    const Route& route = port_.internal.outside;
    if (has_internal_) {
      dispatch(DispatchChain::kNatServices, fmt::format("-m comment --comment \"{} cluster IP\" {} -j {}", name_,
                                                        match(frontend), pool_chain(route.pool)));
    } else {
      dispatch(DispatchChain::kFilterServices, refusal(route.verdict, match(frontend)));
    }
  }

  void add_external(const Frontend& frontend, std::string_view what) {
    if (external_) {
      dispatch(DispatchChain::kNatServices,
               fmt::format("-m comment --comment \"{} {}\" {} -j {}", name_, what, match(frontend),
                           chain(guarded(frontend) ? ChainKind::kFirewall : ChainKind::kExternal)));
    }
    if (!has_external_) {
      dispatch(DispatchChain::kFilterExternalServices, refusal(port_.external.outside.verdict, match(frontend)));
    }
  }

  void add_node_port(const Frontend& frontend) {
    if (external_) {
      dispatch(DispatchChain::kNatNodePorts,
               fmt::format("-m comment --comment {} {} -j {}", name_, match(frontend), chain(ChainKind::kExternal)));
    }
    if (!has_external_) {
      dispatch(DispatchChain::kFilterExternalServices,
               refusal(port_.external.outside.verdict, "-m addrtype --dst-type LOCAL " + match(frontend)));
    }
  }

  void add_chains(bool rules) {
    if (external_) add_chain(ChainKind::kExternal, rules, [this](PortChain& c) { external_rules(c); });
    if (firewall_) add_chain(ChainKind::kFirewall, rules, [this](PortChain& c) { firewall_rules(c); });
    for (const Pool pool : {Pool::kCluster, Pool::kLocal}) {
      if (!pool_served(pool)) continue;
      const ChainKind kind = pool == Pool::kCluster ? ChainKind::kService : ChainKind::kServiceLocal;
      add_chain(kind, rules, [this, pool](PortChain& c) { pool_rules(c, pool); });
    }
    for (const RealServer& server : port_.real_servers) {
      if (!in_pool(server, Pool::kCluster) && !in_pool(server, Pool::kLocal)) continue;
      out_.chains.push_back({ChainKind::kRealServer, std::string(server_chain(server)), {}});
      if (rules) real_server_rules(out_.chains.back(), server);
    }
  }

  template <typename Fill>
  void add_chain(ChainKind kind, bool rules, Fill fill) {
    out_.chains.push_back({kind, chain(kind), {}});
    if (rules) fill(out_.chains.back());
  }

  [[nodiscard]] bool in_pool(const RealServer& server, Pool pool) const { return pool_served(pool) && server.in(pool); }
  [[nodiscard]] std::string server_chain(const RealServer& server) const {
    return std::string(prefix_of(ChainKind::kRealServer)) + real_server_hash(port_.key, server);
  }

  [[nodiscard]] std::string source_match() const {  // packets of this node's pods
    const plan::LocalDetector& detector = settings_.detector;
    switch (detector.kind) {
      case plan::LocalDetector::Kind::kNone:
        return "";
      case plan::LocalDetector::Kind::kCidr:
        return "-s " + detector.cidr.to_string();
      case plan::LocalDetector::Kind::kInterface:
        return "-i " + detector.interface;
      case plan::LocalDetector::Kind::kInterfacePrefix:
        return "-i " + detector.interface + "+";
    }
    return "";
  }

  void external_rules(PortChain& out) const {  // rows g
    const std::string service = chain(ChainKind::kService);
    const plan::Routes& routes = port_.external;
    if (!routes.policy_local()) {
      out.rules.push_back(fmt::format("-m comment --comment \"masquerade traffic for {} external destinations\" -j {}",
                                      name_, kMarkMasqChain));
    } else {
      if (routes.pod.pool == Pool::kCluster && has_cluster_) {
        out.rules.push_back(fmt::format("-m comment --comment \"pod traffic for {} external destinations\" {} -j {}",
                                        name_, source_match(), service));
      }
      out.rules.push_back(
          fmt::format("-m comment --comment \"masquerade LOCAL traffic for {} external destinations\" -m addrtype "
                      "--src-type LOCAL -j {}",
                      name_, kMarkMasqChain));
      if (has_cluster_) {
        out.rules.push_back(
            fmt::format("-m comment --comment \"route LOCAL traffic for {} external destinations\" -m addrtype "
                        "--src-type LOCAL -j {}",
                        name_, service));
      }
    }
    if (has_external_) out.rules.push_back("-j " + pool_chain(routes.outside.pool));
  }

  void firewall_rules(PortChain& out) const {  // row h
    const auto allow = [&](const std::string& source) {
      out.rules.push_back(fmt::format("-m comment --comment \"{} loadbalancer IP\" -s {} -j {}", name_, source,
                                      chain(ChainKind::kExternal)));
    };
    for (const Cidr& range : port_.source_ranges) allow(range.to_string());
    // A load balancer that keeps packets on the node lets them arrive from the load balancer's own address.
    if (port_.node_ip_in_source_ranges) {
      for (const Frontend& frontend : port_.frontends) {
        if (frontend.kind == FrontendKind::kLoadBalancerIp) allow(frontend.address.to_string());
      }
    }
    out.rules.push_back(
        fmt::format("-m comment --comment \"other traffic to {} will be dropped by {}\"", name_, kProxyFirewallChain));
  }

  void pool_rules(PortChain& out, Pool pool) const {  // rows f and i
    const plan::Routes& routes = port_.internal;
    const Frontend* cluster_ip = port_.cluster_frontend();
    if (cluster_ip != nullptr && has_internal_ && routes.outside.pool == pool && routes.outside.masquerade) {
      const std::string others = routes.pod.masquerade ? "" : " ! " + source_match();
      out.rules.push_back(fmt::format("-m comment --comment \"{} cluster IP\" {}{} -j {}", name_, match(*cluster_ip),
                                      others, kMarkMasqChain));
    }
    struct Choice {
      std::string comment;
      std::string target;
    };
    std::vector<Choice> choices;
    for (const RealServer& server : port_.real_servers) {
      if (!in_pool(server, pool)) continue;
      choices.push_back(
          {comments_ ? fmt::format("-m comment --comment \"{} -> {}\" ", name_, server.to_string()) : std::string(),
           server_chain(server)});
    }
    if (port_.affinity_seconds) {
      for (const auto& [comment, target] : choices) {
        out.rules.push_back(fmt::format("{}-m recent --name {} --rcheck --seconds {} --reap -j {}", comment, target,
                                        *port_.affinity_seconds, target));
      }
    }
    for (std::size_t i = 0; i < choices.size(); ++i) {
      const std::size_t left = choices.size() - i;
      out.rules.push_back(left == 1
                              ? fmt::format("{}-j {}", choices[i].comment, choices[i].target)
                              : fmt::format("{}-m statistic --mode random --probability {:.10f} -j {}",
                                            choices[i].comment, 1.0 / static_cast<double>(left), choices[i].target));
    }
  }

  void real_server_rules(PortChain& out, const RealServer& server) const {  // row j
    const std::string comment = comments_ ? fmt::format("-m comment --comment {} ", name_) : std::string();
    const std::string record =
        port_.affinity_seconds ? fmt::format("-m recent --name {} --set ", out.name) : std::string();
    out.rules.push_back(fmt::format("{}-s {} -j {}", comment, server.address.to_string(), kMarkMasqChain));
    out.rules.push_back(fmt::format("{0}{1}-m {2} -p {2} -j DNAT --to-destination {3}", comment, record, protocol_,
                                    server.to_string()));
  }

  const EncodeSettings& settings_;
  const ServicePortPlan& port_;
  bool comments_;
  std::string name_;
  std::string_view protocol_;
  std::string hash_;
  bool has_cluster_ = false;
  bool has_local_ = false;
  bool external_ = false;
  bool firewall_ = false;
  bool has_internal_ = false;
  bool has_external_ = false;
  PortRules out_;
};

}  // namespace

Table table_of(DispatchChain chain) {
  return chain == DispatchChain::kNatServices || chain == DispatchChain::kNatNodePorts ? Table::kNat : Table::kFilter;
}

std::string_view name_of(DispatchChain chain) {
  switch (chain) {
    case DispatchChain::kNatServices:
    case DispatchChain::kFilterServices:
      return kServicesChain;
    case DispatchChain::kNatNodePorts:
    case DispatchChain::kFilterNodePorts:
      return kNodePortsChain;
    case DispatchChain::kFilterExternalServices:
      return kExternalServicesChain;
    case DispatchChain::kFilterProxyFirewall:
      return kProxyFirewallChain;
  }
  return "";
}

std::size_t PortRules::rule_count(Table table) const {
  std::size_t count = 0;
  for (const DispatchRule& rule : dispatch) count += table_of(rule.chain) == table ? 1 : 0;
  if (table == Table::kNat) {
    for (const PortChain& chain : chains) count += chain.rules.size();
  }
  return count;
}

PortRules Encoder::encode_port(const plan::ServicePortPlan& port, Detail detail, bool comments) const {
  return PortEncoder(settings_, port, comments).encode(detail);
}

std::string Encoder::mark() const {
  return fmt::format("{:#010x}", 1U << settings_.masquerade_bit);
}

std::vector<Encoder::FixedChain> Encoder::fixed_chains() const {
  FixedChain forward{Table::kFilter, kForwardChain, {}};
  // Packets that conntrack does not understand would be forwarded unDNATed, and their sender reset the connection
  // (https://github.com/kubernetes/kubernetes/issues/74839).
  if (!settings_.tcp_be_liberal) forward.rules.emplace_back("-m conntrack --ctstate INVALID -j DROP");
  forward.rules.push_back(
      fmt::format("-m comment --comment \"kubernetes forwarding rules\" -m mark --mark {0}/{0} -j ACCEPT", mark()));
  forward.rules.emplace_back(
      "-m comment --comment \"kubernetes forwarding conntrack rule\" -m conntrack --ctstate RELATED,ESTABLISHED -j "
      "ACCEPT");
  FixedChain postrouting{Table::kNat, kPostroutingChain, {}};
  postrouting.rules.push_back(fmt::format("-m mark ! --mark {0}/{0} -j RETURN", mark()));
  postrouting.rules.push_back(fmt::format("-j MARK --xor-mark {}", mark()));
  postrouting.rules.push_back(
      fmt::format("-m comment --comment \"kubernetes service traffic requiring SNAT\" -j MASQUERADE{}",
                  settings_.random_fully ? " --random-fully" : ""));
  FixedChain mark_masq{Table::kNat, kMarkMasqChain, {fmt::format("-j MARK --or-mark {}", mark())}};
  std::vector<FixedChain> chains;
  chains.push_back(std::move(forward));
  chains.push_back(std::move(postrouting));
  chains.push_back(std::move(mark_masq));
  return chains;
}

bool Encoder::localhost_in_force(const NodePortAddresses& addresses) const {
  if (settings_.family != Family::kIPv4 || !settings_.localhost_node_ports) return false;
  return addresses.all_local || std::any_of(addresses.addresses.begin(), addresses.addresses.end(),
                                            [](const IpAddress& address) { return address.is_loopback(); });
}

std::string Encoder::martian_rule(const NodePortAddresses& addresses) const {
  if (!localhost_in_force(addresses)) return "";
  return "-m comment --comment \"block incoming localnet connections\" -d 127.0.0.0/8 ! -s 127.0.0.0/8 "
         "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP";
}

std::vector<std::string> Encoder::node_port_rules(const NodePortAddresses& addresses) const {
  const auto rule = [](std::string_view match) {
    return fmt::format("-m comment --comment \"{}\" {} -j {}", kNodePortsComment, match, kNodePortsChain);
  };
  const bool localhost = localhost_in_force(addresses);
  if (addresses.all_local) {
    if (settings_.family == Family::kIPv6) return {rule("-m addrtype --dst-type LOCAL ! -d ::1/128")};
    return {rule(localhost ? "-m addrtype --dst-type LOCAL" : "-m addrtype --dst-type LOCAL ! -d 127.0.0.0/8")};
  }
  std::vector<std::string> rules;
  for (const IpAddress& address : addresses.addresses) {
    if (address.is_loopback() && !localhost) continue;
    rules.push_back(rule("-d " + address.to_string()));
  }
  return rules;
}

std::size_t Encoder::fixed_rule_count(Table table, const NodePortAddresses& addresses) const {
  std::size_t count = 0;
  for (const FixedChain& chain : fixed_chains()) count += chain.table == table ? chain.rules.size() : 0;
  if (table == Table::kFilter) count += martian_rule(addresses).empty() ? 0 : 1;
  if (table == Table::kNat) count += node_port_rules(addresses).size();
  return count;
}

const std::vector<JumpRule>& jump_rules() {
  static const std::vector<JumpRule> rules = [] {
    struct Row {
      Table table;
      std::string_view from;
      std::string_view to;
      bool new_only;
      std::string_view comment;
    };
    // Several share the comment on portals; a connection's later packets need no second check in filter.
    const std::array<Row, 14> rows{{
        {Table::kFilter, "INPUT", kExternalServicesChain, true, "kubernetes externally-visible service portals"},
        {Table::kFilter, "FORWARD", kExternalServicesChain, true, "kubernetes externally-visible service portals"},
        {Table::kFilter, "INPUT", kNodePortsChain, false, "kubernetes health check service ports"},
        {Table::kFilter, "FORWARD", kServicesChain, true, "kubernetes service portals"},
        {Table::kFilter, "OUTPUT", kServicesChain, true, "kubernetes service portals"},
        {Table::kFilter, "FORWARD", kForwardChain, false, "kubernetes forwarding rules"},
        {Table::kFilter, "INPUT", kProxyFirewallChain, true, "kubernetes load balancer firewall"},
        {Table::kFilter, "OUTPUT", kProxyFirewallChain, true, "kubernetes load balancer firewall"},
        {Table::kFilter, "FORWARD", kProxyFirewallChain, true, "kubernetes load balancer firewall"},
        {Table::kNat, "OUTPUT", kServicesChain, false, "kubernetes service portals"},
        {Table::kNat, "PREROUTING", kServicesChain, false, "kubernetes service portals"},
        {Table::kNat, "POSTROUTING", kPostroutingChain, false, "kubernetes postrouting rules"},
        {Table::kFilter, "INPUT", kFirewallChain, false, ""},
        {Table::kFilter, "OUTPUT", kFirewallChain, false, ""},
    }};
    std::vector<JumpRule> made;
    for (const Row& row : rows) {
      std::string rule = row.new_only ? "-m conntrack --ctstate NEW " : "";
      if (!row.comment.empty()) rule += fmt::format("-m comment --comment \"{}\" ", row.comment);
      made.push_back({row.table, row.from, row.to, rule + "-j " + std::string(row.to)});
    }
    return made;
  }();
  return rules;
}

}  // namespace sluice::dataplane::iptables
