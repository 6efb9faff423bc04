// SPDX-License-Identifier: Apache-2.0
// How the hosts of a lab are wired. The namespace "fabric" holds one bridge, the nodes' network: every node and the
// client are attached to it by a veth, and its own address, the first of the network, is their default gateway (which
// forwards nothing: what leaves the cluster is lost, as on a network without internet). A node needs that default
// route: a packet to a cluster IP is routed once before netfilter changes its destination, and without any route it
// would be refused at once.
//
// Pods are wired as in calico. A pod has one veth, eth0, with single addresses (/32 and /128), and reaches
// everything through a gateway that does not exist: 169.254.1.1 and the link-local address that belongs to the MAC
// ee:ee:ee:ee:ee:ee. The node's end of the veth, cali<hash>, has that MAC. Calico answers the pod's ARP by proxy_arp,
// after a random delay of up to 0.8 s; we add permanent neighbour entries instead, on both sides, so the first packet
// is sent at once. Each node has one route per pod: to its own through the veth, to the others' through their node.
//
// all links, then the wait, then addresses and routes.
#include "lab/network.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/ip_literals.h"
#include "sys/bpf_place.h"
#include "sys/links.h"
#include "sys/netns.h"
#include "sys/sysctl.h"

namespace sluice::lab {
namespace {

constexpr sys::MacAddress kGatewayMac{0xee, 0xee, 0xee, 0xee, 0xee, 0xee};
constexpr std::string_view kPodLinkPrefix = "cali";
constexpr const char* kBridge = "sluice0";
constexpr const char* kPort = "eth0";    // the link of every host
constexpr int kLinkWaitTurnsMax = 5000;  // of 1 ms

IpAddress pod_gateway(Family family) {
  return ip(family == Family::kIPv4 ? "169.254.1.1" : "fe80::ecee:eeff:feee:eeee");
}

Cidr whole_internet(Family family) {
  return {ip(family == Family::kIPv4 ? "0.0.0.0" : "::"), 0};
}

unsigned full_length(const IpAddress& address) {
  return address.family() == Family::kIPv4 ? 32 : 128;
}

// FNV-1a, 64 bits: stable names and MAC addresses derived from hosts' names.
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325U;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3U;
  return hash;
}

std::string pod_link(const PodSpec& pod) {
  constexpr std::uint64_t kElevenDigits = (std::uint64_t{1} << 44) - 1;  // a link's name has at most 15 characters
  return fmt::format("{}{:011x}", kPodLinkPrefix, hash_of(pod.node + "." + pod.name) & kElevenDigits);
}

sys::MacAddress pod_mac(const PodSpec& pod) {
  const std::uint64_t hash = hash_of("mac." + pod.name);
  sys::MacAddress mac{0x02};  // locally administered
  for (std::size_t i = 1; i < mac.size(); ++i) mac[i] = static_cast<std::uint8_t>(hash >> (8 * i));
  return mac;
}

// The bridge's end of a node's or the client's veth.
std::string fabric_port(std::size_t index) {
  return fmt::format("{}p{}", kBridge, index + 1);
}

const IpAddress* address_of(const std::vector<IpAddress>& addresses, Family family) {
  const auto found =
      std::find_if(addresses.begin(), addresses.end(), [family](const IpAddress& a) { return a.family() == family; });
  return found == addresses.end() ? nullptr : &*found;
}

struct Setting {
  const char* name;
  const char* value;
};

Result<> write_settings(std::initializer_list<Setting> settings) {
  for (const auto& [name, value] : settings) {
    const auto written = sys::ensure_sysctl(name, value);
    if (!written) return tl::unexpected(written.error());
  }
  return {};
}

// In every namespace, before it has links: they take their settings from "default". Link-local addresses are set by
// hand where needed, because the kernel's own stay unusable for a second (duplicate address detection).
// Redirects would teach hosts routes around their node.
Result<> prepare_host() {
  SLUICE_CHECK_OK(sys::set_up("lo"));
  return write_settings({{"net/ipv6/conf/default/addr_gen_mode", "1"},
                         {"net/ipv6/conf/default/accept_dad", "0"},
                         {"net/ipv6/conf/default/accept_ra", "0"},
                         {"net/ipv6/conf/default/accept_redirects", "0"},
                         {"net/ipv4/conf/all/accept_redirects", "0"},
                         {"net/ipv4/conf/default/accept_redirects", "0"}});
}

// A node routes. Loose reverse-path filtering (RFC 3704 section 2.4), as in distributions for several uplinks.
// With the kernel's rate limits a refusal would sometimes look like a timeout.
Result<> prepare_node() {
  SLUICE_CHECK_OK(prepare_host());
  return write_settings({{"net/ipv4/ip_forward", "1"},
                         {"net/ipv6/conf/all/forwarding", "1"},
                         {"net/ipv4/conf/all/rp_filter", "2"},
                         {"net/ipv4/conf/default/rp_filter", "2"},
                         {"net/ipv4/conf/all/send_redirects", "0"},
                         {"net/ipv4/conf/default/send_redirects", "0"},
                         {"net/ipv4/icmp_ratelimit", "0"},
                         {"net/ipv6/icmp/ratelimit", "0"}});
}

// Builds one lab's network; holds what every step needs.
class Builder {
 public:
  Builder(const std::string& id, const Topology& topology, const std::function<bool()>& cancelled)
      : id_(id), topology_(topology), cancelled_(cancelled) {}

  Result<> build() {
    SLUICE_CHECK_OK(add_namespaces());
    SLUICE_CHECK_OK(add_links());
    SLUICE_CHECK_OK(wait_for_links());
    SLUICE_CHECK_OK(inside(kFabricHost, [this] { return address_fabric(); }));
    for (const NodeSpec& node : topology_.nodes) {
      SLUICE_CHECK_OK(inside(node.name, [&] { return address_node(node); }));
    }
    for (const PodSpec& pod : topology_.pods) {
      if (!pod.host_network) SLUICE_CHECK_OK(inside(pod.name, [&] { return address_pod(pod); }));
    }
    return inside(kClientHost, [this] { return address_client(); });
  }

 private:
  [[nodiscard]] std::string netns(std::string_view host) const { return netns_name(id_, host); }

  Result<> inside(std::string_view host, const std::function<Result<>()>& body) const {
    if (cancelled_ && cancelled_()) return fail(Errc::kUnavailable, "interrupted while it was made");
    const auto done = sys::in_netns(netns(host), body);
    if (!done) return annotate(done.error(), std::string(host));
    return {};
  }

  Result<> add_namespaces() const {
    // Created first and removed last: it shows that there is a lab.
    SLUICE_CHECK_OK(sys::add_netns(netns(kFabricHost)));
    SLUICE_CHECK_OK(sys::add_netns(netns(kClientHost)));
    for (const NodeSpec& node : topology_.nodes) SLUICE_CHECK_OK(sys::add_netns(netns(node.name)));
    for (const PodSpec& pod : topology_.pods) {
      if (!pod.host_network) SLUICE_CHECK_OK(sys::add_netns(netns(pod.name)));
    }
    return {};
  }

  [[nodiscard]] Result<> plug_in(const std::string& port) const {
    SLUICE_CHECK_OK(sys::add_veth({.name = kPort, .peer = port, .peer_netns = netns(kFabricHost)}));
    return sys::set_up(kPort);
  }

  Result<> add_links() const {
    std::vector<std::string> fabric_ports;
    for (const NodeSpec& node : topology_.nodes) {
      fabric_ports.push_back(fabric_port(fabric_ports.size()));
      SLUICE_CHECK_OK(inside(node.name, [&] { return add_node_links(node, fabric_ports.back()); }));
    }
    fabric_ports.push_back(fabric_port(fabric_ports.size()));
    SLUICE_CHECK_OK(inside(kClientHost, [&] { return add_client_link(fabric_ports.back()); }));
    SLUICE_CHECK_OK(inside(kFabricHost, [&] { return bridge_ports(fabric_ports); }));
    for (const PodSpec& pod : topology_.pods) {
      if (!pod.host_network) SLUICE_CHECK_OK(inside(pod.name, [] { return sys::set_up(kPort); }));
    }
    return {};
  }

  [[nodiscard]] Result<> add_node_links(const NodeSpec& node, const std::string& port) const {
    SLUICE_CHECK_OK(prepare_node());
    SLUICE_CHECK_OK(plug_in(port));
    return add_pod_links(node);
  }

  [[nodiscard]] Result<> add_client_link(const std::string& port) const {
    SLUICE_CHECK_OK(prepare_host());
    return plug_in(port);
  }

  static Result<> bridge_ports(const std::vector<std::string>& ports) {
    SLUICE_CHECK_OK(prepare_host());
    SLUICE_CHECK_OK(sys::add_bridge(kBridge));
    SLUICE_CHECK_OK(sys::set_up(kBridge));
    for (const std::string& port : ports) {
      SLUICE_CHECK_OK(sys::set_master(port, kBridge));
      SLUICE_CHECK_OK(sys::set_up(port));
    }
    return {};
  }

  [[nodiscard]] Result<> add_pod_links(const NodeSpec& node) const {
    for (const PodSpec& pod : topology_.pods) {
      if (pod.host_network || pod.node != node.name) continue;
      SLUICE_CHECK_OK(inside(pod.name, prepare_host));
      SLUICE_CHECK_OK(sys::add_veth({.name = pod_link(pod),
                                     .peer = kPort,
                                     .peer_netns = netns(pod.name),
                                     .mac = kGatewayMac,
                                     .peer_mac = pod_mac(pod)}));
      SLUICE_CHECK_OK(sys::set_up(pod_link(pod)));
    }
    return {};
  }

  Result<> wait_for_links() const {
    SLUICE_CHECK_OK(inside(kClientHost, [] { return wait_for_link(kPort); }));
    for (const NodeSpec& node : topology_.nodes) {
      SLUICE_CHECK_OK(inside(node.name, [] { return wait_for_link(kPort); }));
    }
    for (std::size_t i = 0; i < topology_.nodes.size(); ++i) {
      SLUICE_CHECK_OK(inside(kFabricHost, [i] { return wait_for_link(fabric_port(i)); }));
    }
    SLUICE_CHECK_OK(inside(kFabricHost, [] { return wait_for_link(kBridge); }));
    for (const PodSpec& pod : topology_.pods) {
      if (pod.host_network) continue;
      SLUICE_CHECK_OK(inside(pod.name, [] { return wait_for_link(kPort); }));
      SLUICE_CHECK_OK(inside(pod.node, [&pod] { return wait_for_link(pod_link(pod)); }));
    }
    return {};
  }

  static Result<> wait_for_link(const std::string& link) {
    for (int turn = 0; turn < kLinkWaitTurnsMax; ++turn) {
      SLUICE_TRY(const bool running, sys::link_running(link));
      if (running) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return fail(Errc::kUnavailable, link + " has no carrier");
  }

  [[nodiscard]] Result<> address_fabric() const {
    SLUICE_CHECK_OK(sys::add_address(kBridge, ip("fe80::231:1"), kNodeNetworkLength6));
    for (const IpAddress& address : topology_.nodes.front().addresses) {
      SLUICE_CHECK_OK(sys::add_address(kBridge, node_gateway(address), node_network(address).prefix_length()));
    }
    return {};
  }

  // The link-local address is the source of a router's neighbour requests (RFC 4861 section 4.3).
  static Result<> address_on_fabric(const std::vector<IpAddress>& addresses) {
    const std::string link_local = fmt::format("fe80::{:x}", hash_of(addresses.front().to_string()) % 0xffff + 2);
    SLUICE_CHECK_OK(sys::add_address(kPort, ip(link_local), kNodeNetworkLength6));
    for (const IpAddress& address : addresses) {
      SLUICE_CHECK_OK(sys::add_address(kPort, address, node_network(address).prefix_length()));
    }
    return {};
  }

  [[nodiscard]] Result<> address_node(const NodeSpec& node) const {
    SLUICE_CHECK_OK(address_on_fabric(node.addresses));
    for (const IpAddress& address : node.addresses) {
      SLUICE_CHECK_OK(sys::add_route(
          {.destination = whole_internet(address.family()), .gateway = node_gateway(address), .link = kPort}));
    }
    for (const LocalDevice& device : node.devices) {
      SLUICE_CHECK_OK(sys::add_bridge(device.name));
      SLUICE_CHECK_OK(sys::set_up(device.name));
      SLUICE_CHECK_OK(sys::add_address(device.name, device.address, device.prefix_length));
    }
    for (const PodSpec& pod : topology_.pods) {
      if (!pod.host_network) SLUICE_CHECK_OK(route_to_pod(node, pod));
    }
    return {};
  }

  [[nodiscard]] Result<> route_to_pod(const NodeSpec& node, const PodSpec& pod) const {
    for (const IpAddress& address : pod.addresses) {
      const Cidr destination(address, full_length(address));
      if (pod.node == node.name) {
        SLUICE_CHECK_OK(sys::add_neighbour(pod_link(pod), address, pod_mac(pod)));
        SLUICE_CHECK_OK(sys::add_route({.destination = destination, .gateway = {}, .link = pod_link(pod)}));
      } else if (address_of(node.addresses, address.family()) != nullptr) {
        const IpAddress* gateway = address_of(topology_.find_node(pod.node)->addresses, address.family());
        SLUICE_CHECK_OK(sys::add_route({.destination = destination, .gateway = *gateway, .link = kPort}));
      }
    }
    return {};
  }

  static Result<> address_pod(const PodSpec& pod) {
    for (const IpAddress& address : pod.addresses) {
      const IpAddress gateway = pod_gateway(address.family());
      SLUICE_CHECK_OK(sys::add_address(kPort, address, full_length(address)));
      SLUICE_CHECK_OK(sys::add_neighbour(kPort, gateway, kGatewayMac));
      if (address.family() == Family::kIPv4) {
        SLUICE_CHECK_OK(sys::add_route({.destination = Cidr(gateway, 32), .gateway = {}, .link = kPort}));
      }
      SLUICE_CHECK_OK(
          sys::add_route({.destination = whole_internet(address.family()), .gateway = gateway, .link = kPort}));
    }
    return {};
  }

  // Outside the cluster, routes for Service addresses lead to one node, and for a node's other networks to that node.
  [[nodiscard]] Result<> address_client() const {
    if (topology_.client_addresses.empty()) return {};
    SLUICE_CHECK_OK(address_on_fabric(topology_.client_addresses));
    const NodeSpec& entry = *topology_.find_node(topology_.entry_node);
    for (const Cidr& range : topology_.service_ranges) SLUICE_CHECK_OK(route_client(range, entry));
    for (const NodeSpec& node : topology_.nodes) {
      for (const LocalDevice& device : node.devices) {
        SLUICE_CHECK_OK(route_client(Cidr(device.address, device.prefix_length), node));
      }
    }
    return {};
  }

  [[nodiscard]] Result<> route_client(const Cidr& destination, const NodeSpec& through) const {
    const IpAddress* gateway = address_of(through.addresses, destination.family());
    if (gateway == nullptr || address_of(topology_.client_addresses, destination.family()) == nullptr) return {};
    auto added = sys::add_route({.destination = destination, .gateway = *gateway, .link = kPort});
    if (!added && added.error().code == Errc::kAlreadyExists)
      return {};  // two nodes may have the same network behind them
    return added;
  }

  const std::string& id_;
  const Topology& topology_;
  const std::function<bool()>& cancelled_;
};

}  // namespace

std::string netns_name(std::string_view id, std::string_view host) {
  return fmt::format("sluice-{}-{}", id, host);
}

Result<std::vector<std::string>> list_lab_netns(std::string_view id) {
  SLUICE_TRY(std::vector<std::string> names, sys::list_netns());
  const std::string prefix = netns_name(id, "");
  std::erase_if(names, [&prefix](const std::string& name) { return !name.starts_with(prefix); });
  return names;
}

bool is_lab_link(std::string_view name) {
  return name.starts_with(kPodLinkPrefix) || name.starts_with(kBridge);
}

Result<> build_network(const std::string& id, const Topology& topology, const std::function<bool()>& cancelled) {
  SLUICE_CHECK_OK(check_topology(topology));
  return Builder(id, topology, cancelled).build();
}

Result<> remove_network(const std::string& id) {
  SLUICE_TRY(std::vector<std::string> names, list_lab_netns(id));
  const std::string fabric = netns_name(id, kFabricHost);
  std::partition(names.begin(), names.end(), [&fabric](const std::string& name) { return name != fabric; });
  for (const std::string& name : names) {
    // A node's proxy may have been killed: what its engine in BPF pinned would outlive the node. An error is none of the removal's: a name may have
    // lost its namespace.
    static_cast<void>(sys::in_netns(name, [] { return sys::remove_netns_pins(); }));
    SLUICE_CHECK_OK(sys::remove_netns(name));
  }
  return {};
}

}  // namespace sluice::lab
