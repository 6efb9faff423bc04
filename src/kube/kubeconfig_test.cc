// SPDX-License-Identifier: Apache-2.0
#include "kube/kubeconfig.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "net/test_certificates.h"

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

  static std::string token_error(const ClientConfig& config) {
    const auto header = authorization(config);
    return header ? "no error" : header.error().what;
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

std::string base64(const std::string& text) {
  std::string encoded(4 * ((text.size() + 2) / 3) + 1, '\0');
  encoded.resize(static_cast<std::size_t>(EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                                          reinterpret_cast<const unsigned char*>(text.data()),
                                                          static_cast<int>(text.size()))));
  return encoded;
}

TEST_F(KubeconfigTest, CertificatesStandInTheFileOrBesideIt) {
  const net::test::Authority authority;
  const std::string ca = authority.certificate_pem();
  const net::test::Certificate mine = authority.issue("DNS:me");
  write("pki/ca.crt", ca);
  write("pki/me.crt", mine.certificate_pem);
  const std::string key = write("me.key", mine.key_pem);
  const auto beside =
      load_kubeconfig(config("{server: 'https://h', certificate-authority: pki/ca.crt, tls-server-name: api.example}",
                             fmt::format("{{client-certificate: pki/me.crt, client-key: {}}}", key)),
                      "");
  ASSERT_TRUE(beside) << beside.error().what;
  const auto within = load_kubeconfig(
      config(fmt::format("{{server: 'https://h', certificate-authority: nowhere, certificate-authority-data: {}, "
                         "tls-server-name: api.example}}",
                         base64(ca)),
             fmt::format("{{client-certificate-data: {}, client-key-data: {}}}", base64(mine.certificate_pem),
                         base64(mine.key_pem))),
      "");
  ASSERT_TRUE(within) << within.error().what;
  for (const auto* loaded : {&*beside, &*within}) {
    EXPECT_EQ(loaded->target.tls_settings.ca_pem, ca);
    EXPECT_EQ(loaded->target.tls_settings.client_certificate_pem, mine.certificate_pem);
    EXPECT_EQ(loaded->target.tls_settings.client_key_pem, mine.key_pem);
    EXPECT_EQ(loaded->target.tls_settings.server_name, "api.example");
    EXPECT_FALSE(loaded->target.tls_settings.insecure);
    EXPECT_EQ(*authorization(*loaded), "");
  }
  EXPECT_THAT(error_of(config("{server: 'https://h'}",
                              fmt::format("{{client-certificate-data: {}}}", base64(mine.certificate_pem)))),
              HasSubstr("users[u].user: client-certificate and client-key belong together"));
}

TEST_F(KubeconfigTest, WhatIsNoCertificateOrKeyIsNamedAtOnce) {
  const std::string certificate = base64(net::test::Authority().certificate_pem());
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority-data: aGVsbG8=}", "{}")),
              HasSubstr("clusters[c].cluster.certificate-authority-data: holds no certificate in PEM"));
  write("ca.crt", "no certificate");
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority: ca.crt}", "{}")),
              HasSubstr("clusters[c].cluster.certificate-authority: holds no certificate in PEM"));
  EXPECT_THAT(error_of(config("{server: 'https://h'}",
                              fmt::format("{{client-certificate-data: {0}, client-key-data: {0}}}", certificate))),
              HasSubstr("users[u].user.client-key-data: holds no private key in PEM"));
}

TEST_F(KubeconfigTest, ServersAreNotTrustedBlindlyUnlessSaidSo) {
  const auto insecure = [&](const std::string& value) {
    const auto loaded =
        load_kubeconfig(config("{server: 'https://h', insecure-skip-tls-verify: " + value + "}", "{}"), "");
    return loaded ? std::string(loaded->target.tls_settings.insecure ? "insecure" : "verified") : loaded.error().what;
  };
  EXPECT_EQ(insecure("true"), "insecure");
  EXPECT_EQ(insecure("True"), "insecure");
  EXPECT_EQ(insecure("false"), "verified");
  EXPECT_EQ(insecure("null"), "verified");
  EXPECT_THAT(insecure("maybe"), HasSubstr("clusters[c].cluster.insecure-skip-tls-verify: must be true or false"));
  EXPECT_THAT(insecure("[]"), HasSubstr("must be true or false"));
  EXPECT_THAT(insecure("true, certificate-authority-data: " + base64(net::test::Authority().certificate_pem())),
              HasSubstr("exclude each other"));
}

TEST_F(KubeconfigTest, TheServerIsAUrl) {
  struct Row {
    const char* url;
    const char* server;  // or a part of the error
    bool good = true;
  };
  const Row rows[] = {
      {"https://api.example", "https://api.example"},
      {"https://api.example:443/", "https://api.example"},
      {"https://10.0.0.1:6443", "https://10.0.0.1:6443"},
      {"https://[fd00::1]:6443/k8s/", "https://[fd00::1]:6443/k8s"},
      {"http://127.0.0.1:8001", "http://127.0.0.1:8001"},
      {"127.0.0.1:8001", "http://127.0.0.1:8001"},
      {"ftp://h", "neither an http nor an https URL", false},
      {"https://h:0", "no valid port", false},
      {"https://h:65536", "no valid port", false},
      {"https://h:https", "no valid port", false},
      {"https://[fd00::1", "no closing bracket", false},
      {"https://:6443", "names no host", false},
      {"https:///path", "names no host", false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.url);
    const auto loaded = master_config(row.url);
    ASSERT_EQ(static_cast<bool>(loaded), row.good);
    if (row.good) {
      // Which of them name the port that https means anyway is the Host header's business.
      EXPECT_THAT(loaded->server(), testing::AnyOf(row.server, fmt::format("{}:443", row.server)));
      EXPECT_EQ(*authorization(*loaded), "");
    } else {
      EXPECT_THAT(loaded.error().what, testing::AllOf(HasSubstr("--master"), HasSubstr(row.server)));
    }
  }
}

TEST_F(KubeconfigTest, WhatCannotBeReadIsAnErrorEvenWhereItOpens) {
  fs::create_directory(folder_ / "folder");
  const std::string folder = (folder_ / "folder").string();
  EXPECT_THAT(error_of(folder), HasSubstr(folder));
  EXPECT_THAT(error_of("/dev/zero"), HasSubstr("longer than"));
  EXPECT_THAT(error_of(config("{server: 'https://h', certificate-authority: folder}", "{}")),
              testing::AllOf(HasSubstr("certificate-authority"), HasSubstr(folder)));
  const auto loaded = load_kubeconfig(config("{server: 'https://h'}", "{tokenFile: folder}"), "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_THAT(token_error(*loaded), HasSubstr(folder));
}

TEST_F(KubeconfigTest, ATokenCannotSmuggleHeaderLines) {
  const std::string token = write("token", "secret\r\nX-Remote-User: admin\n");
  const auto loaded = load_kubeconfig(config("{server: 'https://h'}", "{tokenFile: token}"), "");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_THAT(token_error(*loaded), testing::AllOf(HasSubstr(token), HasSubstr("is no token")));
  write("token", " \n");
  EXPECT_THAT(token_error(*loaded), HasSubstr("holds no token"));
}

TEST_F(KubeconfigTest, EntriesThatAreNotThereAreNamed) {
  struct Row {
    const char* text;
    const char* error;
  };
  const Row rows[] = {
      {"{kind: Config}", "current-context: names no context"},
      {"{current-context: [a]}", "current-context: must be a string"},
      {"{current-context: a, contexts: 7}", "contexts: there is no entry named 'a'"},
      {"{current-context: a, contexts: [{name: b}, 7, {name: [a]}]}", "contexts: there is no entry named 'a'"},
      {"{current-context: a, contexts: [{name: a, context: {cluster: c}}]}", "clusters: there is no entry named 'c'"},
      {"{current-context: a, contexts: [{name: a, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: "
       "{server: 'https://h'}}]}",
       "users: there is no entry named 'u'"},
      {"{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c}]}",
       "clusters[c].cluster.server: must be there"},
      {"{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, cluster: {server: "
       "[h]}}]}",
       "server: must be a string"},
  };
  for (const Row& row : rows) {
    const std::string path = write("rows", row.text);
    EXPECT_EQ(error_of(path), fmt::format("{}: {}", path, row.error));
  }
  // A context without a user is anonymous.
  EXPECT_EQ(error_of(write("anonymous",
                           "{current-context: a, contexts: [{name: a, context: {cluster: c}}], clusters: [{name: c, "
                           "cluster: {server: 'https://h'}}]}")),
            "no error");
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
  for (const char* user :
       {"as: root", "as-groups: [admins]", "as-uid: '7'", "as-user-extra: {a: [b]}", "password: b"}) {
    EXPECT_THAT(error_of(config("{server: 'https://h'}", fmt::format("{{token: t, {}}}", user))),
                HasSubstr(std::string(user).substr(0, std::string_view(user).find(':')) + ": not supported"));
  }
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
  EXPECT_THAT(in_cluster_config(folder_.string()).error().what, HasSubstr("holds no certificate"));
  const std::string ca = net::test::Authority().certificate_pem();
  write("var/run/secrets/kubernetes.io/serviceaccount/ca.crt", ca);
  const auto loaded = in_cluster_config(folder_.string());
  ::unsetenv("KUBERNETES_SERVICE_HOST");
  ::unsetenv("KUBERNETES_SERVICE_PORT");
  ASSERT_TRUE(loaded) << loaded.error().what;
  EXPECT_EQ(loaded->target.tls_settings.ca_pem, ca);
  EXPECT_EQ(loaded->server(), "https://[fd00::1]:6443");
  EXPECT_EQ(*authorization(*loaded), "Bearer pod-token");
}

}  // namespace
}  // namespace sluice::kube
