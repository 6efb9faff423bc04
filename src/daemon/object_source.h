// SPDX-License-Identifier: Apache-2.0
// Where this proxy's objects come from, by its command line: a folder of manifests, or an API server, which also
// receives its events.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "config/flags.h"
#include "kube/source.h"
#include "net/event_loop.h"

namespace sluice::daemon {

struct ObjectSource {
  std::string words;  // "files in /etc/sluice/manifests", "API server https://10.0.0.1:6443"
  bool files = false;
  std::unique_ptr<kube::Source> source;     // not started yet
  std::unique_ptr<kube::EventSink> events;  // null with files
  // What no Service may claim. Empty if the server is known only by a name: no Service can claim that.
  std::vector<IpAddress> api_server_addresses;
};

Result<ObjectSource> make_object_source(net::EventLoop& loop, const config::CommandLine& command,
                                        const std::string& node_name, kube::SourceHooks hooks);

}  // namespace sluice::daemon
