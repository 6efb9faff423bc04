// SPDX-License-Identifier: Apache-2.0
// A folder of manifests as users treat it: files are written, broken, repaired, renamed over, removed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "kube/source.h"
#include "model/snapshot.h"

namespace sluice::kube {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
namespace fs = std::filesystem;

std::string service(const std::string& name, const std::string& ip, const std::string& port = "80") {
  return fmt::format(
      "apiVersion: v1\nkind: Service\nmetadata:\n  name: {}\n  namespace: shop\nspec:\n  clusterIP: {}\n  ports:\n  - "
      "port: {}\n",
      name, ip, port);
}

std::size_t times(const std::string& text, const std::string& part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

class FileSourceTest : public testing::Test {
 protected:
  FileSourceTest() {
    std::string name = (fs::temp_directory_path() / "sluice-manifests-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    root_ = name;
    folder_ = root_ / "manifests";
    fs::create_directory(folder_);
  }
  ~FileSourceTest() override {
    source_.reset();
    loop_.run_for(0ms);
    fs::remove_all(root_);
  }

  void start() {
    SourceHooks hooks;
    hooks.on_update = [this](model::Update&& update) {
      ++updates_;
      snapshot_.apply(std::move(update));
    };
    hooks.on_refused = [this](std::string_view kind) { refused_.emplace_back(kind); };
    source_ = make_file_source(loop_, folder_.string(), (root_ / "kept").string(), "node-a", std::move(hooks));
    source_->start();
  }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }

  [[nodiscard]] bool run_until(const std::function<bool()>& holds) {
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    while (!holds()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      loop_.restart();
      loop_.run_one_for(20ms);
    }
    return true;
  }
  // "web=10.96.0.1 ...": the known Services, by name.
  [[nodiscard]] std::string services() const {
    std::string text;
    for (const model::ObjectKey& key : snapshot_.service_keys()) {
      const model::Service* found = snapshot_.service(key);
      text += fmt::format("{}{}={}", text.empty() ? "" : " ", key.name,
                          found->cluster_ips.empty() ? "" : found->cluster_ips.front().to_string());
    }
    return text;
  }
  [[nodiscard]] bool becomes(const std::string& wanted) {
    return run_until([&] { return services() == wanted; });
  }

  // How many copies of that name are kept.
  [[nodiscard]] std::size_t kept(const std::string& name) const {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(root_ / "kept")) {
      if (entry.path().filename() == name) ++count;
    }
    return count;
  }

  fs::path root_;
  fs::path folder_;
  net::EventLoop loop_;
  std::unique_ptr<Source> source_;
  model::Snapshot snapshot_;
  std::vector<std::string> refused_;
  int updates_ = 0;
};

TEST_F(FileSourceTest, FilesComeChangeAndGo) {
  write("a.yaml", service("web", "10.96.0.1"));
  start();
  EXPECT_TRUE(becomes("web=10.96.0.1"));
  EXPECT_TRUE(snapshot_.complete());
  write("b.yml", service("dns", "10.96.0.10") + "---\n" + service("api", "10.96.0.2"));
  EXPECT_TRUE(becomes("api=10.96.0.2 dns=10.96.0.10 web=10.96.0.1")) << services();
  write("a.yaml", service("web", "10.96.0.7"));
  EXPECT_TRUE(becomes("api=10.96.0.2 dns=10.96.0.10 web=10.96.0.7")) << services();
  fs::remove(folder_ / "b.yml");
  EXPECT_TRUE(becomes("web=10.96.0.7")) << services();
}

TEST_F(FileSourceTest, EveryWayToWriteManyObjectsIsRead) {
  write("list.json", R"({"apiVersion":"v1","kind":"List","items":[
    {"apiVersion":"v1","kind":"Service","metadata":{"name":"one","namespace":"shop"},"spec":{"clusterIP":"10.96.0.1","ports":[{"port":80}]}},
    {"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"other","namespace":"shop"}}]})");
  write("typed.yaml",
        "apiVersion: v1\nkind: ServiceList\nitems:\n- metadata: {name: two, namespace: shop}\n  spec: {clusterIP: "
        "10.96.0.2, ports: [{port: 80}]}\n");
  write("node.yaml",
        "apiVersion: v1\nkind: Node\nmetadata: {name: node-a, labels: {topology.kubernetes.io/zone: east}}\n");
  write("slice.yaml",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: one-x, namespace: shop, labels: "
        "{kubernetes.io/service-name: one}}\n"
        "addressType: IPv4\nports: [{port: 8080}]\nendpoints: [{addresses: [10.1.0.1]}]\n");
  write("notes.txt", "kind: Service\n");
  write(".hidden.yaml", service("hidden", "10.96.0.9"));
  start();
  EXPECT_TRUE(becomes("one=10.96.0.1 two=10.96.0.2")) << services();
  EXPECT_EQ(snapshot_.slices_count(), 1U);
  ASSERT_TRUE(snapshot_.node());
  EXPECT_EQ(snapshot_.node()->labels.at("topology.kubernetes.io/zone"), "east");
}

TEST_F(FileSourceTest, ABrokenFileKeepsItsLastGoodStateAndTheErrorNamesFileLineAndField) {
  write("a.yaml", service("web", "10.96.0.1") + "---\n" + service("api", "10.96.0.2"));
  start();
  ASSERT_TRUE(becomes("api=10.96.0.2 web=10.96.0.1"));

  testing::internal::CaptureStderr();
  write("a.yaml", "kind: [Service\n  oops: }\n");
  EXPECT_TRUE(run_until([this] { return refused_ == std::vector<std::string>{"file"}; }));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::AllOf(HasSubstr("a.yaml"), HasSubstr("2: ")));
  EXPECT_EQ(services(), "api=10.96.0.2 web=10.96.0.1");

  // One object that cannot be used: the file's other objects follow, this one stays as it was.
  testing::internal::CaptureStderr();
  write("a.yaml", service("web", "10.96.0.9", "eighty") + "---\n" + service("api", "10.96.0.3"));
  EXPECT_TRUE(becomes("api=10.96.0.3 web=10.96.0.1")) << services();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(HasSubstr("a.yaml"), HasSubstr("line=\"9\""), HasSubstr("shop/web"),
                             HasSubstr("field=\"spec.ports[0].port\"")));

  write("a.yaml", service("web", "10.96.0.9"));
  EXPECT_TRUE(becomes("web=10.96.0.9")) << services();
}

// If the broken object cannot be identified, nothing of the file may be removed.
// An API server would have refused it, or have chosen an address: a typing error must not end a Service.
TEST_F(FileSourceTest, AServiceThatLacksWhatOnlyAnApiServerFillsInKeepsItsLastGoodState) {
  const std::string head = "kind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n";
  const std::pair<std::string, const char*> rows[] = {
      {head + "  clusterIP: 10.96.0.1\n  port: [{port: 80}]\n", "field=\"spec.ports\""},
      {head + "  clusterIp: 10.96.0.1\n  ports: [{port: 80}]\n", "field=\"spec.clusterIP\""},
      {head + "  clusterIP: 10.96.0.1\n  ports: []\n", "field=\"spec.ports\""}};
  write("a.yaml", service("web", "10.96.0.1"));
  start();
  ASSERT_TRUE(becomes("web=10.96.0.1"));
  for (const auto& [text, field] : rows) {
    SCOPED_TRACE(text);
    refused_.clear();
    testing::internal::CaptureStderr();
    write("a.yaml", text);
    const bool refused = run_until([this] { return !refused_.empty(); });
    EXPECT_THAT(testing::internal::GetCapturedStderr(),
                testing::AllOf(HasSubstr("a.yaml"), HasSubstr("line="), HasSubstr(field), HasSubstr("is required")));
    ASSERT_TRUE(refused);
    EXPECT_EQ(services(), "web=10.96.0.1");
    EXPECT_FALSE(snapshot_.service({"shop", "web"})->ports.empty());
  }
  write("a.yaml", head + "  type: ExternalName\n  externalName: a.example\n---\n" +
                      "kind: Service\nmetadata: {name: peers, namespace: shop}\nspec: {clusterIP: None}\n");
  EXPECT_TRUE(becomes("peers= web=")) << "these need neither: " << services();
}

TEST_F(FileSourceTest, AFileBehindALinkIsFollowed) {
  std::ofstream(root_ / "elsewhere.yaml") << service("web", "10.96.0.1");
  fs::create_symlink(root_ / "elsewhere.yaml", folder_ / "a.yaml");
  start();
  ASSERT_TRUE(becomes("web=10.96.0.1"));
  std::ofstream(root_ / "elsewhere.yaml") << service("web", "10.96.0.2");
  EXPECT_TRUE(becomes("web=10.96.0.2")) << services();
}

TEST_F(FileSourceTest, AMissingFolderIsLoggedOnce) {
  fs::remove(folder_);
  testing::internal::CaptureStderr();
  start();
  loop_.restart();
  loop_.run_for(5500ms);  // it is checked every 5 s
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_EQ(log.find("Cannot watch"), log.rfind("Cannot watch")) << log;
  EXPECT_THAT(log, HasSubstr("Cannot watch"));
}

TEST_F(FileSourceTest, AFileWhoseObjectsCannotBeIdentifiedKeepsThemAll) {
  struct Row {
    const char* name;
    std::string text;
    std::vector<std::string> log;
  };
  const std::string head = "apiVersion: v1\nkind: Service\n";
  const Row rows[] = {
      {"a.yaml",
       service("web", "10.96.0.9") + "---\n" + head + "metadata:\n  namespace: shop\n",
       {"14: Service: metadata.name: is required"}},
      {"a.yaml", head + "metadata:\n  name: [web]\n", {"4: Service: metadata.name: must be a string"}},
      {"a.yaml", head + "metadata:\n  name: web\n  namespace: 7\n", {"5: Service: metadata.namespace: "}},
      {"a.yaml", head + "metadata: web\n", {"3: Service: metadata: must be an object"}},
      {"a.yaml", "apiVersion: v1\nmetadata: {name: web}\n", {"1: kind: is required"}},
      {"a.yaml", "\nkind: {a: b}\nmetadata: {name: web}\n", {"2: kind: is required"}},
      {"a.yaml", "kind: Service\napiVersion: 1\nmetadata: {name: web}\n", {"2: Service: apiVersion: "}},
      {"a.yaml", "web: &a\n  b: *b\n", {"2: "}},
      {"a.yaml", "- kind: Service\n", {"1: a Kubernetes object must be a map"}},
      {"l.json", "{\"kind\":\"List\",\"items\":[\n{\"kind\":\"Service\",}]}", {"2: not JSON"}},
      {"l.json", "{\"kind\":\"List\",\"items\":[\n{\"kind\":\"Service\"", {"l.json", "2: "}},
      {"l.json", "", {"l.json", "1: "}},
      {"l.json", "[]", {"l.json", "1: "}},
  };
  const std::string list =
      R"({"apiVersion":"v1","kind":"ServiceList","items":[)"
      R"({"metadata":{"name":"api","namespace":"shop"},"spec":{"clusterIP":"10.96.0.2","ports":[{"port":80}]}}]})";
  write("a.yaml", service("web", "10.96.0.1"));
  write("l.json", list);
  start();
  ASSERT_TRUE(becomes("api=10.96.0.2 web=10.96.0.1"));
  for (const Row& row : rows) {
    SCOPED_TRACE(row.text);
    refused_.clear();
    testing::internal::CaptureStderr();
    write(row.name, row.text);
    const bool refused = run_until([this] { return !refused_.empty(); });
    const std::string log = testing::internal::GetCapturedStderr();
    ASSERT_TRUE(refused) << log;
    EXPECT_EQ(refused_, std::vector<std::string>{"file"});
    EXPECT_THAT(log, HasSubstr(row.name));
    for (const std::string& part : row.log) EXPECT_THAT(log, HasSubstr(part));
    EXPECT_EQ(services(), "api=10.96.0.2 web=10.96.0.1");
  }
  write("a.yaml", service("web", "10.96.0.3"));
  EXPECT_TRUE(becomes("api=10.96.0.2 web=10.96.0.3")) << services();
  fs::remove(folder_ / "l.json");
  EXPECT_TRUE(becomes("web=10.96.0.3")) << services();
}

TEST_F(FileSourceTest, ABadFieldOfAJsonListIsReportedWithItsLine) {
  testing::internal::CaptureStderr();
  write("l.json",
        "{\"kind\":\"List\",\"items\":[\n"
        "{\"kind\":\"Service\",\"metadata\":{\"name\":\"web\"},\"spec\":{\"clusterIP\":\"10.96.0.1\",\"ports\":[{"
        "\"port\":80}]}},\n"
        "{\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"web-1\"},\n"
        "\"addressType\":\"IPv4\",\n\"ports\":[{\"name\":\"a\",\n\"port\":\"http\"}]}]}");
  start();
  EXPECT_TRUE(becomes("web=10.96.0.1")) << services();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(HasSubstr("l.json"), HasSubstr("line=\"6\""), HasSubstr("object=\"default/web-1\""),
                             HasSubstr("field=\"ports[0].port\""), HasSubstr("must be a whole number")));
  EXPECT_EQ(refused_, std::vector<std::string>{"EndpointSlice"});
}

TEST_F(FileSourceTest, ALastGoodStateOutlivesTheProcess) {
  write("a.yaml", service("web", "10.96.0.1") + "---\n" + service("dns", "10.96.0.2"));
  write("b.yaml", service("shop", "10.96.0.3"));
  write("gone.yaml", service("gone", "10.96.0.4"));
  start();
  ASSERT_TRUE(becomes("dns=10.96.0.2 gone=10.96.0.4 shop=10.96.0.3 web=10.96.0.1"));
  source_.reset();
  snapshot_ = model::Snapshot();
  write("a.yaml", service("web", "10.96.9.1") + "---\n" + service("dns", "10.96.0.2", "none"));  // one object of it
  write("b.yaml", "a: [b\n");
  fs::remove(folder_ / "gone.yaml");
  start();
  EXPECT_EQ(services(), "dns=10.96.0.2 shop=10.96.0.3 web=10.96.9.1") << "at once, with the first update";
  EXPECT_EQ(updates_, 2);
  write("b.yaml", service("shop", "10.96.9.3"));
  EXPECT_TRUE(becomes("dns=10.96.0.2 shop=10.96.9.3 web=10.96.9.1"));
  EXPECT_EQ(kept("gone.yaml"), 0U);
}

TEST_F(FileSourceTest, AKeptCopyIsThatOfTheFolderItWasMadeOf) {
  write("web.yaml", service("web", "10.96.0.1"));
  start();
  ASSERT_TRUE(becomes("web=10.96.0.1"));
  const auto restart_with = [this](const fs::path& folder) {
    source_.reset();
    snapshot_ = model::Snapshot();
    folder_ = folder;
    start();
    EXPECT_TRUE(snapshot_.complete());
    return services();
  };
  const fs::path a = folder_;
  const fs::path b = root_ / "other";
  fs::create_directory(b);
  std::ofstream(b / "web.yaml") << "a: [b\n";
  EXPECT_EQ(restart_with(b), "") << "another folder's web.yaml is another file";
  std::ofstream(a / "web.yaml") << "a: [b\n";
  EXPECT_EQ(restart_with(a), "web=10.96.0.1") << "and the first folder's copy is still its own";
  EXPECT_EQ(restart_with(a.string() + "/"), "web=10.96.0.1") << "however its path is written";
  EXPECT_EQ(restart_with(root_ / "." / "manifests"), "web=10.96.0.1");

  // Renamed, it is another folder; what was kept under its old name is removed.
  fs::rename(a, root_ / "renamed");
  EXPECT_EQ(restart_with(root_ / "renamed"), "");
  EXPECT_EQ(kept("web.yaml"), 0U);
}

TEST_F(FileSourceTest, AFolderThatIsReplacedUnderItsNameUsesTheKeptCopies) {
  // As kubelet mounts a ConfigMap: a new volume for a new pod, and files behind ..data that is swapped.
  const auto mount = [this](const std::string& version, const std::string& text) {
    fs::create_directories(folder_ / version);
    std::ofstream(folder_ / version / "web.yaml") << text;
    fs::create_symlink(version, folder_ / "..new");
    fs::rename(folder_ / "..new", folder_ / "..data");
    if (!fs::is_symlink(folder_ / "web.yaml")) fs::create_symlink("..data/web.yaml", folder_ / "web.yaml");
  };
  mount("..v1", service("web", "10.96.0.1"));
  start();
  ASSERT_TRUE(becomes("web=10.96.0.1"));
  mount("..v2", service("web", "10.96.0.2"));
  ASSERT_TRUE(becomes("web=10.96.0.2"));
  source_.reset();
  snapshot_ = model::Snapshot();
  fs::rename(folder_, root_ / "old volume");
  fs::create_directory(folder_);
  mount("..v3", "a: [b\n");
  start();
  EXPECT_EQ(services(), "web=10.96.0.2");
}

TEST_F(FileSourceTest, CopiesFromBeforeTheyHadFoldersOfTheirOwnAreDropped) {
  fs::create_directories(root_ / "kept");
  std::ofstream(root_ / "kept" / "a.yaml") << service("web", "10.96.0.1");
  write("a.yaml", "a: [b\n");
  start();
  EXPECT_TRUE(snapshot_.complete());
  EXPECT_EQ(services(), "") << "it is unknown of which folder it is a copy";
  EXPECT_EQ(kept("a.yaml"), 0U);
}

// ---- what is logged, and how often ----

TEST_F(FileSourceTest, WhatIsNotAFileIsNamedOnceWithTheReason) {
  fs::create_symlink("nowhere", folder_ / "link.yaml");
  fs::create_directory(folder_ / "folder.yaml");
  fs::create_symlink("/dev/null", folder_ / "device.yaml");
  ASSERT_EQ(::mkfifo((folder_ / "fifo.yaml").c_str(), 0600), 0);
  ASSERT_EQ(::mknod((folder_ / "socket.yaml").c_str(), S_IFSOCK | 0600, 0), 0);
  testing::internal::CaptureStderr();
  start();
  write("a.yaml", service("web", "10.96.0.1"));
  const bool web = becomes("web=10.96.0.1");
  loop_.restart();
  loop_.run_for(5500ms);  // where there are links, it looks again after 5 s
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(web);
  const std::pair<const char*, const char*> rows[] = {{"folder.yaml", "it is a folder"},
                                                      {"device.yaml", "it is a device"},
                                                      {"fifo.yaml", "it is a FIFO"},
                                                      {"socket.yaml", "it is a socket"}};
  for (const auto& [name, why] : rows)
    EXPECT_EQ(times(log, fmt::format("{}\" why=\"{}\"", name, why)), 1U) << name << "\n" << log;
  EXPECT_EQ(times(log, "link.yaml\" err=\"it is a link to nowhere, which is not there\""), 1U) << log;
}

// Its target may be being rewritten at this moment.
TEST_F(FileSourceTest, AFileThatBecomesADanglingLinkKeepsItsLastGoodState) {
  std::ofstream(root_ / "elsewhere.yaml") << service("web", "10.96.0.1");
  fs::create_symlink(root_ / "elsewhere.yaml", folder_ / "a.yaml");
  start();
  ASSERT_TRUE(becomes("web=10.96.0.1"));
  fs::rename(root_ / "elsewhere.yaml", root_ / "away.yaml");
  EXPECT_TRUE(run_until([this] { return refused_ == std::vector<std::string>{"file"}; }));
  EXPECT_EQ(services(), "web=10.96.0.1");
  std::ofstream(root_ / "elsewhere.yaml") << service("web", "10.96.0.2");
  EXPECT_TRUE(becomes("web=10.96.0.2")) << services();
  fs::remove(folder_ / "a.yaml");
  EXPECT_TRUE(becomes("")) << services();
}

TEST_F(FileSourceTest, ALastingProblemIsLoggedOnceAndAgainWhenItChanges) {
  write("b.yaml", service("web", "10.96.0.2"));
  write("a.yaml", service("web", "10.96.0.1") + "---\n" + service("bad", "10.96.0.3", "eighty") +
                      "---\nkind: ConfigMap\nmetadata: {name: other}\n");
  write("broken.yaml", "a: [b\n");
  fs::create_symlink("loop.yaml", folder_ / "loop.yaml");  // makes it look again every 5 s
  testing::internal::CaptureStderr();
  start();
  loop_.restart();
  loop_.run_for(5500ms);
  // Written again, with the same faults.
  fs::last_write_time(folder_ / "a.yaml", fs::file_time_type::clock::now());
  fs::last_write_time(folder_ / "broken.yaml", fs::file_time_type::clock::now());
  loop_.run_for(5500ms);
  std::string log = testing::internal::GetCapturedStderr();
  for (const char* message : {"An object is in two files", "An object of a manifest cannot be used", "broken.yaml",
                              "loop.yaml", "a kind that a Service proxy does not read"})
    EXPECT_EQ(times(log, message), 1U) << message << "\n" << log;

  testing::internal::CaptureStderr();
  write("a.yaml", service("web", "10.96.0.1") + "---\n" + service("bad", "10.96.0.3", "70000"));
  write("broken.yaml", "a: b: c\n");
  const bool again = run_until([this] { return refused_.size() >= 7; });
  log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(again) << log;
  EXPECT_EQ(times(log, "70000 is not between 1 and 65535"), 1U) << log;
  EXPECT_EQ(times(log, "broken.yaml"), 1U) << log;
  EXPECT_EQ(times(log, "An object is in two files"), 0U) << log;
}

TEST_F(FileSourceTest, ASliceOfNoServiceIsNamed) {
  testing::internal::CaptureStderr();
  write("slice.yaml",
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: lone\n  namespace: shop\n  labels: "
        "{app: web}\naddressType: IPv4\n");
  start();
  const bool known = run_until([this] { return snapshot_.slices_count() == 1; });
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(HasSubstr("slice.yaml"), HasSubstr("line=\"6\""), HasSubstr("object=\"shop/lone\""),
                             HasSubstr("there is no label kubernetes.io/service-name, so it belongs to no Service")));
  EXPECT_TRUE(known);
}

TEST_F(FileSourceTest, FaultsOfYamlFilesAreNotReportedForJson) {
  testing::internal::CaptureStderr();
  write("deep.yaml", "kind: Service\nspec: " + std::string(2000, '[') + std::string(2000, ']') + "\n");
  write("latin1.yaml", "kind: Service\nmetadata:\n  name: caf\xe9\n");
  write("latin1.json", "{\"kind\":\"Service\",\"metadata\":{\"name\":\"caf\xe9\"}}");
  write("deep.json", "{\"kind\":\"Service\",\"spec\":" + std::string(2000, '['));
  start();
  const bool read = run_until([this] { return refused_.size() == 4; });
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(read) << log;
  EXPECT_THAT(log, testing::AllOf(HasSubstr("deep.yaml\" err=\"2: nested deeper than 100 levels"),
                                  HasSubstr("latin1.yaml\" err=\"3: a text that is not UTF-8"),
                                  HasSubstr("latin1.json\" err=\"1: a text that is not UTF-8"),
                                  HasSubstr("deep.json\" err=\"1: nested deeper than 1024 levels")));
  EXPECT_THAT(log, testing::Not(testing::AnyOf(HasSubstr("not JSON"), HasSubstr("bad file"))));
}

TEST_F(FileSourceTest, AFileThatCannotBeOpenedKeepsItsLastGoodState) {
  write("a.yaml", service("web", "10.96.0.1"));
  start();
  ASSERT_TRUE(becomes("web=10.96.0.1"));
  fs::create_symlink("a.yaml", folder_ / "circle");  // "Too many levels of symbolic links", even for root
  testing::internal::CaptureStderr();
  fs::rename(folder_ / "circle", folder_ / "a.yaml");
  EXPECT_TRUE(run_until([this] { return !refused_.empty(); }));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::AllOf(HasSubstr("a.yaml"), HasSubstr("symbolic")));
  EXPECT_EQ(services(), "web=10.96.0.1");
  fs::remove(folder_ / "a.yaml");
  EXPECT_TRUE(becomes("")) << services();
}

TEST_F(FileSourceTest, AnEmptyFolderIsACompleteListOfNothing) {
  start();
  EXPECT_TRUE(run_until([this] { return snapshot_.complete(); }));
  EXPECT_EQ(services(), "");
}

TEST_F(FileSourceTest, AFolderThatChangesAllTheTimeIsReadNevertheless) {
  start();
  ASSERT_TRUE(run_until([this] { return snapshot_.complete(); }));
  write("a.yaml", service("web", "10.96.0.1"));
  EXPECT_TRUE(run_until([this] {
    write("busy.log", "something\n");
    return services() == "web=10.96.0.1";
  }));
}

TEST_F(FileSourceTest, OnlyKubernetesOwnKindsAndThisNodeCount) {
  write("a.yaml",
        "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: knative}\nspec: {template: {}}\n---\n"
        "apiVersion: networking.example/v1\nkind: EndpointSlice\nmetadata: {name: strange}\naddressType: IPv4\n---\n"
        "apiVersion: v1\nkind: Node\nmetadata: {name: node-b}\n---\n"
        "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: old}\naddressType: IPv4\n---\n" +
            service("web", "10.96.0.1"));
  start();
  EXPECT_TRUE(becomes("web=10.96.0.1")) << services();
  EXPECT_EQ(snapshot_.slices_count(), 1U);
  EXPECT_FALSE(snapshot_.node());
  EXPECT_TRUE(refused_.empty());
}

TEST_F(FileSourceTest, ANameThatNoNodeHasIsReportedUntilOneHasIt) {
  write("a.yaml", "kind: Node\nmetadata: {name: node-c}\n---\nkind: Node\nmetadata: {name: node-b}\n---\n" +
                      service("web", "10.96.0.1"));
  start();
  EXPECT_TRUE(becomes("web=10.96.0.1")) << "Services are served all the same";
  ASSERT_EQ(source_->waiting().size(), 1U);
  EXPECT_EQ(source_->waiting().front().words(), "Node \"node-a\": the folder has no such Node; it has: node-b, node-c");
  write("node.yaml", "kind: Node\nmetadata: {name: node-a}\n");
  EXPECT_TRUE(run_until([this] { return source_->waiting().empty(); }));
  fs::remove(folder_ / "node.yaml");
  EXPECT_TRUE(run_until([this] { return !source_->waiting().empty(); }));
  fs::remove(folder_ / "a.yaml");
  EXPECT_TRUE(run_until([this] { return source_->waiting().empty(); }))
      << "a folder without Nodes is none that misses one";
}

TEST_F(FileSourceTest, TheNodeComesChangesAndGoes) {
  write("node.yaml", "kind: Node\nmetadata: {name: node-a, labels: {v: '1'}}\n");
  start();
  ASSERT_TRUE(run_until([this] { return snapshot_.node().has_value(); }));
  write("node.yaml", "kind: Node\nmetadata: {name: node-a, labels: {v: '2'}}\nspec: {taints: [{key: new}]}\n");
  EXPECT_TRUE(run_until([this] { return snapshot_.node()->labels.at("v") == "2"; }));
  write("node.yaml", "kind: Node\nmetadata: {name: node-a, labels: {v: '3'}}\nspec: {taints: no}\n");
  EXPECT_TRUE(run_until([this] { return refused_ == std::vector<std::string>{"Node"}; }));
  EXPECT_EQ(snapshot_.node()->labels.at("v"), "2") << "a bad Node keeps its last good state";
  fs::remove(folder_ / "node.yaml");
  EXPECT_TRUE(run_until([this] { return !snapshot_.node(); }));
}

TEST_F(FileSourceTest, OfAnObjectTwiceInAFileTheFirstCountsAndIsLogged) {
  testing::internal::CaptureStderr();
  write("a.yaml", service("web", "10.96.0.1") + "---\n" + service("web", "10.96.0.2"));
  start();
  EXPECT_TRUE(becomes("web=10.96.0.1")) << services();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              testing::AllOf(HasSubstr("a.yaml"), HasSubstr("line=\"11\""), HasSubstr("shop/web")));
}

TEST_F(FileSourceTest, AFileThatIsRenamedOverAndAFolderBehindALinkAreFollowed) {
  fs::create_directory(root_ / "v1");
  fs::create_directory(root_ / "v2");
  std::ofstream(root_ / "v1" / "a.yaml") << service("web", "10.96.0.1");
  std::ofstream(root_ / "v2" / "a.yaml") << service("web", "10.96.0.2");
  // As kubelet mounts a ConfigMap: the files are links through ..data, which is swapped.
  fs::create_symlink(root_ / "v1", folder_ / "..data");
  fs::create_symlink("..data/a.yaml", folder_ / "a.yaml");
  start();
  ASSERT_TRUE(becomes("web=10.96.0.1"));
  fs::create_symlink(root_ / "v2", folder_ / "..new");
  fs::rename(folder_ / "..new", folder_ / "..data");
  EXPECT_TRUE(becomes("web=10.96.0.2")) << services();
  std::ofstream(root_ / "new.yaml") << service("web", "10.96.0.3");
  fs::rename(root_ / "new.yaml", folder_ / "a.yaml");
  EXPECT_TRUE(becomes("web=10.96.0.3")) << services();
}

TEST_F(FileSourceTest, OfAnObjectInTwoFilesTheFirstFileCounts) {
  write("b.yaml", service("web", "10.96.0.2"));
  start();
  ASSERT_TRUE(becomes("web=10.96.0.2"));
  write("a.yaml", service("web", "10.96.0.1"));
  EXPECT_TRUE(becomes("web=10.96.0.1")) << services();
  fs::remove(folder_ / "a.yaml");
  EXPECT_TRUE(becomes("web=10.96.0.2")) << services();
}

TEST_F(FileSourceTest, AFolderThatAppearsLaterIsFoundAndOneThatDisappearsRemovesNothing) {
  fs::remove(folder_);
  start();
  ASSERT_TRUE(run_until([this] { return !source_->waiting().empty(); }));
  loop_.restart();
  loop_.run_for(100ms);
  EXPECT_EQ(updates_, 0) << "an absent folder is no empty list";
  ASSERT_EQ(source_->waiting().size(), 1U);
  EXPECT_THAT(source_->waiting().front().words(),
              testing::AllOf(testing::StartsWith("folder " + folder_.string() + ": "), HasSubstr("No such file")));
  fs::create_directory(folder_);
  write("a.yaml", service("web", "10.96.0.1"));
  EXPECT_TRUE(becomes("web=10.96.0.1")) << services();
  EXPECT_TRUE(source_->waiting().empty());
  fs::rename(folder_, root_ / "away");
  loop_.restart();
  loop_.run_for(300ms);
  EXPECT_EQ(services(), "web=10.96.0.1");
}

}  // namespace
}  // namespace sluice::kube
