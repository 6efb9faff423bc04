// SPDX-License-Identifier: Apache-2.0
// The order of things: a lab with hosts only; keys; the API server; what acts on it; the nodes, each of which imports its
// images while the API server starts. All of it are programs of the lab (Lab::spawn), so the lab ends them; the only
// thing besides are control groups, which have the lab's name (lab.cc removes them).
#include "lab/cluster.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/ip_literals.h"
#include "lab/cluster_files.h"
#include "lab/state.h"
#include "sys/cgroups.h"
#include "sys/links.h"
#include "sys/process.h"

namespace sluice::lab {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using SteadyClock = std::chrono::steady_clock;

constexpr const char* kVersion = "1.20.2";
constexpr const char* kPlugins = "/usr/lib/cni";
constexpr const char* kHowToGet = "tools/setup/cluster.sh gets and builds what a cluster needs";
constexpr std::chrono::minutes kPatience{10};  // for a machine that is emulated
constexpr milliseconds kPollInterval{100};
constexpr std::size_t kLogShown = 1500;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// Builds one cluster; holds what every step needs.
class Starter {
 public:
  Starter(const ClusterOptions& options, Lab& lab)
      : options_(options), lab_(lab), plan_(plan_cluster(options.id, lab.folder(), options.nodes)) {}

  Result<> start() {
    SLUICE_CHECK_OK(write_files());
    SLUICE_CHECK_OK(route_pods());
    SLUICE_CHECK_OK(start_nodes());
    SLUICE_CHECK_OK(spawn(etcd_program(plan_)));
    SLUICE_CHECK_OK(spawn(api_server_program(plan_)));
    SLUICE_CHECK_OK(wait_for("kube-apiserver", [this] { return kubectl({"get", "--raw", "/readyz"}); }));
    note("the API server serves");
    for (const ClusterProgram& program : controller_programs(plan_)) SLUICE_CHECK_OK(spawn(program));
    SLUICE_CHECK_OK(kubectl({"apply", "-f", plan_.folder + "/objects.yaml"}));
    for (const ClusterNode& node : plan_.nodes) SLUICE_CHECK_OK(wait_for_node(node));
    return {};
  }

 private:
  void note(std::string_view text) const {
    if (options_.progress) options_.progress(text);
  }

  // ---- files ----
  static Result<> link(const std::string& target, const std::string& path) {
    std::error_code error;
    fs::create_symlink(target, path, error);
    if (error) return fail(Errc::kInternal, fmt::format("cluster: link {}: {}", path, error.message()));
    return {};
  }

  static Result<> make_folder(const std::string& path) {
    std::error_code error;
    fs::create_directories(path, error);
    if (error) return fail(Errc::kInternal, fmt::format("cluster: make {}: {}", path, error.message()));
    return {};
  }

  [[nodiscard]] Result<> write_files() const {
    SLUICE_CHECK_OK(make_folder(plan_.folder));
    SLUICE_CHECK_OK(link(fmt::format("{}/kubernetes-{}/bin", cache_folder(), kVersion), plan_.programs));
    SLUICE_CHECK_OK(make_keys());
    std::vector<ClusterUser> users = cluster_users(plan_);
    for (ClusterUser& user : users) {
      SLUICE_TRY(user.token, openssl({"rand", "-hex", "24"}));
      user.token.erase(user.token.find_last_not_of('\n') + 1);
      SLUICE_CHECK_OK(write_text(fmt::format("{}/{}.kubeconfig", plan_.folder, user.file), kubeconfig(plan_, user)));
    }
    SLUICE_CHECK_OK(write_text(plan_.folder + "/tokens.csv", tokens_file(users)));
    SLUICE_CHECK_OK(write_text(plan_.folder + "/objects.yaml", base_objects(plan_)));
    for (const ClusterNode& node : plan_.nodes) {
      SLUICE_CHECK_OK(make_folder(node_folder(plan_, node) + "/cni"));
      for (const auto& [name, text] : node_files(plan_, node)) {
        SLUICE_CHECK_OK(write_text(fmt::format("{}/{}", node_folder(plan_, node), name), text));
      }
    }
    return link_images();
  }

  [[nodiscard]] Result<> link_images() const {
    SLUICE_CHECK_OK(make_folder(plan_.folder + "/images"));
    std::vector<std::string> images = options_.images;
    std::error_code error;
    for (fs::directory_iterator entry(cache_folder() + "/cluster/images", error), end; !error && entry != end;
         entry.increment(error)) {
      if (entry->path().extension() == ".tar") images.push_back(entry->path().string());
    }
    for (const std::string& image : images) {
      SLUICE_CHECK_OK(link(fs::absolute(image).string(),
                           fmt::format("{}/images/{}", plan_.folder, fs::path(image).filename().string())));
    }
    return {};
  }

  // ---- keys ----
  static Result<std::string> openssl(std::vector<std::string> arguments) {
    const std::string what = arguments.front();
    arguments.insert(arguments.begin(), "openssl");
    SLUICE_TRY(sys::CollectedOutcome outcome, sys::run_and_collect(std::move(arguments), {}, kPatience));
    if (outcome.exit_status != 0)
      return fail(Errc::kInternal, fmt::format("openssl {}: {}", what, outcome.error_output));
    return std::move(outcome.output);
  }

  [[nodiscard]] Result<> make_keys() const {
    const std::string& folder = plan_.folder;
    SLUICE_CHECK_OK(openssl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                             "/CN=lab", "-days", "3650", "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout",
                             folder + "/ca.key", "-out", folder + "/ca.crt"}));
    SLUICE_CHECK_OK(issue("apiserver", "/CN=kube-apiserver",
                          "extendedKeyUsage=serverAuth\nsubjectAltName=" + api_server_names(plan_)));
    SLUICE_CHECK_OK(
        issue("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", "extendedKeyUsage=clientAuth"));
    SLUICE_CHECK_OK(openssl({"genrsa", "-out", folder + "/sa.key", "2048"}));
    return {};
  }

  // A key and a certificate of our authority.
  [[nodiscard]] Result<> issue(const std::string& name, const std::string& subject,
                               const std::string& extensions) const {
    const std::string path = fmt::format("{}/{}", plan_.folder, name);
    SLUICE_CHECK_OK(write_text(path + ".ext", extensions + "\n"));
    SLUICE_CHECK_OK(openssl({"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj",
                             subject, "-keyout", path + ".key", "-out", path + ".csr"}));
    SLUICE_CHECK_OK(openssl({"x509", "-req", "-in", path + ".csr", "-CA", plan_.folder + "/ca.crt", "-CAkey",
                             plan_.folder + "/ca.key", "-CAcreateserial", "-days", "3650", "-extfile", path + ".ext",
                             "-out", path + ".crt"}));
    return {};
  }

  // ---- network ----
  static Result<> route_pods_of(const ClusterNode& node) {
    for (std::size_t family = 0; family < node.pods.size(); ++family) {
      SLUICE_CHECK_OK(
          sys::add_route({.destination = node.pods[family], .gateway = node.addresses.at(family), .link = "eth0"}));
    }
    return {};
  }

  // Each host reaches every node's pods by way of that node.
  [[nodiscard]] Result<> route_pods() const {
    for (const std::string& host : lab_.hosts()) {
      for (const ClusterNode& node : plan_.nodes) {
        if (host == node.name) continue;
        SLUICE_CHECK_OK(lab_.run_inside(host, [&node] { return route_pods_of(node); }));
      }
    }
    return {};
  }

  // ---- programs ----
  [[nodiscard]] Result<> spawn(const ClusterProgram& program) const {
    const auto started = lab_.spawn({.node = plan_.master.name, .name = program.name, .arguments = program.arguments});
    if (!started) return tl::unexpected(started.error());
    return {};
  }

  [[nodiscard]] Result<> start_nodes() const {
    for (const ClusterNode& node : plan_.nodes) {
      SLUICE_CHECK_OK(sys::add_cgroup(fmt::format("{}/{}", cluster_cgroup(plan_.id), node.name)));
      const ClusterProgram program = node_program(plan_, node);
      const auto started = lab_.spawn({.node = node.name, .name = program.name, .arguments = program.arguments});
      if (!started) return tl::unexpected(started.error());
    }
    return {};
  }

  [[nodiscard]] Result<> kubectl(const std::vector<std::string>& arguments) const {
    SLUICE_TRY(std::vector<std::string> command, kubectl_command(lab_, arguments));
    SLUICE_TRY(const sys::CollectedOutcome outcome, lab_.run(plan_.master.name, std::move(command), {}, kPatience));
    if (outcome.exit_status != 0) {
      return fail(Errc::kUnavailable,
                  fmt::format("cluster: kubectl {}: {}", fmt::join(arguments, " "), outcome.error_output));
    }
    return {};
  }

  // The program that must run for that, or on a node the whole of it.
  [[nodiscard]] Result<> check_programs() const {
    for (const LabProcess& process : lab_.processes()) {
      if (process.alive) continue;
      auto log = read_text(lab_.log_file(process.node, process.name));
      return fail(Errc::kUnavailable,
                  fmt::format("cluster: {} on {} has ended: {}", process.name, process.node,
                              log ? log->substr(log->size() - std::min(log->size(), kLogShown)) : ""));
    }
    return {};
  }

  [[nodiscard]] Result<> wait_for(const std::string& what, const std::function<Result<>()>& attempt) const {
    for (const auto start = SteadyClock::now();;) {
      if (options_.cancelled && options_.cancelled())
        return fail(Errc::kUnavailable, "cluster: interrupted while it was made");
      const Result<> done = attempt();
      if (done) return {};
      SLUICE_CHECK_OK(check_programs());
      if (SteadyClock::now() - start > kPatience) return annotate(done.error(), what + " is not ready in time");
      std::this_thread::sleep_for(kPollInterval);
    }
  }

  // Its network's place is there for readers of the Node object.
  [[nodiscard]] Result<> wait_for_node(const ClusterNode& node) const {
    SLUICE_CHECK_OK(wait_for(node.name, [&] { return kubectl({"get", "node", node.name}); }));
    std::vector<std::string> pods;
    for (const Cidr& range : node.pods) pods.push_back(fmt::format("\"{}\"", range.to_string()));
    SLUICE_CHECK_OK(
        kubectl({"patch", "node", node.name, "--patch",
                 fmt::format(R"({{"spec":{{"podCIDR":{},"podCIDRs":[{}]}}}})", pods.front(), fmt::join(pods, ","))}));
    SLUICE_CHECK_OK(wait_for(
        node.name, [&] { return kubectl({"wait", "--for=condition=Ready", "node/" + node.name, "--timeout=1s"}); }));
    note(node.name + " is ready");
    return {};
  }

  const ClusterOptions& options_;
  Lab& lab_;
  const ClusterPlan plan_;
};

// What is missing, before anything is made.
Result<> check_parts(const ClusterOptions& options) {
  const std::string cache = cache_folder();
  const std::string programs = fmt::format("{}/kubernetes-{}/bin/", cache, kVersion);
  std::vector<std::string> wanted = options.images;
  for (const char* name : {"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kubectl"}) {
    wanted.push_back(programs + name);
  }
  for (const char* name : {"pause.tar", "dns.tar"}) wanted.push_back(fmt::format("{}/cluster/images/{}", cache, name));
  for (const char* name : {"bridge", "host-local", "loopback", "portmap"})
    wanted.push_back(fmt::format("{}/{}", kPlugins, name));
  for (const std::string& path : wanted) {
    if (!file_exists(path)) return fail(Errc::kNotFound, fmt::format("cluster: there is no {}; {}", path, kHowToGet));
  }
  return {};
}

std::string folder_of(const Lab& lab) {
  return lab.folder() + "/cluster";
}

Result<> check_cluster(const Lab& lab) {
  if (file_exists(folder_of(lab))) return {};
  return fail(Errc::kNotFound, fmt::format("lab {} is no cluster", lab.id()));
}

}  // namespace

std::string cache_folder() {
  if (const std::string given = variable("SLUICE_CACHE"); !given.empty()) return fs::absolute(given).string();
  if (const std::string given = variable("XDG_CACHE_HOME"); given.starts_with('/')) return given + "/sluice";
  const std::string home = variable("HOME");
  return (home.empty() ? "/root" : home) + "/.cache/sluice";
}

Result<Lab> start_cluster(const ClusterOptions& options) {
  SLUICE_CHECK_OK(check_parts(options));
  SLUICE_TRY(Lab lab, Lab::up({.id = options.id,
                               .topology = cluster_topology(options.nodes),
                               .agent = AgentKind::kProcess,
                               .agent_program = options.agent_program,
                               .cancelled = options.cancelled}));
  SLUICE_CHECK_OK(Starter(options, lab).start());
  return lab;
}

Result<std::vector<std::string>> kubectl_command(const Lab& lab, const std::vector<std::string>& arguments) {
  SLUICE_CHECK_OK(check_cluster(lab));
  std::vector<std::string> command{"env", fmt::format("KUBECONFIG={}/admin.kubeconfig", folder_of(lab)),
                                   folder_of(lab) + "/programs/kubectl"};
  command.insert(command.end(), arguments.begin(), arguments.end());
  return command;
}

Result<std::vector<std::string>> node_command(const Lab& lab, const std::string& node,
                                              const std::vector<std::string>& command) {
  SLUICE_CHECK_OK(check_cluster(lab));
  SLUICE_TRY(const std::string first, read_text(fmt::format("{}/{}/first", folder_of(lab), node)));
  std::vector<std::string> words{"nsenter", "--target", first.substr(0, first.find('\n')), "--mount", "--pid", "--uts",
                                 "--net",   "--"};
  words.insert(words.end(), command.begin(), command.end());
  return words;
}

}  // namespace sluice::lab
