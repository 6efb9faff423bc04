// SPDX-License-Identifier: Apache-2.0
// rtnetlink (NETLINK_ROUTE, rtnetlink(7)) is the kernel's table of links, addresses, routes and neighbours: one message
// per object, a fixed header per kind (ifinfomsg, ifaddrmsg, rtmsg, ndmsg) and attributes behind it. Each request here
// requests an acknowledgement, which carries 0 or an errno, so every function is one send and one receive on a socket
// of its own. That costs about 20 microseconds; a lab of three nodes needs a few hundred.
#include "sys/links.h"

#include <fmt/format.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "sys/netlink_dump.h"
#include "sys/netns.h"

namespace sluice::sys {
namespace {

using SocketPtr = std::unique_ptr<mnl_socket, decltype(&mnl_socket_close)>;
using OnMessage = std::function<void(const nlmsghdr*)>;
// IF_OPER_UP of <linux/if.h>, which cannot be included with glibc's <net/if.h>.
constexpr std::uint8_t kOperationalStateUp = 6;
constexpr std::size_t kRequestSize = 1024;
constexpr std::size_t kAnswerSize = 16 * 1024;

Error link_error(const std::string& what, int error) {
  const Errc code = error == EPERM                                    ? Errc::kPermission
                    : error == ENODEV || error == ENOENT              ? Errc::kNotFound
                    : error == EEXIST                                 ? Errc::kAlreadyExists
                    : error == EINVAL || error == ENAMETOOLONG        ? Errc::kInvalid
                    : error == EOPNOTSUPP || error == EPROTONOSUPPORT ? Errc::kUnsupported
                                                                      : Errc::kInternal;
  return Error{code, fmt::format("links: {}: {}", what, std::strerror(error)), error};
}

int call_on_message(const nlmsghdr* header, void* data) {
  (*static_cast<OnMessage*>(data))(header);
  return MNL_CB_OK;
}

// One request message under construction, sent once.
class Request {
 public:
  Request(unsigned type, unsigned flags) : header_(mnl_nlmsg_put_header(buffer_.data())) {
    header_->nlmsg_type = static_cast<std::uint16_t>(type);
    header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    header_->nlmsg_seq = 1;
  }

  template <typename Extra>
  Extra* extra() {
    return static_cast<Extra*>(mnl_nlmsg_put_extra_header(header_, sizeof(Extra)));
  }
  nlmsghdr* header() { return header_; }
  void put(unsigned type, const std::string& text) { mnl_attr_put_strz(header_, attribute(type), text.c_str()); }
  void put_u32(unsigned type, std::uint32_t value) { mnl_attr_put_u32(header_, attribute(type), value); }
  void put(unsigned type, std::span<const std::uint8_t> bytes) {
    mnl_attr_put(header_, attribute(type), bytes.size(), bytes.data());
  }
  template <typename Body>
  void nest(unsigned type, Body body) {
    nlattr* attr = mnl_attr_nest_start(header_, attribute(type));
    body();
    mnl_attr_nest_end(header_, attr);
  }

  // 0, or the errno that the kernel returned.
  int send(OnMessage on_message = [](const nlmsghdr*) {}) {
    const SocketPtr socket(mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC), &mnl_socket_close);
    if (!socket || mnl_socket_bind(socket.get(), 0, MNL_SOCKET_AUTOPID) < 0 ||
        mnl_socket_sendto(socket.get(), header_, header_->nlmsg_len) < 0) {
      return errno;
    }
    std::vector<char> answer(kAnswerSize);
    while (true) {
      const ssize_t received = mnl_socket_recvfrom(socket.get(), answer.data(), answer.size());
      if (received < 0) return errno;
      const int more = mnl_cb_run(answer.data(), static_cast<std::size_t>(received), 1,
                                  mnl_socket_get_portid(socket.get()), call_on_message, &on_message);
      if (more < 0) return errno;
      if (more == MNL_CB_STOP) return 0;
    }
  }

 private:
  static std::uint16_t attribute(unsigned type) { return static_cast<std::uint16_t>(type); }
  alignas(nlmsghdr) std::array<char, kRequestSize> buffer_{};
  nlmsghdr* header_;
};

Result<unsigned> index_of(const std::string& link) {
  const unsigned index = ::if_nametoindex(link.c_str());
  if (index == 0) return tl::unexpected(link_error("find " + link, errno));
  return index;
}

Result<> check_link_name(const std::string& name) {
  if (!name.empty() && name.size() < IFNAMSIZ) return {};
  return fail(Errc::kInvalid, fmt::format("links: '{}' is not a valid name: 1 to {} characters", name, IFNAMSIZ - 1));
}

std::uint8_t kernel_family(const IpAddress& address) {
  return address.family() == Family::kIPv4 ? AF_INET : AF_INET6;
}

Result<> outcome(const std::string& what, int error) {
  if (error == 0) return {};
  return tl::unexpected(link_error(what, error));
}

// libmnl's own loop macro does not compile as C++ (it assigns void pointers).
template <typename Body>
void for_each_attribute(const nlattr* attr, const char* end, Body body) {
  while (mnl_attr_ok(attr, static_cast<int>(end - reinterpret_cast<const char*>(attr)))) {
    body(attr);
    attr = mnl_attr_next(attr);
  }
}

template <typename Body>
void for_each_link_attribute(const nlmsghdr* answer, Body body) {
  if (answer->nlmsg_type != RTM_NEWLINK) return;
  const auto* attr = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(answer, sizeof(ifinfomsg)));
  for_each_attribute(attr, static_cast<const char*>(mnl_nlmsg_get_payload_tail(answer)), body);
}

// By IFLA_LINKINFO: bonds and VRFs have ports, too.
bool is_bridge_port(const nlattr* about) {
  bool port = false;
  const auto* first = static_cast<const nlattr*>(mnl_attr_get_payload(about));
  for_each_attribute(first, reinterpret_cast<const char*>(first) + mnl_attr_get_payload_len(about),
                     [&](const nlattr* attr) {
                       if (mnl_attr_get_type(attr) == IFLA_INFO_SLAVE_KIND)
                         port = std::strcmp(mnl_attr_get_str(attr), "bridge") == 0;
                     });
  return port;
}

// The kernel accepts an IPv6 address at once, but activates it (addrconf_dad_completed, net/ipv6/addrconf.c) from
// a work queue a moment later, even without duplicate address detection. Until then packets to it are lost.
Result<> wait_until_local(const IpAddress& address, const std::string& what) {
  constexpr int kTurnsMax = 25000;
  constexpr std::chrono::microseconds kTurn{200};
  for (int turn = 0; turn < kTurnsMax; ++turn) {
    Request request(RTM_GETROUTE, NLM_F_ACK);
    auto* message = request.extra<rtmsg>();
    message->rtm_family = kernel_family(address);
    message->rtm_dst_len = static_cast<std::uint8_t>(address.bytes().size() * 8);
    request.put(RTA_DST, address.bytes());
    bool local = false;
    request.send([&local](const nlmsghdr* answer) {
      if (answer->nlmsg_type == RTM_NEWROUTE)
        local = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(answer))->rtm_type == RTN_LOCAL;
    });
    if (local) return {};
    std::this_thread::sleep_for(kTurn);
  }
  return fail(Errc::kUnavailable, what + ": the kernel does not activate it");
}

constexpr unsigned kCreate = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;

// A link of a kind that needs no settings.
Result<> add_plain_link(const std::string& name, const std::string& kind) {
  SLUICE_CHECK_OK(check_link_name(name));
  Request request(RTM_NEWLINK, kCreate);
  request.extra<ifinfomsg>();
  request.put(IFLA_IFNAME, name);
  request.nest(IFLA_LINKINFO, [&] { request.put(IFLA_INFO_KIND, kind); });
  return outcome(fmt::format("add {} {}", kind, name), request.send());
}

Result<> set_flag(const std::string& link, unsigned flag, const std::string& what) {
  SLUICE_TRY(const unsigned index, index_of(link));
  Request request(RTM_NEWLINK, NLM_F_ACK);
  auto* message = request.extra<ifinfomsg>();
  message->ifi_index = static_cast<int>(index);
  message->ifi_flags = flag;
  message->ifi_change = flag;
  return outcome(what, request.send());
}

}  // namespace

Result<> add_veth(const VethPair& pair) {
  SLUICE_CHECK_OK(check_link_name(pair.name));
  SLUICE_CHECK_OK(check_link_name(pair.peer));
  UniqueFd peer_netns;
  if (!pair.peer_netns.empty()) {
    SLUICE_TRY(peer_netns, open_netns(pair.peer_netns));
  }
  Request request(RTM_NEWLINK, kCreate);
  request.extra<ifinfomsg>();
  request.put(IFLA_IFNAME, pair.name);
  if (pair.mac != MacAddress{}) request.put(IFLA_ADDRESS, std::span<const std::uint8_t>(pair.mac));
  request.nest(IFLA_LINKINFO, [&] {
    request.put(IFLA_INFO_KIND, std::string("veth"));
    request.nest(IFLA_INFO_DATA, [&] {
      request.nest(VETH_INFO_PEER, [&] {
        request.extra<ifinfomsg>();
        request.put(IFLA_IFNAME, pair.peer);
        if (pair.peer_mac != MacAddress{}) request.put(IFLA_ADDRESS, std::span<const std::uint8_t>(pair.peer_mac));
        if (peer_netns) request.put_u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(peer_netns.get()));
      });
    });
  });
  return outcome(fmt::format("add veth {} with peer {} in {}", pair.name, pair.peer, pair.peer_netns), request.send());
}

Result<> add_bridge(const std::string& name) {
  return add_plain_link(name, "bridge");
}

Result<> add_dummy(const std::string& name) {
  return add_plain_link(name, "dummy");
}

Result<> set_master(const std::string& link, const std::string& bridge) {
  SLUICE_TRY(const unsigned index, index_of(link));
  SLUICE_TRY(const unsigned master, index_of(bridge));
  Request request(RTM_NEWLINK, NLM_F_ACK);
  request.extra<ifinfomsg>()->ifi_index = static_cast<int>(index);
  request.put_u32(IFLA_MASTER, master);
  return outcome(fmt::format("put {} into {}", link, bridge), request.send());
}

Result<> set_up(const std::string& link) {
  return set_flag(link, IFF_UP, "set up " + link);
}

Result<> set_without_neighbours(const std::string& link) {
  return set_flag(link, IFF_NOARP, "set " + link + " to have no neighbours");
}

Result<> set_mtu(const std::string& link, unsigned mtu) {
  SLUICE_TRY(const unsigned index, index_of(link));
  Request request(RTM_NEWLINK, NLM_F_ACK);
  request.extra<ifinfomsg>()->ifi_index = static_cast<int>(index);
  request.put_u32(IFLA_MTU, mtu);
  return outcome(fmt::format("set the MTU of {} to {}", link, mtu), request.send());
}

Result<bool> link_running(const std::string& link) {
  SLUICE_CHECK_OK(check_link_name(link));
  Request request(RTM_GETLINK, NLM_F_ACK);
  request.extra<ifinfomsg>();
  request.put(IFLA_IFNAME, link);
  bool running = false;
  const int error = request.send([&running](const nlmsghdr* answer) {
    const unsigned flags = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(answer))->ifi_flags;
    // The loopback has no operational state: it runs when it is up.
    running = (flags & IFF_LOOPBACK) != 0 && (flags & IFF_UP) != 0;
    for_each_link_attribute(answer, [&running](const nlattr* attr) {
      if (mnl_attr_get_type(attr) == IFLA_OPERSTATE && mnl_attr_get_u8(attr) == kOperationalStateUp) running = true;
    });
  });
  if (error != 0) return tl::unexpected(link_error("look at " + link, error));
  return running;
}

Result<> remove_link(const std::string& name) {
  SLUICE_CHECK_OK(check_link_name(name));
  Request request(RTM_DELLINK, NLM_F_ACK);
  request.extra<ifinfomsg>();
  request.put(IFLA_IFNAME, name);
  const int error = request.send();
  if (error == ENODEV) return {};
  return outcome("remove " + name, error);
}

Result<bool> link_exists(const std::string& name) {
  SLUICE_CHECK_OK(check_link_name(name));
  if (::if_nametoindex(name.c_str()) != 0) return true;
  if (errno == ENODEV || errno == ENXIO) return false;
  return tl::unexpected(link_error("find " + name, errno));
}

Result<std::vector<std::string>> list_links() {
  Request request(RTM_GETLINK, NLM_F_DUMP);
  request.extra<ifinfomsg>();
  std::vector<std::string> names;
  const DumpReader reader{.restart = [&names] { names.clear(); },
                          .answer =
                              [&names](const nlmsghdr& answer) {
                                for_each_link_attribute(&answer, [&names](const nlattr* attr) {
                                  if (mnl_attr_get_type(attr) == IFLA_IFNAME)
                                    names.emplace_back(mnl_attr_get_str(attr));
                                });
                              }};
  SLUICE_CHECK_OK(dump_netlink(NETLINK_ROUTE, *request.header(), reader));
  std::sort(names.begin(), names.end());
  return names;
}

Result<std::vector<LinkState>> list_link_states() {
  Request request(RTM_GETLINK, NLM_F_DUMP);
  request.extra<ifinfomsg>();
  std::vector<LinkState> states;
  const auto take = [&states](const nlmsghdr& answer) {
    if (answer.nlmsg_type != RTM_NEWLINK) return;
    const auto& about = *static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(&answer));
    const unsigned flags = about.ifi_flags;
    LinkState state{.name = {},
                    .index = about.ifi_index,
                    .mtu = 0,
                    .up = (flags & IFF_UP) != 0,
                    .loopback = (flags & IFF_LOOPBACK) != 0,
                    .without_neighbours = (flags & IFF_NOARP) != 0};
    int master = 0;
    bool port = false;
    for_each_link_attribute(&answer, [&](const nlattr* attr) {
      const unsigned type = mnl_attr_get_type(attr);
      if (type == IFLA_IFNAME) state.name = mnl_attr_get_str(attr);
      if (type == IFLA_MTU) state.mtu = mnl_attr_get_u32(attr);
      if (type == IFLA_MASTER) master = static_cast<int>(mnl_attr_get_u32(attr));
      if (type == IFLA_LINKINFO) port = is_bridge_port(attr);
      if (type == IFLA_ADDRESS && mnl_attr_get_payload_len(attr) == state.mac.size())
        std::memcpy(state.mac.data(), mnl_attr_get_payload(attr), state.mac.size());
    });
    if (port) state.bridge = master;
    states.push_back(std::move(state));
  };
  SLUICE_CHECK_OK(dump_netlink(NETLINK_ROUTE, *request.header(), {[&states] { states.clear(); }, take}));
  return states;
}

Result<> add_address(const std::string& link, const IpAddress& address, unsigned prefix_length) {
  SLUICE_TRY(const unsigned index, index_of(link));
  Request request(RTM_NEWADDR, kCreate);
  auto* message = request.extra<ifaddrmsg>();
  message->ifa_family = kernel_family(address);
  message->ifa_prefixlen = static_cast<std::uint8_t>(prefix_length);
  message->ifa_flags = IFA_F_NODAD;
  message->ifa_scope = RT_SCOPE_UNIVERSE;
  message->ifa_index = index;
  request.put(IFA_LOCAL, address.bytes());
  request.put(IFA_ADDRESS, address.bytes());
  const std::string what = fmt::format("add address {}/{} to {}", address.to_string(), prefix_length, link);
  SLUICE_CHECK_OK(outcome(what, request.send()));
  if (address.family() == Family::kIPv4) return {};
  SLUICE_TRY(const bool running, link_running(link));
  if (!running) return {};  // the address becomes usable with the link
  return wait_until_local(address, what);
}

Result<> add_route(const RouteSpec& route) {
  const bool on_link = route.gateway.is_unspecified();
  Request request(RTM_NEWROUTE, kCreate);
  auto* message = request.extra<rtmsg>();
  message->rtm_family = kernel_family(route.destination.address());
  message->rtm_dst_len = static_cast<std::uint8_t>(route.destination.prefix_length());
  message->rtm_table = RT_TABLE_MAIN;
  message->rtm_protocol = RTPROT_STATIC;
  message->rtm_scope = on_link ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  message->rtm_type = RTN_UNICAST;
  if (!route.destination.is_zero()) request.put(RTA_DST, route.destination.address().bytes());
  if (!on_link) request.put(RTA_GATEWAY, route.gateway.bytes());
  if (!route.link.empty()) {
    SLUICE_TRY(const unsigned index, index_of(route.link));
    request.put_u32(RTA_OIF, index);
  }
  const std::string via = on_link ? std::string() : " via " + route.gateway.to_string();
  return outcome(fmt::format("add route {}{} {}", route.destination.to_string(), via, route.link), request.send());
}

Result<> add_neighbour(const std::string& link, const IpAddress& address, const MacAddress& mac) {
  SLUICE_TRY(const unsigned index, index_of(link));
  Request request(RTM_NEWNEIGH, kCreate);
  auto* message = request.extra<ndmsg>();
  message->ndm_family = kernel_family(address);
  message->ndm_ifindex = static_cast<int>(index);
  message->ndm_state = NUD_PERMANENT;
  request.put(NDA_DST, address.bytes());
  request.put(NDA_LLADDR, std::span<const std::uint8_t>(mac));
  return outcome(fmt::format("add neighbour {} on {}", address.to_string(), link), request.send());
}

}  // namespace sluice::sys
