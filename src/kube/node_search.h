// SPDX-License-Identifier: Apache-2.0
// For when the API server has no Node with this node's name: nearly always a wrong --hostname-override, or a
// kubelet that has not registered yet. Reports it at once, and which Nodes exist if they are few.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <string>
#include <vector>

#include "kube/decode.h"
#include "kube/json_stream.h"
#include "kube/source.h"
#include "kube/wait_board.h"

namespace sluice::kube {

// On the loop's thread.
class NodeSearch {
 public:
  NodeSearch(net::EventLoop& loop, const ClientConfig& config, std::string node_name, const SourceHooks& hooks,
             const ApiTiming& timing, WaitBoard& board);
  NodeSearch(const NodeSearch&) = delete;
  NodeSearch& operator=(const NodeSearch&) = delete;

  // A complete list, or an event, showed whether the Node exists.
  void note(bool present);

 private:
  void ask_for_names();
  void on_names(const Result<>& outcome);
  void report(const std::string& known);

  net::EventLoop& loop_;
  const ClientConfig& config_;
  const std::string node_name_;
  const SourceHooks& hooks_;
  const ApiTiming& timing_;
  WaitBoard& board_;
  Decoder decoder_;
  boost::asio::steady_timer timer_;  // until the names are requested again
  std::unique_ptr<net::HttpExchange> exchange_;
  std::unique_ptr<JsonSplitter> splitter_;
  std::vector<std::string> names_;
  int status_ = 0;
  bool missing_ = false;
  std::string reported_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace sluice::kube
