// SPDX-License-Identifier: Apache-2.0
// The names are optional: a role that may get one Node but not list all, or a server that does not respond,
// costs only them. They are requested again while the Node is missing, so that they stay current.
#include "kube/node_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace sluice::kube {
namespace {

constexpr std::size_t kNamesMax = 10;
constexpr std::chrono::milliseconds kNamesWait{5000};
constexpr const char* kWho = "node search";

}  // namespace

NodeSearch::NodeSearch(net::EventLoop& loop, const ClientConfig& config, std::string node_name,
                       const SourceHooks& hooks, const ApiTiming& timing, WaitBoard& board)
    : loop_(loop),
      config_(config),
      node_name_(std::move(node_name)),
      hooks_(hooks),
      timing_(timing),
      board_(board),
      timer_(loop) {}

void NodeSearch::note(bool present) {
  if (missing_ == !present) return;
  missing_ = !present;
  if (missing_) {
    board_.wait(kWho, WaitsFor::kNode, node_name_, "the API server has no such Node");
    return ask_for_names();
  }
  timer_.cancel();
  exchange_.reset();
  board_.done(kWho);
  if (!std::exchange(reported_, {}).empty()) SLUICE_LOG_INFO("The API server has this Node now", {"node", node_name_});
}

void NodeSearch::ask_for_names() {
  names_.clear();
  status_ = 0;
  net::HttpClientRequest request;
  // Without a resourceVersion: a list from the server's cache would ignore the limit.
  request.path = fmt::format("{}/api/v1/nodes?limit={}", config_.path_prefix, kNamesMax + 1);
  request.headers = {{"Accept", "application/json"}, {"User-Agent", fmt::format("sluice/{}", SLUICE_VERSION)}};
  if (const auto token = authorization(config_); token && !token->empty())
    request.headers.emplace_back("Authorization", *token);
  request.timeouts = timing_.http;
  request.timeouts.response = std::min(request.timeouts.response, kNamesWait);
  request.timeouts.idle = std::min(request.timeouts.idle, kNamesWait);
  splitter_ = std::make_unique<JsonSplitter>(JsonSplitter::Kind::kListItems, [this](std::string_view json) {
    const auto node = decoder_.decode(json, "Node");
    if (node && !node->metadata.key.name.empty()) names_.push_back(node->metadata.key.name);
    return Result<>();
  });
  net::HttpCallbacks callbacks;
  callbacks.on_head = [this](const net::HttpResponseHead& head) {
    status_ = head.status;
    if (hooks_.on_request) hooks_.on_request(std::to_string(head.status), "GET", config_.target.host_header());
  };
  callbacks.on_body = [this](std::string_view piece) -> Result<> {
    return status_ == 200 ? splitter_->feed(piece) : Result<>();
  };
  callbacks.on_done = [this](const Result<>& outcome) { on_names(outcome); };
  exchange_ = net::start_exchange(loop_, config_.target, std::move(request), std::move(callbacks));
}

void NodeSearch::on_names(const Result<>& outcome) {
  if (status_ == 0 && hooks_.on_request) hooks_.on_request("<error>", "GET", config_.target.host_header());
  const bool whole = outcome && status_ == 200 && splitter_->finish();
  if (!whole) {
    report("");
  } else if (names_.empty()) {
    report("none at all");
  } else if (names_.size() > kNamesMax) {
    report(fmt::format("more than {}", kNamesMax));
  } else {
    std::sort(names_.begin(), names_.end());
    report(fmt::format("{}", fmt::join(names_, ", ")));
  }
  timer_.expires_after(timing_.names_again);
  timer_.async_wait([this, alive = std::weak_ptr<bool>(alive_)](boost::system::error_code error) {
    if (!error && !alive.expired() && missing_) ask_for_names();
  });
}

void NodeSearch::report(const std::string& known) {
  const std::string reason = "the API server has no such Node" + (known.empty() ? "" : "; it has: " + known);
  board_.wait(kWho, WaitsFor::kNode, node_name_, reason);
  if (std::exchange(reported_, reason) == reason) return;
  SLUICE_LOG_ERROR("The API server has no Node of this name, waiting for it; is --hostname-override right?",
                   {"node", node_name_}, {"known", known.empty() ? "may not be listed" : known});
}

}  // namespace sluice::kube
