// SPDX-License-Identifier: Apache-2.0
// Events are for people: `kubectl describe node` shows that a proxy started, `kubectl describe service` that a
// health-check node port could not be opened. They are sent one after the other and never stand in the way of anything:
// what does not fit is dropped.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <deque>

#include "base/json.h"
#include "base/log.h"
#include "kube/source.h"

namespace sluice::kube {
namespace {

constexpr std::size_t kWaitingMax = 64;
// k8s.io/kubernetes/pkg/apis/core/validation/events.go: longer ones are refused.
constexpr std::size_t kNoteBytesMax = 1024;
constexpr std::size_t kInstanceBytesMax = 128;

// The beginning of `text`, not cut within a UTF-8 character.
std::string_view at_most(std::string_view text, std::size_t bytes) {
  if (text.size() <= bytes) return text;
  while (bytes > 0 && (static_cast<unsigned char>(text[bytes]) & 0xc0U) == 0x80U) --bytes;
  return text.substr(0, bytes);
}

class Sink : public EventSink, public std::enable_shared_from_this<Sink> {
 public:
  Sink(net::EventLoop& loop, ClientConfig config, std::string node_name, SourceHooks hooks)
      : loop_(loop), config_(std::move(config)), node_name_(std::move(node_name)), hooks_(std::move(hooks)) {}

  void post(EventNote event) override {
    boost::asio::post(loop_, [weak = weak_from_this(), event = std::move(event)]() mutable {
      const auto self = weak.lock();
      if (!self || self->waiting_.size() >= kWaitingMax) return;
      self->waiting_.push_back(std::move(event));
      if (self->waiting_.size() == 1) self->send();
    });
  }

 private:
  [[nodiscard]] std::string body(const EventNote& event, const std::string& where) const {
    const auto now = std::chrono::system_clock::now();
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
    const std::string time =
        fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(std::chrono::system_clock::to_time_t(now)), micros);
    const std::string name = fmt::format("{}.{:x}", event.regarding.name, now.time_since_epoch().count());
    const std::string regarding_namespace =
        event.regarding.namespace_name.empty()
            ? ""
            : fmt::format(R"("namespace":{},)", json_string(event.regarding.namespace_name));
    return fmt::format(
        R"({{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{{"name":{},"namespace":{}}},"eventTime":"{}","reportingController":"kube-proxy",)"
        R"("reportingInstance":{},"action":{},"reason":{},"regarding":{{"apiVersion":"v1","kind":{},{}"name":{},"uid":{}}},"note":{},"type":"{}"}})",
        json_string(name), json_string(where), time,
        json_string(at_most("kube-proxy-" + node_name_, kInstanceBytesMax)), json_string(event.action),
        json_string(event.reason), json_string(event.regarding_kind), regarding_namespace,
        json_string(event.regarding.name), json_string(event.regarding_uid),
        json_string(at_most(event.note, kNoteBytesMax)), event.warning ? "Warning" : "Normal");
  }

  void send() {
    const EventNote& event = waiting_.front();
    const std::string where = event.regarding.namespace_name.empty() ? "default" : event.regarding.namespace_name;
    net::HttpClientRequest request;
    request.method = "POST";
    request.path = fmt::format("{}/apis/events.k8s.io/v1/namespaces/{}/events", config_.path_prefix, where);
    request.headers = {{"Content-Type", "application/json"},
                       {"Accept", "application/json"},
                       {"User-Agent", fmt::format("sluice/{}", SLUICE_VERSION)}};
    if (const auto token = authorization(config_); token && !token->empty())
      request.headers.emplace_back("Authorization", *token);
    request.body = body(event, where);
    net::HttpCallbacks callbacks;
    status_ = 0;
    callbacks.on_head = [this](const net::HttpResponseHead& head) { status_ = head.status; };
    callbacks.on_done = [this](const Result<>& outcome) {
      const std::string code = status_ == 0 ? "<error>" : std::to_string(status_);
      if (hooks_.on_request) hooks_.on_request(code, "POST", config_.target.host_header());
      if (!outcome || status_ >= 300)
        SLUICE_LOG_V(2, "An event could not be sent", {"reason", waiting_.front().reason}, {"status", code});
      waiting_.pop_front();
      if (!waiting_.empty()) send();
    };
    exchange_ = net::start_exchange(loop_, config_.target, std::move(request), std::move(callbacks));
  }

  net::EventLoop& loop_;
  const ClientConfig config_;
  const std::string node_name_;
  const SourceHooks hooks_;
  std::deque<EventNote> waiting_;
  std::unique_ptr<net::HttpExchange> exchange_;
  int status_ = 0;
};

// The shared_ptr lets posts that are under way find out that the sink is gone.
class Handle : public EventSink {
 public:
  explicit Handle(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}
  void post(EventNote event) override { sink_->post(std::move(event)); }

 private:
  std::shared_ptr<Sink> sink_;
};

}  // namespace

std::unique_ptr<EventSink> make_event_sink(net::EventLoop& loop, ClientConfig config, std::string node_name,
                                           SourceHooks hooks) {
  return std::make_unique<Handle>(
      std::make_shared<Sink>(loop, std::move(config), std::move(node_name), std::move(hooks)));
}

}  // namespace sluice::kube
