// SPDX-License-Identifier: Apache-2.0
#include "kube/kubeconfig.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace sluice::kube {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class KubeconfigTest : public testing::Test {
 protected:
  KubeconfigTest() {
    std::string name = (fs::temp_directory_path() / "sluice-kubeconfig-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  ~KubeconfigTest() override { fs::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    fs::create_directories((folder_ / name).parent_path());
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  // A kubeconfig with these lines below its cluster and its user.
  std::string config(const std::string& cluster, const std::string& user) {
    return write("config", fmt::format("apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n- name: here\n "
                                       " context: {{cluster: c, user: u}}\n"
                                       "clusters:\n- name: c\n  cluster: {}\nusers:\n- name: u\n  user: {}\n",
                                       cluster, user));
  }
  std::string error_of(const std::string& path, const std::string& master = "") {
    const auto loaded = load_kubeconfig(path, master);
    return loaded ? "no error" : loaded.error().what;
  }

  fs::path folder_;
};

TEST_F(KubeconfigTest, ServerTokenAndMaster) {
  const std::string path =
      config("{server: 'https://10.96.0.1:443/k8s/c-1', insecure-skip-tls-verify: true}", "{token: secret}");
  const auto loaded = load_kubeconfig(path, "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->server(), "https://10.96.0.1:443/k8s/c-1");
  EXPECT_EQ(loaded->path_prefix, "/k8s/c-1");
  EXPECT_EQ(*authorization(*loaded), "Bearer secret");
  EXPECT_EQ(load_kubeconfig(path, "https://192.0.2.1:6443")->server(), "https://192.0.2.1:6443");
}

TEST_F(KubeconfigTest, ATokenFileIsReadAnewEachTimeAndMayBeRelative) {
  const std::string token = write("tokens/token", "first\n");
  const auto loaded =
      load_kubeconfig(config("{server: 'http://127.0.0.1:1'}", "{tokenFile: tokens/token, token: unused}"), "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(*authorization(*loaded), "Bearer first");
  write("tokens/token", "second\n");
  EXPECT_EQ(*authorization(*loaded), "Bearer second");
  fs::remove(token);
  EXPECT_FALSE(authorization(*loaded));
}

TEST_F(KubeconfigTest, WhatIsMissingOrUnsupportedIsNamed) {
  EXPECT_THAT(error_of((folder_ / "absent").string()), HasSubstr("absent"));
  EXPECT_THAT(error_of(write("list", "- a\n")), HasSubstr("is no kubeconfig"));
  EXPECT_THAT(error_of(write("broken", "a: [b\n")), HasSubstr("broken:2"));
  EXPECT_THAT(error_of(write("nocontext", "apiVersion: v1\nkind: Config\ncurrent-context: there\n")),
              HasSubstr("there"));
  EXPECT_THAT(error_of(config("{server: 'https://h', proxy-url: 'http://p'}", "{}")), HasSubstr("proxy-url"));
  EXPECT_THAT(error_of(config("{server: 'https://h'}", "{exec: {command: x}}")), HasSubstr("exec"));
  EXPECT_THAT(error_of(config("{server: 'https://h'}", "{username: a, password: b}")), HasSubstr("username"));
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority: nowhere.crt}", "{}")),
              HasSubstr("nowhere.crt"));
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority-data: '%%'}", "{}")),
              HasSubstr("certificate-authority-data"));
  EXPECT_NE(error_of(config("{server: 'ftp://h'}", "{}")), "no error");
}

TEST_F(KubeconfigTest, InClusterConfigurationIsThatOfThePod) {
  write("var/run/secrets/kubernetes.io/serviceaccount/token", "pod-token");
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
  EXPECT_FALSE(in_cluster_config(folder_.string())) << "not in a pod";
  ::setenv("KUBERNETES_SERVICE_HOST", "fd00::1", 1);
  ::setenv("KUBERNETES_SERVICE_PORT", "6443", 1);
  EXPECT_THAT(in_cluster_config(folder_.string()).error().what, HasSubstr("ca.crt"));
  write("var/run/secrets/kubernetes.io/serviceaccount/ca.crt", "certificate");
  const auto loaded = in_cluster_config(folder_.string());
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->target.tls_settings.ca_pem, "certificate");
  EXPECT_EQ(loaded->server(), "https://[fd00::1]:6443");
  EXPECT_EQ(*authorization(*loaded), "Bearer pod-token");
}

}  // namespace
}  // namespace sluice::kube
