// SPDX-License-Identifier: Apache-2.0
// Which Service ports are programmed first where all of them are: those that the rest of the cluster waits for.
#pragma once

#include "plan/plan.h"

namespace sluice::plan {

enum class Importance { kApiServer, kClusterDns, kOther };  // the first ones come first

// Cluster DNS: kube-system/kube-dns with all its ports; what serves port 53 in kube-system (coredns, its caches) or has "dns" in its name
// (openshift-dns/dns-default).
Importance importance(const ServicePortPlan& port);
inline bool comes_first(const ServicePortPlan& port) {
  return importance(port) != Importance::kOther;
}

// default/kubernetes, by which pods reach the API servers.
bool is_api_servers_service(const ObjectKey& service);

}  // namespace sluice::plan
