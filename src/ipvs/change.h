// SPDX-License-Identifier: Apache-2.0
// What can be changed in a table of virtual servers. A batch is a list of these, applied in order.
#pragma once

#include <string>
#include <variant>

#include "ipvs/real_server.h"
#include "ipvs/virtual_server.h"

namespace sluice::ipvs {

struct AddVirtualServer {
  VirtualServer server;
};
// Replaces every setting; the real servers, the connections and the counters stay.
struct EditVirtualServer {
  VirtualServer server;
};
// Its real servers are removed with it; connections stay until they expire.
struct RemoveVirtualServer {
  VirtualServerKey key;
};
struct AddRealServer {
  VirtualServerKey to;
  RealServer server;
};
// Replaces every setting; connections and counters stay.
struct EditRealServer {
  VirtualServerKey of;
  RealServer server;
};
struct RemoveRealServer {
  VirtualServerKey from;
  RealServerKey key;
};

using Change = std::variant<AddVirtualServer, EditVirtualServer, RemoveVirtualServer, AddRealServer, EditRealServer,
                            RemoveRealServer>;

// The one that is changed, or whose real server is.
const VirtualServerKey& virtual_server_of(const Change& change);
// Of a virtual server that is added or edited; null for any other change.
VirtualServer* settings_in(Change& change);
const VirtualServer* settings_in(const Change& change);

std::string to_string(const Change& change);  // "add real server 10.2.0.1:80 to TCP 10.0.0.1:80"

}  // namespace sluice::ipvs
