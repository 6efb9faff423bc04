// SPDX-License-Identifier: Apache-2.0
// A comparison with the kernel takes its time, and the control loop does it: the event loop hands the request over and
// continues with others.
#include "daemon/request_server.h"

#include <utility>

#include "base/log.h"
#include "daemon/local_socket.h"
#include "view/diff.h"
#include "view/status_json.h"
#include "view/status_text.h"

namespace sluice::daemon {
namespace {

constexpr std::chrono::seconds kListenAgain{5};  // on a restart the previous process may still be ending

view::Response status_response(const view::Status& status, const std::string& form) {
  const Clock::WallTime now = system_clock().wall_now();
  const view::Width width = form == "wide" ? view::Width::kWide : view::Width::kNarrow;
  return {.refused = false,
          .exit_status = serves_as_wanted(status) ? 0 : 1,
          .body = form == "json" ? status_json(status, now) : status_text(status, width, now)};
}

view::Response diff_response(const view::Status& status, const std::string& form) {
  if (!status.started) {
    return {.refused = true,
            .exit_status = view::kUnknownExitStatus,
            .body = "the proxy is starting and wants nothing yet: `sluice status` says what it waits for\n"};
  }
  return {.refused = false,
          .exit_status = view::diff_exit_status(status.families),
          .body = form == "json" ? view::diff_json(status.families) : view::diff_text(status.families)};
}

}  // namespace

RequestServer::RequestServer(net::EventLoop& loop, view::ProcessFacts process, Waits waits)
    : loop_(loop), waits_(std::move(waits)), again_(loop), process_(std::move(process)) {
  router_.add("/status", {{"form", {"text", "wide", "json"}}},
              [this](const view::Request& request, const view::Router::Reply& reply) {
                compare_and_reply(request, reply, &status_response);
              });
  router_.add("/diff", {{"form", {"text", "json"}}},
              [this](const view::Request& request, const view::Router::Reply& reply) {
                compare_and_reply(request, reply, &diff_response);
              });
  listen(true);
}

void RequestServer::listen(bool first) {
  auto server = net::LocalServer::listen(
      loop_, std::string(kLocalSocket),
      [this](const std::string& line, net::LocalServer::Reply reply) { router_.route(line, std::move(reply)); });
  if (server) {
    server_ = std::move(*server);
    return;
  }
  if (first) SLUICE_LOG_WARNING("`sluice status` will not find this proxy, trying again", {"err", server.error().what});
  again_.expires_after(kListenAgain);
  again_.async_wait([this](boost::system::error_code error) {
    if (!error) listen(false);
  });
}

void RequestServer::set_control(sync::ControlLoop& control, std::string flavour) {
  const MutexLock lock(mutex_);
  control_ = &control;
  process_.flavour = std::move(flavour);
}

void RequestServer::forget_control() {
  const MutexLock lock(mutex_);
  control_ = nullptr;
}

void RequestServer::compare_and_reply(const view::Request& request, const view::Router::Reply& reply, Form respond) {
  const auto asked = request.parameters.find("form");
  const std::string form = asked == request.parameters.end() ? "text" : asked->second;
  const MutexLock lock(mutex_);
  if (control_ == nullptr) return reply(respond(view::starting_status(process_, waits_()), form));
  // The comparison is delivered on the control loop's thread, at the latest from its destructor: it exists until then,
  // while control_ may be null already.
  const sync::ControlLoop* control = control_;
  control_->compare([this, control, process = process_, form, reply,
                     respond](const std::vector<sync::FamilyComparison>& comparisons) {
    reply(respond(view::make_status(process, waits_(), control->status(), comparisons), form));
  });
}

}  // namespace sluice::daemon
