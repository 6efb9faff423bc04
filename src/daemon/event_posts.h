// SPDX-License-Identifier: Apache-2.0
// The events (`kubectl get events`) that this node's proxy posts, with the reasons and actions that kube-proxy uses
// where it has any. Without an API server they go nowhere.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/mutex.h"
#include "dataplane/dataplane.h"
#include "kube/source.h"
#include "observe/health_check.h"

namespace sluice::daemon {

class EventPosts {
 public:
  // `sink` may be null.
  EventPosts(std::string node_name, std::unique_ptr<kube::EventSink> sink);
  // Of the Node object, as soon as it is known: events about the Node name it.
  void set_node_uid(std::string uid);

  // On any thread.
  void started();
  void server_failed(const std::string& reason, const std::string& note);
  void address_refused(const dataplane::Refusal& refusal);
  void request_unmet(const dataplane::UnmetRequest& unmet);
  void port_refused(const dataplane::RefusedPort& refused);
  void health_check_failed(const observe::HealthCheck& check, const std::string& why);
  // Waits until all of them are sent, at most for `longest`; not on the loop's thread.
  void flush(std::chrono::milliseconds longest);

 private:
  void post_about_node(kube::EventNote event);

  const std::string node_name_;
  const std::unique_ptr<kube::EventSink> sink_;
  Mutex mutex_;
  std::string node_uid_ SLUICE_GUARDED_BY(mutex_);
};

}  // namespace sluice::daemon
