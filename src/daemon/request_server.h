// SPDX-License-Identifier: Apache-2.0
// The proxy's side of `sluice status` and `sluice diff`: listens on the local socket of this network namespace from the proxy's
// start on, also while it waits for its API server, its folder or its Node, and handles requests (view/request.h).
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "net/event_loop.h"
#include "net/local_channel.h"
#include "sync/control_loop.h"
#include "view/router.h"
#include "view/status.h"

namespace sluice::daemon {

class RequestServer {
 public:
  using Waits = std::function<std::vector<view::Wait>()>;  // called on any thread

  // Construct it before the loop runs; destroy it after the loop has stopped.
  RequestServer(net::EventLoop& loop, view::ProcessFacts process, Waits waits);
  RequestServer(const RequestServer&) = delete;
  RequestServer& operator=(const RequestServer&) = delete;

  // From now on the control loop is queried too; `flavour` is that of its mode.
  void set_control(sync::ControlLoop& control, std::string flavour);
  // Before the control loop is destroyed, which first completes pending requests.
  void forget_control();

 private:
  void listen(bool first);
  // Makes the response of a status whose families are compared with the kernel, or of one of a proxy that starts.
  using Form = view::Response (*)(const view::Status& status, const std::string& form);
  void compare_and_reply(const view::Request& request, const view::Router::Reply& reply, Form respond);

  net::EventLoop& loop_;
  const Waits waits_;
  view::Router router_;
  boost::asio::steady_timer again_;
  std::unique_ptr<net::LocalServer> server_;
  Mutex mutex_;
  view::ProcessFacts process_ SLUICE_GUARDED_BY(mutex_);
  sync::ControlLoop* control_ SLUICE_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace sluice::daemon
