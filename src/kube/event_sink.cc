// SPDX-License-Identifier: Apache-2.0
// Events are for users: `kubectl describe node` shows that a proxy started, `kubectl describe service` that a
// health-check node port could not be opened. They are sent one after the other and never block anything:
// what does not fit is dropped, and recent events are not repeated.
//
// Servers up to about 1.20 accept an event about a Node (which has no namespace) in events.k8s.io/v1 only if it is in
// kube-system, where no user looks for it, and return 422 otherwise; servers before 1.19 do not have that group. Both
// get the event in its old form, core/v1, as their own kube-proxy sends it.
//
// `kubectl describe service` looks for events with the Service's uid; kube-proxy writes its name there and is not found.
// We keep no uids: it is requested when there is an event, which is rare. system:node-proxier may list
// Services, not get one.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <boost/asio/post.hpp>
#include <chrono>
#include <deque>
#include <future>
#include <map>
#include <tuple>

#include "base/json.h"
#include "base/log.h"
#include "base/utf8.h"
#include "kube/decode.h"
#include "kube/source.h"

namespace sluice::kube {
namespace {

constexpr std::size_t kWaitingMax = 64;
// A lasting fault is reported at every sync; client-go combines the repetitions of six minutes.
constexpr std::chrono::minutes kRepeatedAfter{6};
constexpr std::size_t kRememberedMax = 1024;
constexpr int kNotFound = 404;
constexpr int kUnprocessable = 422;
// k8s.io/kubernetes/pkg/apis/core/validation/events.go: longer ones are refused.
constexpr std::size_t kNoteBytesMax = 1024;
constexpr std::size_t kInstanceBytesMax = 128;
// A Service's metadata is a few kB; an etcd without options takes no object above 1.5 MiB.
constexpr std::size_t kMetadataBytesMax = 2 << 20;

class Sink : public std::enable_shared_from_this<Sink> {
 public:
  Sink(net::EventLoop& loop, ClientConfig config, std::string node_name, SourceHooks hooks)
      : loop_(loop), config_(std::move(config)), node_name_(std::move(node_name)), hooks_(std::move(hooks)) {}

  void post(EventNote event) {
    boost::asio::post(loop_, [weak = weak_from_this(), event = std::move(event)]() mutable {
      const auto self = weak.lock();
      if (!self || self->waiting_.size() >= kWaitingMax || self->is_repeated(event)) return;
      self->waiting_.push_back(std::move(event));
      if (self->waiting_.size() == 1) self->send();
    });
  }

  // Sets `sent` when nothing is waiting any more.
  void tell_when_sent(std::promise<void> sent) {
    boost::asio::post(loop_, [weak = weak_from_this(), sent = std::move(sent)]() mutable {
      const auto self = weak.lock();
      if (!self || self->waiting_.empty()) return sent.set_value();
      self->listeners_.push_back(std::move(sent));
    });
  }

 private:
  bool is_repeated(const EventNote& event) {
    const auto now = std::chrono::steady_clock::now();
    std::erase_if(said_, [&](const auto& entry) { return now - entry.second >= kRepeatedAfter; });
    const auto known = said_.find({event.reason, event.regarding, event.note});
    if (known != said_.end()) return true;
    if (said_.size() < kRememberedMax) said_[{event.reason, event.regarding, event.note}] = now;
    return false;
  }

  // What both forms share: "metadata", and the object that the event is about.
  [[nodiscard]] static std::string metadata(const EventNote& event, const std::string& where) {
    const auto stamp = std::chrono::system_clock::now().time_since_epoch().count();
    return fmt::format(R"("kind":"Event","metadata":{{"name":{},"namespace":{}}})",
                       json_string(fmt::format("{}.{:x}", event.regarding.name, stamp)), json_string(where));
  }

  [[nodiscard]] static std::string object(const EventNote& event, const std::string& uid) {
    const std::string where = event.regarding.namespace_name;
    return fmt::format(R"({{"apiVersion":"v1","kind":{},{}"name":{},"uid":{}}})", json_string(event.regarding_kind),
                       where.empty() ? "" : fmt::format(R"("namespace":{},)", json_string(where)),
                       json_string(event.regarding.name), json_string(uid));
  }

  [[nodiscard]] std::string body(const EventNote& event, const std::string& where) const {
    const auto now = std::chrono::system_clock::now();
    const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
    return fmt::format(
        R"({{"apiVersion":"events.k8s.io/v1",{},"eventTime":"{:%Y-%m-%dT%H:%M:%S}.{:06}Z","reportingController":"kube-proxy",)"
        R"("reportingInstance":{},"action":{},"reason":{},"regarding":{},"note":{},"type":"{}"}})",
        metadata(event, where), fmt::gmtime(std::chrono::system_clock::to_time_t(now)), micros,
        json_string(at_most("kube-proxy-" + node_name_, kInstanceBytesMax)), json_string(event.action),
        json_string(event.reason), object(event, event.regarding_uid), json_string(at_most(event.note, kNoteBytesMax)),
        event.warning ? "Warning" : "Normal");
  }

  // A Node's uid is its name there: that is how kubectl of these releases looks for its events.
  [[nodiscard]] std::string old_body(const EventNote& event, const std::string& where) const {
    const std::string time = fmt::format(
        "{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(std::chrono::system_clock::now())));
    const std::string uid = event.regarding_kind == "Node" ? event.regarding.name : event.regarding_uid;
    return fmt::format(
        R"({{"apiVersion":"v1",{},"involvedObject":{},"reason":{},"message":{},"source":{{"component":"kube-proxy","host":{}}},)"
        R"("firstTimestamp":"{}","lastTimestamp":"{}","count":1,"type":"{}"}})",
        metadata(event, where), object(event, uid), json_string(event.reason),
        json_string(at_most(event.note, kNoteBytesMax)), json_string(node_name_), time, time,
        event.warning ? "Warning" : "Normal");
  }

  [[nodiscard]] net::HttpClientRequest request(std::string_view method, std::string path) const {
    net::HttpClientRequest request;
    request.method = method;
    request.path = config_.path_prefix + std::move(path);
    request.headers = {{"User-Agent", fmt::format("sluice/{}", SLUICE_VERSION)}};
    if (const auto token = authorization(config_); token && !token->empty())
      request.headers.emplace_back("Authorization", *token);
    return request;
  }

  void start(net::HttpClientRequest request, std::function<Result<>(std::string_view)> on_body,
             std::function<void(const Result<>&)> on_done) {
    net::HttpCallbacks callbacks;
    status_ = 0;
    callbacks.on_head = [this](const net::HttpResponseHead& head) { status_ = head.status; };
    callbacks.on_body = std::move(on_body);
    callbacks.on_done = [this, method = request.method, on_done = std::move(on_done)](const Result<>& outcome) {
      if (hooks_.on_request) hooks_.on_request(status_text(), method, config_.target.host_header());
      on_done(outcome);
    };
    exchange_ = net::start_exchange(loop_, config_.target, std::move(request), std::move(callbacks));
  }
  [[nodiscard]] std::string status_text() const { return status_ == 0 ? "<error>" : std::to_string(status_); }

  // Without a response the event is sent as it is: `kubectl get events` shows it.
  void find_uid() {
    const model::ObjectKey& service = waiting_.front().regarding;
    auto list = request("GET", fmt::format("/api/v1/namespaces/{}/services?fieldSelector=metadata.name%3D{}",
                                           service.namespace_name, service.name));
    list.headers.emplace_back("Accept",
                              "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json");
    listed_.clear();
    start(
        std::move(list),
        [this](std::string_view piece) -> Result<> {
          if (listed_.size() + piece.size() > kMetadataBytesMax) return fail(Errc::kExhausted, "the list is too long");
          listed_ += piece;
          return {};
        },
        [this](const Result<>&) {
          uid_asked_ = true;
          waiting_.front().regarding_uid = uid_of_first_item(listed_);
          send();
        });
  }

  void send() {
    const EventNote& event = waiting_.front();
    if (!uid_asked_ && event.regarding_kind == "Service" && event.regarding_uid.empty()) return find_uid();
    const std::string where = event.regarding.namespace_name.empty() ? "default" : event.regarding.namespace_name;
    auto create = request(
        "POST", fmt::format("{}/namespaces/{}/events", old_form_ ? "/api/v1" : "/apis/events.k8s.io/v1", where));
    create.headers.emplace_back("Content-Type", "application/json");
    create.headers.emplace_back("Accept", "application/json");
    create.body = old_form_ ? old_body(event, where) : body(event, where);
    start(std::move(create), {}, [this](const Result<>& outcome) { on_done(outcome); });
  }

  void on_done(const Result<>& outcome) {
    old_form_ = !old_form_ && (status_ == kNotFound || status_ == kUnprocessable);
    if (old_form_) return send();
    if (!outcome || status_ >= 300)
      SLUICE_LOG_V(2, "An event could not be sent", {"reason", waiting_.front().reason}, {"status", status_text()});
    waiting_.pop_front();
    uid_asked_ = false;
    if (!waiting_.empty()) return send();
    for (std::promise<void>& listener : std::exchange(listeners_, {})) listener.set_value();
  }

  net::EventLoop& loop_;
  const ClientConfig config_;
  const std::string node_name_;
  const SourceHooks hooks_;
  std::deque<EventNote> waiting_;
  std::vector<std::promise<void>> listeners_;
  std::map<std::tuple<std::string, model::ObjectKey, std::string>, std::chrono::steady_clock::time_point> said_;
  std::unique_ptr<net::HttpExchange> exchange_;
  int status_ = 0;
  bool uid_asked_ = false;  // for the first one
  std::string listed_;
  bool old_form_ = false;  // the first one is being sent again, in the old form
};

// The shared_ptr lets pending posts find out that the sink is gone.
class Handle : public EventSink {
 public:
  explicit Handle(std::shared_ptr<Sink> sink) : sink_(std::move(sink)) {}
  void post(EventNote event) override { sink_->post(std::move(event)); }
  void flush(std::chrono::milliseconds longest) override {
    std::promise<void> sent;
    const std::future<void> done = sent.get_future();
    sink_->tell_when_sent(std::move(sent));
    done.wait_for(longest);
  }

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
