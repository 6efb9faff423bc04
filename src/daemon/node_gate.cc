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
    // The Node's state from before the wait would look like a change when it is handed on: a kubelet registers
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

std::optional<model::Node> NodeGate::wait(const Wanted& wanted) {
  const auto deadline = std::chrono::steady_clock::now() + wanted.longest;
  const MutexLock lock(mutex_);
  waiting_ = {wanted.what, system_clock().wall_now()};
  while (!given_up_ && !(node_ && wanted.enough(*node_)) &&
         !(wanted.until_complete && services_complete_ && slices_complete_)) {
    if (changed_.wait_until(mutex_, deadline) == std::cv_status::timeout) break;
  }
  waiting_.reset();
  return node_;
}

std::optional<NodeGate::Waiting> NodeGate::waiting() const {
  const MutexLock lock(mutex_);
  return waiting_;
}

bool NodeGate::given_up() const {
  const MutexLock lock(mutex_);
  return given_up_;
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
