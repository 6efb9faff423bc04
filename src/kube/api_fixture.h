// SPDX-License-Identifier: Apache-2.0
// For tests of the API source: an event loop on the test's thread, a fake API server, and what the source reported.
#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "kube/fake_api_server.h"
#include "kube/source.h"

namespace sluice::kube::test {

using namespace std::chrono_literals;

inline model::ObjectKey key_of(const std::string& name) {
  return {"shop", name};
}

inline std::string service_members(const std::string& cluster_ip, int port = 80) {
  return fmt::format(R"("spec":{{"clusterIP":"{}","ports":[{{"name":"http","port":{}}}]}})", cluster_ip, port);
}

inline std::string slice_members(const std::string& address) {
  return fmt::format(
      R"("addressType":"IPv4","ports":[{{"name":"http","port":8080}}],"endpoints":[{{"addresses":["{}"]}}])", address);
}

inline std::string slice_metadata(const std::string& service) {
  return fmt::format(R"("labels":{{"kubernetes.io/service-name":"{}"}})", service);
}

class ApiFixture : public testing::Test {
 protected:
  ApiFixture() {
    timing_.backoff_min = 10ms;
    timing_.backoff_max = 40ms;
    timing_.watch_min = std::chrono::seconds(20);
    timing_.watch_short = 1ms;
    timing_.http = {.connect = 60s, .response = 60s, .idle = 60s, .dead_peer = 60s};
  }
  // The loop may still run something that refers to the source.
  void TearDown() override {
    events_.reset();
    source_.reset();
    loop_.run_for(0ms);
  }

  FakeApiServer& serve(FakeApiServer::Options options = {}) {
    config_.target.tls = options.server.certificate.has_value();
    config_.target.host = "127.0.0.1";
    server_ = std::make_unique<FakeApiServer>(std::move(options));
    config_.target.port = server_->port();
    return *server_;
  }

  // With TLS, and a client that trusts the server: without TLS no credentials are sent.
  FakeApiServer& serve_tls(FakeApiServer::Options options = {}) {
    options.server.certificate = authority_.issue("IP:127.0.0.1");
    config_.target.tls_settings.ca_pem = authority_.certificate_pem();
    return serve(std::move(options));
  }

  // For variables that an interceptor uses: it may run until the server has ended, after the test's own
  // variables are gone.
  std::atomic<int>& number(int value) { return numbers_.emplace_back(value); }
  std::atomic<bool>& flag(bool value) { return flags_.emplace_back(value); }

  SourceHooks hooks() {
    SourceHooks hooks;
    hooks.on_update = [this](model::Update&& update) {
      if (complete_before_removal_ && !snapshot_.complete()) {
        EXPECT_TRUE(update.services_removed.empty() && update.slices_removed.empty());
      }
      for (const model::ObjectKey& key : update.services_removed) removed_.push_back(key.name);
      for (const model::ObjectKey& key : update.slices_removed) removed_.push_back(key.name);
      update_size_max_ = std::max(update_size_max_, update.services.size() + update.slices.size());
      ++updates_;
      snapshot_.apply(std::move(update));
    };
    hooks.on_request = [this](std::string_view code, std::string_view method, std::string_view host) {
      requests_.push_back(fmt::format("{} {} {}", code, method, host));
    };
    hooks.on_refused = [this](std::string_view kind) { refused_.emplace_back(kind); };
    return hooks;
  }

  void start() {
    source_ = make_api_source(loop_, config_, "node-a", hooks(), timing_);
    source_->start();
  }

  // Runs the loop until `condition` holds; 120 s is the bound after which the test fails.
  [[nodiscard]] bool run_until(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + 120s;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      loop_.restart();
      loop_.run_one_for(20ms);
    }
    return true;
  }
  // Handles what has come, lets `time` pass, and handles what came meanwhile: however late a busy machine lets us run.
  void run_for(std::chrono::milliseconds time) {
    loop_.restart();
    loop_.poll();
    loop_.restart();
    loop_.run_for(time);
    loop_.restart();
    loop_.poll();
  }

  // The snapshot is complete and all three watches are open.
  [[nodiscard]] bool run_until_watching() {
    return run_until([this] { return snapshot_.complete() && server_->open_watches() == 3; });
  }

  // Ports of the Service, or empty.
  [[nodiscard]] std::string ip_of(const std::string& service) const {
    const model::Service* found = snapshot_.service(key_of(service));
    return found == nullptr || found->cluster_ips.empty() ? "" : found->cluster_ips.front().to_string();
  }
  [[nodiscard]] std::vector<std::string> service_names() const {
    std::vector<std::string> names;
    for (const model::ObjectKey& key : snapshot_.service_keys()) names.push_back(key.name);
    return names;
  }

  std::deque<std::atomic<int>> numbers_;  // before the server, which uses them
  std::deque<std::atomic<bool>> flags_;
  const net::test::Authority authority_;
  net::EventLoop loop_;
  ClientConfig config_;
  ApiTiming timing_;
  std::unique_ptr<FakeApiServer> server_;
  std::unique_ptr<Source> source_;
  std::unique_ptr<EventSink> events_;

  model::Snapshot snapshot_;
  bool complete_before_removal_ = true;
  std::vector<std::string> removed_;  // names, in order
  std::vector<std::string> requests_;
  std::vector<std::string> refused_;
  std::size_t update_size_max_ = 0;
  int updates_ = 0;
};

// With one Service and one slice that are served, whatever goes wrong then.
class ApiWebFixture : public ApiFixture {
 protected:
  // One Service, one slice, and all watches open.
  FakeApiServer& start_with_web(FakeApiServer::Options options = {}) {
    FakeApiServer& server = serve(std::move(options));
    server.set(Kind::kService, key_of("web"), service_members("10.96.0.10"));
    server.set(Kind::kSlice, key_of("web-1"), slice_members("10.244.1.5"), slice_metadata("web"));
    start();
    EXPECT_TRUE(run_until_watching());
    return server;
  }
  // A change arrives although something went wrong before, and nothing was ever removed.
  void expect_that_changes_arrive() {
    server_->set(Kind::kService, key_of("web"), service_members("10.96.0.99"));
    EXPECT_TRUE(run_until([&] { return ip_of("web") == "10.96.0.99"; }));
    EXPECT_THAT(removed_, testing::IsEmpty());
  }
};

}  // namespace sluice::kube::test
