// SPDX-License-Identifier: Apache-2.0
// The Services of the tour. The first three are those of every kubeadm cluster and of the operator's story; the
// others each show one promise of Kubernetes: session affinity and dual stack, the client's address kept, source
// ranges, no endpoints.
#include "lab/walkthrough_files.h"

#include <fmt/format.h>

#include "base/check.h"

namespace sluice::lab {
namespace {

IpAddress node_address(const PodSpec& pod, const Topology& topology, Family family) {
  const NodeSpec* node = topology.find_node(pod.node);
  SLUICE_CHECK(node != nullptr);
  for (const IpAddress& address : node->addresses) {
    if (address.family() == family) return address;
  }
  return {};
}

IpAddress pod_address(const PodSpec& pod, const Topology& topology, Family family) {
  if (pod.host_network) return node_address(pod, topology, family);
  for (const IpAddress& address : pod.addresses) {
    if (address.family() == family) return address;
  }
  return {};
}

bool serves_family(const ExampleService& service, Family family) {
  for (const std::string& text : service.cluster_ips) {
    if (const auto address = IpAddress::parse(text); address && address->family() == family) return true;
  }
  return false;
}

std::string port_lines(const ExampleService& service) {
  std::string text;
  for (const ExamplePort& port : service.ports) {
    text += fmt::format("  - name: {}\n    protocol: {}\n    port: {}\n    targetPort: {}\n", port.name,
                        to_string(port.protocol), port.port, port.target);
    if (port.node_port != 0) text += fmt::format("    nodePort: {}\n", port.node_port);
  }
  return text;
}

std::string service_lines(const ExampleService& service) {
  std::string ips;
  std::string families;
  for (const std::string& text : service.cluster_ips) {
    ips += fmt::format("  - \"{}\"\n", text);
    families += fmt::format("  - {}\n", text.find(':') == std::string::npos ? "IPv4" : "IPv6");
  }
  std::string text = fmt::format(
      "apiVersion: v1\nkind: Service\nmetadata:\n  namespace: {0}\n  name: {1}\nspec:\n  type: {2}\n  clusterIP: "
      "\"{3}\"\n"
      "  clusterIPs:\n{4}  ipFamilies:\n{5}  ports:\n{6}",
      service.name_space, service.name, service.type, service.cluster_ips.front(), ips, families, port_lines(service));
  for (const std::string& line : service.more_spec) text += fmt::format("  {}\n", line);
  if (!service.load_balancer_ip.empty()) {
    text += fmt::format("status:\n  loadBalancer:\n    ingress:\n    - ip: \"{}\"\n", service.load_balancer_ip);
  }
  return text;
}

std::string slice_lines(const ExampleService& service, const Topology& topology, Family family) {
  std::string text = fmt::format(
      "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  namespace: {0}\n  name: {1}-{2}\n  "
      "labels:\n"
      "    kubernetes.io/service-name: {1}\naddressType: {3}\nports:\n",
      service.name_space, service.name, family == Family::kIPv4 ? "ipv4" : "ipv6", to_string(family));
  for (const ExamplePort& port : service.ports) {
    text += fmt::format("- name: {}\n  protocol: {}\n  port: {}\n", port.name, to_string(port.protocol), port.target);
  }
  text += service.pods.empty() ? "endpoints: []\n" : "endpoints:\n";
  for (const std::string& name : service.pods) {
    const PodSpec* pod = topology.find_pod(name);
    SLUICE_CHECK(pod != nullptr);
    text += fmt::format(
        "- addresses: [\"{}\"]\n  conditions: {{ready: true}}\n  nodeName: {}\n  targetRef: {{kind: Pod, namespace: "
        "{}, name: {}}}\n",
        pod_address(*pod, topology, family).to_string(), pod->node, service.name_space, pod->name);
  }
  return text;
}

}  // namespace

std::vector<ExampleService> walkthrough_services() {
  constexpr auto kTcp = Protocol::kTcp;
  constexpr auto kUdp = Protocol::kUdp;
  return {
      {"default", "web", "NodePort", {"10.104.247.10"}, {{"http", kTcp, 80, 80, 31947}}, {"web-1", "web-2", "web-3"}},
      {"default", "kubernetes", "ClusterIP", {"10.96.0.1"}, {{"https", kTcp, 443, 6443, 0}}, {"kube-apiserver"}},
      {"kube-system",
       "kube-dns",
       "ClusterIP",
       {"10.96.0.10"},
       {{"dns", kUdp, 53, 53, 0}, {"dns-tcp", kTcp, 53, 53, 0}},
       {"coredns-1", "coredns-2"}},
      {"default",
       "shop",
       "NodePort",
       {"10.100.20.30", "fd00:10:96::2030"},
       {{"http", kTcp, 80, 8080, 30808}},
       {"shop-1", "shop-2"},
       {"ipFamilyPolicy: RequireDualStack", "sessionAffinity: ClientIP",
        "sessionAffinityConfig: {clientIP: {timeoutSeconds: 10800}}"}},
      {"default",
       "edge",
       "NodePort",
       {"10.101.7.7"},
       {{"http", kTcp, 80, 80, 30090}},
       {"edge-1"},
       {"externalTrafficPolicy: Local"}},
      {"default",
       "gate",
       "LoadBalancer",
       {"10.102.9.9"},
       {{"http", kTcp, 80, 8080, 0}},
       {"shop-1", "shop-2"},
       {"allocateLoadBalancerNodePorts: false", "loadBalancerSourceRanges: [\"192.168.231.200/32\"]"},
       "203.0.113.10"},
      {"default", "ghost", "NodePort", {"10.103.3.3"}, {{"http", kTcp, 80, 80, 30099}}, {}},
  };
}

ExampleService walkthrough_service(const std::string& name) {
  for (ExampleService& service : walkthrough_services()) {
    if (service.name == name) return std::move(service);
  }
  SLUICE_CHECK(false);
}

std::vector<std::vector<std::string>> service_rows(const std::vector<ExampleService>& services) {
  std::vector<std::vector<std::string>> rows{{"SERVICE", "TYPE", "ADDRESSES", "PORTS", "ENDPOINTS"}};
  for (const ExampleService& service : services) {
    std::vector<std::string> addresses = service.cluster_ips;
    if (!service.load_balancer_ip.empty()) addresses.push_back(service.load_balancer_ip);
    std::vector<std::string> ports;
    for (const ExamplePort& port : service.ports) {
      const std::string node_port = port.node_port == 0 ? "" : fmt::format(":{}", port.node_port);
      ports.push_back(fmt::format("{}{}/{}", port.port, node_port, to_string(port.protocol)));
    }
    rows.push_back({fmt::format("{}/{}", service.name_space, service.name), service.type,
                    fmt::format("{}", fmt::join(addresses, ", ")), fmt::format("{}", fmt::join(ports, ", ")),
                    service.pods.empty() ? "(none)" : fmt::format("{}", fmt::join(service.pods, ", "))});
  }
  return rows;
}

std::string service_manifest(const ExampleService& service, const Topology& topology) {
  std::string text = service_lines(service);
  for (const Family family : kFamilies) {
    if (serves_family(service, family)) text += slice_lines(service, topology, family);
  }
  return text;
}

std::string node_manifest(const NodeSpec& node) {
  std::string text = fmt::format(
      "apiVersion: v1\nkind: Node\nmetadata:\n  name: {0}\n  labels:\n    kubernetes.io/hostname: {0}\nstatus:\n  "
      "addresses:\n",
      node.name);
  for (const IpAddress& address : node.addresses)
    text += fmt::format("  - type: InternalIP\n    address: \"{}\"\n", address.to_string());
  return text + fmt::format("  - type: Hostname\n    address: {}\n", node.name);
}

// One difference from kubeadm's: maxPerCore is 0 (leave it alone), as in kind. net.netfilter.nf_conntrack_max
// belongs to the whole machine and is read-only in other network namespaces.
std::string proxy_config(const std::string& mode) {
  return fmt::format(R"(apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
bindAddress: 0.0.0.0
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: ""
  qps: 0
clusterCIDR: 10.244.0.0/16,fd00:10:244::/48
configSyncPeriod: 0s
conntrack:
  maxPerCore: 0
  min: null
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
metricsBindAddress: ""
mode: "{}"
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
)",
                     mode);
}

}  // namespace sluice::lab
