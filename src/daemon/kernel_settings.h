// SPDX-License-Identifier: Apache-2.0
// The kernel settings outside of any data plane: connection tracking, route_localnet, our own OOM score.
#pragma once

#include "config/config.h"

namespace sluice::daemon {

// Writes what the configuration asks of connection tracking, each only where it differs. What cannot be written is
// logged and left: a proxy that serves with the kernel's own limits is worth more than none.
void apply_conntrack_settings(const config::ProxyConfig& config);
// Lets 127.0.0.1 reach node ports: packets from loopback may leave by another interface
// (net.ipv4.conf.all.route_localnet).
void allow_localhost_node_ports();
void apply_oom_score(const config::ProxyConfig& config);

}  // namespace sluice::daemon
