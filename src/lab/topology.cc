// SPDX-License-Identifier: Apache-2.0
// The shapes of a lab. The walkthrough's is a small kubeadm cluster with calico: a master and two nodes on
// 192.168.231.0/24, pods with single addresses (/32) that each node routes itself, and on node1 a second local address,
// 192.168.122.1 on libvirt's virbr0, where node ports are served too. IPv6 addresses mirror the IPv4 ones digit by
// digit, so that a reader recognises the pod.
#include "lab/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "base/ip_literals.h"

namespace sluice::lab {
namespace {

constexpr unsigned kGridPodsTotalMax = 1000;

// 10.96.0.0/12 is kubeadm's default Service range; the others are documentation ranges (RFC 5737, RFC 3849) for load
// balancers and external addresses.
std::vector<Cidr> usual_service_ranges() {
  return {cidr("10.96.0.0/12"),    cidr("fd00:10:96::/112"), cidr("192.0.2.0/24"),
          cidr("198.51.100.0/24"), cidr("203.0.113.0/24"),   cidr("2001:db8::/32")};
}

std::vector<IpAddress> usual_client_addresses() {
  return {ip("192.168.231.200"), ip("192.168.231.201"), ip("fd00:231::200"), ip("fd00:231::201")};
}

std::optional<unsigned> parse_number(std::string_view text) {
  unsigned value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool good_name(std::string_view name) {
  constexpr std::size_t kNameLengthMax = 63;  // of a DNS label
  return !name.empty() && name.size() <= kNameLengthMax && name != kFabricHost && name.front() != '-' &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
}

bool has_family(const std::vector<IpAddress>& addresses, Family family) {
  return std::any_of(addresses.begin(), addresses.end(), [family](const IpAddress& a) { return a.family() == family; });
}

bool one_per_family(const std::vector<IpAddress>& addresses) {
  return addresses.size() <= 2 && (addresses.size() < 2 || addresses[0].family() != addresses[1].family());
}

Error invalid(std::string what) {
  return Error{Errc::kInvalid, "topology: " + std::move(what), 0};
}

// Names and addresses that have been seen; duplicates are refused.
class Seen {
 public:
  Result<> name(const std::string& name) {
    if (!good_name(name)) return tl::unexpected(invalid(fmt::format("'{}' is not a valid name for a host", name)));
    if (!names_.insert(name).second) return tl::unexpected(invalid(fmt::format("two hosts are called {}", name)));
    return {};
  }
  Result<> addresses(const std::string& host, const std::vector<IpAddress>& addresses) {
    for (const IpAddress& address : addresses) {
      if (!addresses_.insert(address).second) {
        return tl::unexpected(invalid(fmt::format("{}: address {} is used twice", host, address.to_string())));
      }
    }
    return {};
  }

 private:
  std::set<std::string> names_;
  std::set<IpAddress> addresses_;
};

Result<> check_node(const NodeSpec& node, const Topology& topology, Seen& seen) {
  SLUICE_CHECK_OK(seen.name(node.name));
  SLUICE_CHECK_OK(seen.addresses(node.name, node.addresses));
  if (node.addresses.empty() || !one_per_family(node.addresses)) {
    return tl::unexpected(invalid(fmt::format("{}: a node has one address per family, and at least one", node.name)));
  }
  for (const IpAddress& address : node.addresses) {
    for (const NodeSpec& other : topology.nodes) {
      for (const IpAddress& theirs : other.addresses) {
        if (theirs.family() == address.family() && node_network(theirs) != node_network(address)) {
          return tl::unexpected(invalid(fmt::format("{} and {} are not on one network", node.name, other.name)));
        }
      }
    }
  }
  for (const LocalDevice& device : node.devices) SLUICE_CHECK_OK(seen.addresses(node.name, {device.address}));
  return {};
}

Result<> check_pod(const PodSpec& pod, const Topology& topology, Seen& seen) {
  SLUICE_CHECK_OK(seen.name(pod.name));
  SLUICE_CHECK_OK(seen.addresses(pod.name, pod.addresses));
  const NodeSpec* node = topology.find_node(pod.node);
  if (node == nullptr) return tl::unexpected(invalid(fmt::format("{}: there is no node '{}'", pod.name, pod.node)));
  if (pod.host_network != pod.addresses.empty() || !one_per_family(pod.addresses)) {
    return tl::unexpected(invalid(fmt::format("{}: a pod has one address per family, or its node's", pod.name)));
  }
  for (const IpAddress& address : pod.addresses) {
    if (!has_family(node->addresses, address.family())) {
      return tl::unexpected(
          invalid(fmt::format("{}: {} has no {} address", pod.name, pod.node, to_string(address.family()))));
    }
  }
  for (const ServedPort& port : pod.ports) {
    if (port.port == 0 || port.protocol == Protocol::kSctp) {
      return tl::unexpected(invalid(fmt::format("{}: a pod serves TCP and UDP ports other than 0", pod.name)));
    }
  }
  return {};
}

std::string encode_addresses(const std::vector<IpAddress>& addresses) {
  std::string out;
  for (const IpAddress& address : addresses) out += (out.empty() ? "" : ",") + address.to_string();
  return out.empty() ? "-" : out;
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(separator), text.size());
    if (end > 0) parts.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return parts;
}

std::optional<std::vector<IpAddress>> decode_addresses(std::string_view text) {
  std::vector<IpAddress> addresses;
  if (text == "-") return addresses;
  for (const std::string_view part : split(text, ',')) {
    const auto address = IpAddress::parse(part);
    if (!address) return std::nullopt;
    addresses.push_back(*address);
  }
  return addresses;
}

// "tcp/80,udp/53"
std::optional<std::vector<ServedPort>> decode_ports(std::string_view text) {
  std::vector<ServedPort> ports;
  if (text == "-") return ports;
  for (const std::string_view part : split(text, ',')) {
    const std::size_t slash = part.find('/');
    if (slash == std::string_view::npos) return std::nullopt;
    const auto port = parse_number(part.substr(slash + 1));
    const auto name = part.substr(0, slash);
    if (!port || *port > 65535 || (name != "tcp" && name != "udp")) return std::nullopt;
    ports.push_back({name == "tcp" ? Protocol::kTcp : Protocol::kUdp, static_cast<std::uint16_t>(*port)});
  }
  return ports;
}

// One line of the encoded form, its words split. False if it cannot be parsed.
bool decode_line(const std::vector<std::string_view>& words, Topology& topology) {
  const std::string_view kind = words[0];
  if (kind == "node" && words.size() == 3) {
    const auto addresses = decode_addresses(words[2]);
    if (addresses) topology.nodes.push_back({std::string(words[1]), *addresses});
    return addresses.has_value();
  }
  if (kind == "device" && words.size() == 4 && !topology.nodes.empty()) {
    const auto address = IpAddress::parse(words[2]);
    const auto length = parse_number(words[3]);
    if (!address || !length) return false;
    topology.nodes.back().devices.push_back({std::string(words[1]), *address, *length});
    return true;
  }
  if (kind == "pod" && words.size() == 6) {
    const auto addresses = decode_addresses(words[3]);
    const auto ports = decode_ports(words[4]);
    if (!addresses || !ports) return false;
    topology.pods.push_back(
        {std::string(words[1]), std::string(words[2]), *addresses, *ports, words[5] == "host-network"});
    return true;
  }
  if (kind == "client" && words.size() == 2) {
    const auto addresses = decode_addresses(words[1]);
    if (addresses) topology.client_addresses = *addresses;
    return addresses.has_value();
  }
  if (kind == "range" && words.size() == 2) {
    const auto range = Cidr::parse(words[1]);
    if (range) topology.service_ranges.push_back(*range);
    return range.has_value();
  }
  if (kind == "entry" && words.size() == 2) {
    topology.entry_node = words[1];
    return true;
  }
  return false;
}

}  // namespace

const NodeSpec* Topology::find_node(std::string_view name) const {
  const auto found =
      std::find_if(nodes.begin(), nodes.end(), [name](const NodeSpec& node) { return node.name == name; });
  return found == nodes.end() ? nullptr : &*found;
}

const PodSpec* Topology::find_pod(std::string_view name) const {
  const auto found = std::find_if(pods.begin(), pods.end(), [name](const PodSpec& pod) { return pod.name == name; });
  return found == pods.end() ? nullptr : &*found;
}

Cidr node_network(const IpAddress& address) {
  return {address, address.family() == Family::kIPv4 ? kNodeNetworkLength4 : kNodeNetworkLength6};
}

IpAddress node_gateway(const IpAddress& address) {
  const Cidr network = node_network(address);
  const auto bytes = network.address().bytes();
  std::vector<std::uint8_t> first(bytes.begin(), bytes.end());
  first.back() = 1;
  return IpAddress::from_bytes(first).value();
}

Topology walkthrough_topology() {
  const std::vector<ServedPort> web{{Protocol::kTcp, 80}};
  const std::vector<ServedPort> dns{{Protocol::kUdp, 53}, {Protocol::kTcp, 53}};
  const std::vector<ServedPort> shop{{Protocol::kTcp, 8080}, {Protocol::kUdp, 8080}};
  const auto pod = [](std::string name, std::string node, unsigned subnet, unsigned host,
                      std::vector<ServedPort> ports) {
    return PodSpec{std::move(name),
                   std::move(node),
                   {ip(fmt::format("10.244.{}.{}", subnet, host)), ip(fmt::format("fd00:10:244:{}::{}", subnet, host))},
                   std::move(ports)};
  };
  Topology topology;
  topology.nodes = {{"k8s-master", {ip("192.168.231.121"), ip("fd00:231::121")}},
                    {"k8s-node1", {ip("192.168.231.122"), ip("fd00:231::122")}, {{"virbr0", ip("192.168.122.1"), 24}}},
                    {"k8s-node2", {ip("192.168.231.123"), ip("fd00:231::123")}}};
  topology.pods = {{"kube-apiserver", "k8s-master", {}, {{Protocol::kTcp, 6443}}, true},
                   pod("coredns-1", "k8s-node1", 169, 149, dns),
                   pod("coredns-2", "k8s-node1", 169, 156, dns),
                   pod("web-1", "k8s-node1", 169, 161, web),
                   pod("web-2", "k8s-node1", 169, 163, web),
                   pod("web-3", "k8s-node1", 169, 165, web),
                   pod("shop-1", "k8s-node2", 36, 65, shop),
                   pod("shop-2", "k8s-node2", 36, 66, shop),
                   pod("edge-1", "k8s-node2", 36, 70, web),
                   pod("toolbox", "k8s-node2", 36, 80, {})};
  topology.client_addresses = usual_client_addresses();
  topology.service_ranges = usual_service_ranges();
  topology.entry_node = "k8s-node1";
  return topology;
}

Topology grid_topology(GridSize size, const std::vector<ServedPort>& ports) {
  Topology topology;
  for (unsigned n = 1; n <= size.nodes; ++n) {
    const std::string node = fmt::format("node{}", n);
    topology.nodes.push_back(
        {node, {ip(fmt::format("192.168.231.{}", 10 + n)), ip(fmt::format("fd00:231::{}", 10 + n))}});
    for (unsigned p = 1; p <= size.pods_per_node; ++p) {
      topology.pods.push_back({fmt::format("pod{}-{}", n, p),
                               node,
                               {ip(fmt::format("10.244.{}.{}", n, p)), ip(fmt::format("fd00:10:244:{}::{}", n, p))},
                               ports});
    }
  }
  topology.client_addresses = usual_client_addresses();
  topology.service_ranges = usual_service_ranges();
  topology.entry_node = "node1";
  return topology;
}

Result<Topology> topology_by_name(std::string_view text) {
  if (text == "walkthrough") return walkthrough_topology();
  const std::size_t cross = std::min(text.find('x'), text.size());
  const std::optional<unsigned> nodes = parse_number(text.substr(0, cross));
  const std::optional<unsigned> pods = parse_number(text.substr(std::min(cross + 1, text.size())));
  if (!nodes || !pods) {
    return tl::unexpected(invalid(fmt::format("'{}' is neither 'walkthrough' nor NODESxPODS as in 3x6", text)));
  }
  const GridSize size{.nodes = nodes.value_or(0), .pods_per_node = pods.value_or(0)};
  if (size.nodes < 1 || size.nodes > kGridNodesMax || size.pods_per_node > kGridPodsMax ||
      size.nodes * size.pods_per_node > kGridPodsTotalMax) {
    return tl::unexpected(invalid(fmt::format("{}: 1 to {} nodes, up to {} pods on each and {} in all", text,
                                              kGridNodesMax, kGridPodsMax, kGridPodsTotalMax)));
  }
  return grid_topology(size);
}

Result<> check_topology(const Topology& topology) {
  Seen seen;
  if (topology.nodes.empty()) return tl::unexpected(invalid("there is no node"));
  SLUICE_CHECK_OK(seen.name(std::string(kClientHost)));
  SLUICE_CHECK_OK(seen.addresses(std::string(kClientHost), topology.client_addresses));
  for (const IpAddress& address : topology.nodes.front().addresses) {
    SLUICE_CHECK_OK(seen.addresses("the gateway", {node_gateway(address)}));
  }
  for (const NodeSpec& node : topology.nodes) SLUICE_CHECK_OK(check_node(node, topology, seen));
  for (const PodSpec& pod : topology.pods) SLUICE_CHECK_OK(check_pod(pod, topology, seen));
  if (topology.find_node(topology.entry_node) == nullptr) {
    return tl::unexpected(invalid(fmt::format("the entry node '{}' is not among the nodes", topology.entry_node)));
  }
  return {};
}

std::string encode_topology(const Topology& topology) {
  std::string out;
  for (const NodeSpec& node : topology.nodes) {
    out += fmt::format("node {} {}\n", node.name, encode_addresses(node.addresses));
    for (const LocalDevice& device : node.devices) {
      out += fmt::format("device {} {} {}\n", device.name, device.address.to_string(), device.prefix_length);
    }
  }
  for (const PodSpec& pod : topology.pods) {
    std::string ports;
    for (const ServedPort& port : pod.ports) {
      ports += fmt::format("{}{}/{}", ports.empty() ? "" : ",", lower_name(port.protocol), port.port);
    }
    out += fmt::format("pod {} {} {} {} {}\n", pod.name, pod.node, encode_addresses(pod.addresses),
                       ports.empty() ? "-" : ports, pod.host_network ? "host-network" : "own-network");
  }
  out += fmt::format("client {}\n", encode_addresses(topology.client_addresses));
  for (const Cidr& range : topology.service_ranges) out += fmt::format("range {}\n", range.to_string());
  out += fmt::format("entry {}\n", topology.entry_node);
  return out;
}

Result<Topology> decode_topology(std::string_view text) {
  Topology topology;
  for (const std::string_view line : split(text, '\n')) {
    const auto words = split(line, ' ');
    if (words.empty()) continue;
    if (!decode_line(words, topology)) return tl::unexpected(invalid(fmt::format("cannot read the line '{}'", line)));
  }
  SLUICE_CHECK_OK(check_topology(topology));
  return topology;
}

}  // namespace sluice::lab
