// SPDX-License-Identifier: Apache-2.0
// What is sent: a credential reaches an API server over TLS, or not at all.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>

#include "kube/api_fixture.h"

namespace sluice::kube::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::IsEmpty;

class Credentials : public ApiFixture {
 protected:
  Credentials() {
    std::string name = (fs::temp_directory_path() / "sluice-credentials-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    std::ofstream(folder_ / "ca.crt") << authority_.certificate_pem();
    std::ofstream(folder_ / "token") << kToken;
  }
  ~Credentials() override { fs::remove_all(folder_); }

  void load(const std::string& server, const std::string& cluster, const std::string& user, const std::string& master) {
    const fs::path path = folder_ / "kubeconfig";
    std::ofstream(path) << fmt::format(
        "current-context: a\ncontexts: [{{name: a, context: {{cluster: c, user: u}}}}]\nclusters: [{{name: c, cluster: "
        "{{server: '{}', {}}}}}]\nusers: [{{name: u, user: {{{}}}}}]\n",
        server, cluster, user);
    const auto loaded = load_kubeconfig(path.string(), master);
    ASSERT_TRUE(loaded) << loaded.error().what;
    config_ = *loaded;
  }

  // Starts everything that sends requests to the API server.
  void start_all() {
    start();
    events_ = make_event_sink(loop_, config_, "node-a", hooks());
    EventNote note;
    note.reason = "Starting";
    note.regarding = {"", "node-a"};
    events_->post(note);
  }

  static constexpr const char* kToken = "kube-secret";
  fs::path folder_;
};

// All bytes that arrive over plain TCP are examined, whatever they are.
TEST_F(Credentials, NeverGoOverPlainTcp) {
  struct Row {
    const char* scheme;
    const char* cluster;
    const char* user;
  };
  const Row rows[] = {
      {"", "certificate-authority: ca.crt", "token: kube-secret"},
      {"", "certificate-authority: ca.crt", "tokenFile: token"},
      {"", "insecure-skip-tls-verify: true", "token: kube-secret"},
      {"", "extensions: []", "token: kube-secret"},
      {"", "extensions: []", "tokenFile: token"},
      {"", "extensions: []", "username: kube-secret, password: kube-secret"},
      {"http://", "certificate-authority: ca.crt", "token: kube-secret"},
      {"http://", "extensions: []", "tokenFile: token"},
      {"https://", "insecure-skip-tls-verify: true", "token: kube-secret"},
  };
  for (const Row& row : rows) {
    for (const bool by_master : {false, true}) {
      SCOPED_TRACE(fmt::format("{} {} {} {}", row.scheme, row.cluster, row.user, by_master));
      std::mutex mutex;
      std::vector<std::string> seen;
      std::atomic<int> connections{0};
      const net::test::TestServer plain({}, [&](Peer& peer) {
        const std::string bytes = peer.read_some();
        ++connections;
        const std::lock_guard<std::mutex> lock(mutex);
        seen.push_back(bytes);
      });
      const std::string address = fmt::format("{}127.0.0.1:{}", row.scheme, plain.port());
      testing::internal::CaptureStderr();
      load(by_master ? "https://unused" : address, row.cluster, row.user, by_master ? address : "");
      start_all();
      const bool asked = run_until([&] { return connections >= 8; });
      testing::internal::GetCapturedStderr();
      EXPECT_TRUE(asked);
      source_.reset();
      events_.reset();
      run_for(0ms);
      const std::lock_guard<std::mutex> lock(mutex);
      for (const std::string& bytes : seen) {
        EXPECT_EQ(bytes.find("kube-secret"), std::string::npos) << bytes;
        EXPECT_EQ(bytes.find("Authorization"), std::string::npos) << bytes;
      }
    }
  }
}

TEST_F(Credentials, GoToAServerWithoutASchemeByTls) {
  for (const bool by_master : {false, true}) {
    FakeApiServer::Options options;
    options.token = kToken;
    FakeApiServer& server = serve_tls(std::move(options));
    server.set(Kind::kNode, {"", "node-a"}, "");
    const std::string address = fmt::format("127.0.0.1:{}", server.port());
    load(by_master ? "https://unused" : address, "certificate-authority: ca.crt", "tokenFile: token",
         by_master ? address : "");
    snapshot_ = model::Snapshot();
    start_all();
    EXPECT_TRUE(run_until_watching());
    source_.reset();
    events_.reset();
  }
}

TEST_F(Credentials, DoNotFollowARedirectAndNeitherDoesTheRequest) {
  std::atomic<int> elsewhere_asked{0};
  const net::test::TestServer elsewhere({}, [&](Peer&) { ++elsewhere_asked; });
  for (const int status : {301, 302, 307, 308}) {
    FakeApiServer& server = serve_tls();
    config_.token = kToken;
    const std::string there = fmt::format("http://127.0.0.1:{}/", elsewhere.port());
    server.intercept([status, there](const Request&, Peer& peer) {
      return peer.send(net::test::answer(status, "", fmt::format("Location: {}\r\n", there)));
    });
    requests_.clear();
    testing::internal::CaptureStderr();
    start_all();
    const bool asked = run_until([&] { return requests_.size() >= 8; });
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_TRUE(asked);
    EXPECT_THAT(log, HasSubstr(fmt::format("{}: redirects are not followed: to {}", status, there)));
    EXPECT_EQ(elsewhere_asked, 0);
    source_.reset();
    events_.reset();
  }
}

}  // namespace
}  // namespace sluice::kube::test
