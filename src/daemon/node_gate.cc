// SPDX-License-Identifier: Apache-2.0
#include "daemon/node_gate.h"

namespace sluice::daemon {

void NodeGate::pass(model::Update&& update) {
  const MutexLock lock(mutex_);
  if (closed_) return;
  if (post_) {
    post_(std::move(update));
    return;
  }
  if (update.node) {
    node_ = update.node;
    // What the Node was before it was waited for would look like a change when it is handed on: a kubelet registers
    // its Node without podCIDRs, and a change of these ends the proxy.
    for (model::Update& earlier : kept_) {
      earlier.node.reset();
      earlier.node_removed = false;
    }
    std::erase_if(kept_, [](const model::Update& earlier) { return earlier.empty(); });
  }
  services_complete_ = services_complete_ || update.services_complete;
  slices_complete_ = slices_complete_ || update.slices_complete;
  kept_.push_back(std::move(update));
  changed_.notify_all();
}

std::optional<model::Node> NodeGate::wait(std::chrono::seconds timeout, bool stop_at_complete,
                                          const std::function<bool(const model::Node&)>& enough) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  const MutexLock lock(mutex_);
  while (!given_up_ && !(node_ && enough(*node_)) && !(stop_at_complete && services_complete_ && slices_complete_)) {
    if (changed_.wait_until(mutex_, deadline) == std::cv_status::timeout) break;
  }
  return node_;
}

void NodeGate::give_up() {
  const MutexLock lock(mutex_);
  given_up_ = true;
  changed_.notify_all();
}

void NodeGate::open(Post post) {
  const MutexLock lock(mutex_);
  post_ = std::move(post);
  for (model::Update& update : kept_) post_(std::move(update));
  kept_ = {};
}

void NodeGate::close() {
  const MutexLock lock(mutex_);
  closed_ = true;
  post_ = nullptr;
}

}  // namespace sluice::daemon
