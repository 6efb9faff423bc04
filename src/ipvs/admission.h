// SPDX-License-Identifier: Apache-2.0
// What the kernel refuses, in its order (ip_vs_genl_set_cmd(), ip_vs_add_service(), ip_vs_add_dest() in
// net/netfilter/ipvs): for engines that are not the kernel. Pure.
#pragma once

#include "ipvs/real_server.h"
#include "ipvs/virtual_server.h"

namespace sluice::ipvs {

// Each returns 0, or the errno of the refusal.

// Before it is known whether there is such a virtual server.
int refusal_of_names(const VirtualServer& server);
// After it. Whether the engine has the named scheduler and persistence engine is the caller's knowledge.
int refusal_of_settings(const VirtualServer& server, bool scheduler_known, bool persistence_engine_known);
int refusal_of_settings(const VirtualServerKey& of, const RealServer& server, bool sync_daemon_runs);
// Whether a new real server may have this address: unicast or local. Broadcast addresses of networks are not known here.
bool may_be_real_server(const RealServerKey& key);

}  // namespace sluice::ipvs
