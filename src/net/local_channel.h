// SPDX-License-Identifier: Apache-2.0
// A private line to the running daemon: one request line, one response, over an abstract UNIX socket. Abstract names
// belong to a network namespace (unix(7)), so every node, even one that is only a namespace of a lab, has its own
// without any file; only the daemon's own user and root may use it.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "net/event_loop.h"

namespace sluice::net {

// What one client may use, and all together. Beyond `sessions` further ones wait in the kernel's queue.
struct LocalLimits {
  std::size_t sessions = 32;
  std::chrono::milliseconds request{10'000};  // for a whole request to arrive
  std::chrono::milliseconds answer{60'000};   // for the response, once it is ready, to leave
};

class LocalServer {
 public:
  using Reply = std::function<void(std::string)>;
  // Called on the loop's thread; `reply` may be called later and from any thread, once.
  using Handler = std::function<void(const std::string& request, Reply reply)>;
  // Errc::kAlreadyExists if another process in this network namespace already listens under that name.
  static Result<std::unique_ptr<LocalServer>> listen(EventLoop& loop, const std::string& name, Handler handler,
                                                     const LocalLimits& limits = {});
  virtual ~LocalServer() = default;
};

// Sends a request and waits for the response, for at most `timeout`. Errc::kNotFound if no process listens there.
Result<std::string> ask_local_server(const std::string& name, const std::string& request, std::chrono::seconds timeout);

}  // namespace sluice::net
