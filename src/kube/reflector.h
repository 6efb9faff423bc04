// SPDX-License-Identifier: Apache-2.0
// Follows one collection of the API server: lists it, watches it from there on, and starts over when it must,
// without ever making its handler forget what it has. Protocol: Kubernetes API concepts, "Efficient detection of
// changes".
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kube/decode.h"
#include "kube/json_stream.h"
#include "kube/source.h"
#include "kube/wait_board.h"

namespace sluice::kube {

// What a reflector reports.
class CollectionHandler {
 public:
  virtual ~CollectionHandler() = default;
  virtual void list_begins() = 0;
  // An object's current state; returns its resourceVersion, or nothing if it has no readable one. An error ends
  // the stream.
  virtual Result<std::string> set(std::string_view json) = 0;
  virtual Result<std::string> remove(std::string_view json) = 0;
  // All objects were reported: all others are gone.
  virtual void list_ends() = 0;
  virtual void pause() = 0;  // end of what arrived together
};

struct Collection {
  std::string kind;                    // for the log
  std::vector<std::string> paths;      // alternatives, best first; 404 selects the next
  std::vector<std::string> selectors;  // alternatives, best first, ready for a query; 400 selects the next
};

// Percent-encodes text for a query's value.
std::string escape_query(std::string_view text);

class Reflector {
 public:
  Reflector(net::EventLoop& loop, const ClientConfig& config, Collection collection, const ApiTiming& timing,
            const SourceHooks& hooks, CollectionHandler& handler, WaitBoard& board);
  ~Reflector();
  Reflector(const Reflector&) = delete;
  Reflector& operator=(const Reflector&) = delete;
  void start();

 private:
  void list();
  void watch();
  void request(const std::string& query, std::chrono::milliseconds idle);
  Result<> take_item(std::string_view json);
  Result<> take_event(std::string_view json);
  Result<> take_error_event(const Decoder::ListMetadata& status);
  void on_done(Result<> outcome);
  void on_list_done();
  void on_watch_done(Result<> outcome);
  void expect_rest_of_event();
  bool list_after_failures();
  void on_refusal();
  [[nodiscard]] bool try_alternative(const std::string& reason);
  void in_sight();
  void relist();
  void retry(const std::string& why, std::chrono::milliseconds at_least = {});
  [[nodiscard]] std::string selector_query() const;

  net::EventLoop& loop_;
  const ClientConfig& config_;
  const Collection collection_;
  const ApiTiming& timing_;
  const SourceHooks& hooks_;
  CollectionHandler& handler_;
  WaitBoard& board_;
  Decoder decoder_;
  boost::asio::steady_timer timer_;       // until the next request
  boost::asio::steady_timer rest_timer_;  // until an event that has begun must have ended
  std::unique_ptr<net::HttpExchange> exchange_;
  std::unique_ptr<JsonSplitter> splitter_;
  std::minstd_rand random_{std::random_device()()};
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);

  bool listing_ = true;
  bool consistent_ = false;  // list from etcd, not from the server's cache: after its cache was too old
  bool expired_ = false;     // the server reported that the watch's resourceVersion is gone
  std::size_t path_ = 0;
  std::size_t selector_ = 0;
  std::string resource_version_;
  std::string continue_token_;
  std::string complaint_;  // why it was lost, as logged, until a watch works for a while
  bool lost_ = false;
  std::chrono::milliseconds backoff_{0};  // the last wait; 0 = no fault
  std::size_t not_found_ = 0;             // 404s in a row
  int watch_failures_ = 0;                // in a row, refused or broken before they sent anything

  // Of the running exchange.
  int status_ = 0;
  std::string retry_after_;
  std::string location_;  // where it redirects to
  std::string refusal_body_;
  bool progress_ = false;    // the watch brought at least one object or bookmark
  bool unreadable_ = false;  // it ended with something that is not an event
  unsigned exchanges_ = 0;   // begun or ended so far, so that a timer recognises its own
  std::chrono::steady_clock::time_point began_;
};

}  // namespace sluice::kube
