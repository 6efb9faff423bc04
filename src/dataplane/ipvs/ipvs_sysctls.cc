// SPDX-License-Identifier: Apache-2.0
// Why each is needed (Documentation/networking/ipvs-sysctl.rst):
//
// - vs/conntrack: masquerading happens in connection tracking, which must see IPVS connections.
// - vs/expire_nodest_conn: connections of a real server that is gone end, instead of staying dead in the table.
// - vs/expire_quiescent_template: affinity does not send new connections to a real server of weight 0.
// - vs/conn_reuse_mode: before 5.9 a reused source port cost the client a second.
// - ip_forward: packets to real servers are forwarded packets.
// - conf/lo/accept_local: with an engine that rewrites the node's own packets where they leave, both ends of one can be
//   addresses of the node (ADR 28).
// - arp_ignore and arp_announce: with strictARP, no other interface replies for addresses on kube-ipvs0.
#include "dataplane/ipvs/ipvs_sysctls.h"

#include <sys/utsname.h>

#include <cstdio>

namespace sluice::dataplane::ipvs {
namespace {

constexpr KernelVersion kConnReuseMended{5, 9};

}  // namespace

KernelVersion kernel_version() {
  utsname names{};
  KernelVersion version;
  if (::uname(&names) == 0) (void)std::sscanf(names.release, "%u.%u", &version.major, &version.minor);
  return version;
}

std::vector<sys::SysctlSetting> wanted_sysctls(const sluice::ipvs::Description& engine, bool strict_arp,
                                               KernelVersion kernel) {
  std::vector<sys::SysctlSetting> wanted;
  if (engine.needs_ip_vs_settings) {
    wanted.push_back({"net/ipv4/vs/conntrack", "1"});
    if (kernel < kConnReuseMended) wanted.push_back({"net/ipv4/vs/conn_reuse_mode", "0"});
    wanted.push_back({"net/ipv4/vs/expire_nodest_conn", "1"});
    wanted.push_back({"net/ipv4/vs/expire_quiescent_template", "1"});
  }
  wanted.push_back({"net/ipv4/ip_forward", "1"});
  if (!engine.needs_local_addresses) wanted.push_back({"net/ipv4/conf/lo/accept_local", "1"});
  if (strict_arp && engine.needs_local_addresses) {
    wanted.push_back({"net/ipv4/conf/all/arp_ignore", "1"});
    wanted.push_back({"net/ipv4/conf/all/arp_announce", "2"});
  }
  return wanted;
}

}  // namespace sluice::dataplane::ipvs
