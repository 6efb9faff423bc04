// SPDX-License-Identifier: Apache-2.0
// The servers of all pods of a lab, in one thread: each served port of each pod has a listening socket inside the pod's
// network namespace, and all of them answer with their name.
//   TCP: the answer line (answer.h) upon accept; then each line is answered by `<pod> <line>` until the client closes.
//   UDP: each datagram is answered by the answer line, from the address that it was sent to.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "lab/topology.h"

namespace sluice::lab {

class Agent {
 public:
  // Opens all sockets; connections are accepted from here on (and answered once serve() runs).
  static Result<std::unique_ptr<Agent>> open(const std::string& id, const Topology& topology);
  virtual ~Agent() = default;
  virtual Result<> serve() = 0;  // until stop()
  virtual void stop() = 0;       // from any thread
};

}  // namespace sluice::lab
