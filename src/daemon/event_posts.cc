// SPDX-License-Identifier: Apache-2.0
#include "daemon/event_posts.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::daemon {
namespace {

kube::EventNote about_service(const model::ObjectKey& service) {
  kube::EventNote event;
  event.warning = true;
  event.regarding_kind = "Service";
  event.regarding = service;
  return event;
}

}  // namespace

EventPosts::EventPosts(std::string node_name, std::unique_ptr<kube::EventSink> sink)
    : node_name_(std::move(node_name)), sink_(std::move(sink)) {}

void EventPosts::set_node_uid(std::string uid) {
  const MutexLock lock(mutex_);
  node_uid_ = std::move(uid);
}

void EventPosts::post_about_node(kube::EventNote event) {
  if (!sink_) return;
  event.action = "StartKubeProxy";
  event.regarding = {"", node_name_};
  {
    const MutexLock lock(mutex_);
    event.regarding_uid = node_uid_;
  }
  sink_->post(std::move(event));
}

void EventPosts::started() {
  kube::EventNote event;
  event.reason = "Starting";
  post_about_node(std::move(event));
}

void EventPosts::server_failed(const std::string& reason, const std::string& note) {
  kube::EventNote event;
  event.warning = true;
  event.reason = reason;
  event.note = note;
  post_about_node(std::move(event));
}

void EventPosts::address_refused(const dataplane::Refusal& refusal) {
  if (!sink_) return;
  kube::EventNote event = about_service(refusal.port.service);
  event.reason = "AddressRefused";
  event.action = "Serve";
  event.note =
      fmt::format("node {} does not serve {}: {}", node_name_, plan::to_string(refusal.frontend), refusal.reason);
  sink_->post(std::move(event));
}

void EventPosts::request_unmet(const dataplane::UnmetRequest& unmet) {
  if (!sink_) return;
  kube::EventNote event = about_service(unmet.service);
  event.reason = "AnnotationUnsupported";
  event.action = "Serve";
  event.note = fmt::format("node {} serves it, but not as requested: {}", node_name_, unmet.why);
  sink_->post(std::move(event));
}

void EventPosts::port_refused(const dataplane::RefusedPort& refused) {
  if (!sink_) return;
  kube::EventNote event = about_service(refused.port.service);
  event.reason = "ServicePortRefused";
  event.action = "Serve";
  event.note = fmt::format("node {} does not serve port {} ({}) in {}, or not wholly: {}", node_name_,
                           refused.port.printed_name(), to_string(refused.port.protocol),
                           to_string(refused.port.family), refused.reason);
  sink_->post(std::move(event));
}

void EventPosts::health_check_failed(const observe::HealthCheck& check, const std::string& why) {
  if (!sink_) return;
  kube::EventNote event = about_service({check.namespace_name, check.name});
  event.reason = "FailedToStartServiceHealthcheck";
  event.action = "Listen";
  event.note = fmt::format("node {} failed to start healthcheck \"{}/{}\" on port {}: {}", node_name_,
                           check.namespace_name, check.name, check.port, why);
  sink_->post(std::move(event));
}

void EventPosts::flush(std::chrono::milliseconds longest) {
  if (sink_) sink_->flush(longest);
}

}  // namespace sluice::daemon
