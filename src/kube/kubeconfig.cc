// SPDX-License-Identifier: Apache-2.0
// A kubeconfig is three lists (clusters, users, contexts) and the name of a context. Of each the entry of that name
// counts. Data stands either in the file itself, base64-encoded (certificate-authority-data), or in another file named
// by it (certificate-authority). Format: k8s.io/client-go/tools/clientcmd/api/v1.
#include "kube/kubeconfig.h"

#include <fmt/format.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "base/file.h"

namespace sluice::kube {
namespace {

constexpr std::size_t kFileBytesMax = 4 * 1024 * 1024;
constexpr const char* kServiceAccountFolder = "/var/run/secrets/kubernetes.io/serviceaccount";

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

std::optional<std::string> decode_base64(const std::string& encoded) {
  std::string compact;
  for (const char c : encoded) {
    if (c != '\n' && c != '\r' && c != ' ') compact += c;
  }
  if (compact.empty() || compact.size() % 4 != 0) return std::nullopt;
  std::vector<unsigned char> bytes(compact.size() / 4 * 3);
  const int length = EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(compact.data()),
                                     static_cast<int>(compact.size()));
  if (length < 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && compact[compact.size() - 1 - padding] == '=') ++padding;
  return std::string(bytes.begin(), bytes.begin() + (length - static_cast<int>(padding)));
}

// A wrong file is noticed when the configuration is read, not in every connection from then on.
enum class Pem { kCertificates, kPrivateKey };

bool is_pem(const std::string& text, Pem kind) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())),
                                                      &BIO_free);
  bool found = false;
  if (kind == Pem::kCertificates) {
    X509* certificate = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr);
    found = certificate != nullptr;
    X509_free(certificate);
  } else {
    EVP_PKEY* key = PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr);
    found = key != nullptr;
    EVP_PKEY_free(key);
  }
  ERR_clear_error();
  return found;
}

// Splits "https://[::1]:6443/prefix".
Result<> set_server(ClientConfig& config, const std::string& url, const std::string& field) {
  std::string_view rest = url;
  config.target.tls = true;
  if (rest.substr(0, 8) == "https://") {
    rest.remove_prefix(8);
  } else if (rest.substr(0, 7) == "http://") {
    rest.remove_prefix(7);
    config.target.tls = false;
  } else if (rest.find("://") != std::string_view::npos) {
    return fail(Errc::kInvalid, fmt::format("{}: '{}' is neither an http nor an https URL", field, url));
  } else {
    // client-go takes a bare host:port for http.
    config.target.tls = false;
  }
  const std::size_t slash = rest.find('/');
  std::string_view authority = rest.substr(0, slash);
  config.path_prefix = slash == std::string_view::npos ? "" : std::string(rest.substr(slash));
  while (!config.path_prefix.empty() && config.path_prefix.back() == '/') config.path_prefix.pop_back();
  std::string_view port;
  if (!authority.empty() && authority.front() == '[') {
    const std::size_t close = authority.find(']');
    if (close == std::string_view::npos)
      return fail(Errc::kInvalid, fmt::format("{}: '{}' has no closing bracket", field, url));
    config.target.host = std::string(authority.substr(1, close - 1));
    if (close + 1 < authority.size()) port = authority.substr(close + 2);
  } else {
    const std::size_t colon = authority.find(':');
    config.target.host = std::string(authority.substr(0, colon));
    if (colon != std::string_view::npos) port = authority.substr(colon + 1);
  }
  config.target.port = config.target.tls ? 443 : 80;
  if (!port.empty()) {
    const auto parsed = std::from_chars(port.data(), port.data() + port.size(), config.target.port);
    if (parsed.ec != std::errc() || parsed.ptr != port.data() + port.size() || config.target.port == 0) {
      return fail(Errc::kInvalid, fmt::format("{}: '{}' has no valid port", field, url));
    }
  }
  if (config.target.host.empty()) return fail(Errc::kInvalid, fmt::format("{}: '{}' names no host", field, url));
  return {};
}

// One kubeconfig file being read.
class Reader {
 public:
  Reader(std::string path, const YAML::Node& root) : path_(std::move(path)), root_(root) {}

  Result<ClientConfig> read(const std::string& master) {
    SLUICE_TRY(const std::string context_name, text(root_, "current-context"));
    if (context_name.empty()) return fault("current-context", "names no context");
    SLUICE_TRY(const YAML::Node context, entry("contexts", context_name, "context"));
    SLUICE_TRY(const std::string cluster_name, text(context, "cluster"));
    SLUICE_TRY(const std::string user_name, text(context, "user"));
    SLUICE_TRY(const YAML::Node cluster, entry("clusters", cluster_name, "cluster"));
    ClientConfig config;
    SLUICE_CHECK_OK(read_cluster(cluster, "clusters[" + cluster_name + "].cluster", master, config));
    if (user_name.empty()) return config;
    SLUICE_TRY(const YAML::Node user, entry("users", user_name, "user"));
    SLUICE_CHECK_OK(read_user(user, "users[" + user_name + "].user", config));
    return config;
  }

 private:
  tl::unexpected<Error> fault(const std::string& field, const std::string& what) const {
    return fail(Errc::kInvalid, fmt::format("{}: {}: {}", path_, field, what));
  }

  // An absent or null member is empty text.
  Result<std::string> text(const YAML::Node& node, const char* key) const {
    const YAML::Node value = node.IsMap() ? node[key] : YAML::Node();
    if (!value || value.IsNull()) return std::string();
    if (!value.IsScalar()) return fault(key, "must be a string");
    return value.Scalar();
  }

  Result<YAML::Node> entry(const char* list, const std::string& name, const char* member) const {
    const YAML::Node entries = root_[list];
    if (entries && entries.IsSequence()) {
      for (const YAML::Node& candidate : entries) {
        if (candidate.IsMap() && candidate["name"] && candidate["name"].IsScalar() &&
            candidate["name"].Scalar() == name) {
          const YAML::Node found = candidate[member];
          return found && found.IsMap() ? found : YAML::Node(YAML::NodeType::Map);
        }
      }
    }
    return fault(list, fmt::format("there is no entry named '{}'", name));
  }

  std::string beside(const std::string& name) const {
    if (name.empty() || name.front() == '/') return name;
    const std::size_t slash = path_.rfind('/');
    return slash == std::string::npos ? name : path_.substr(0, slash + 1) + name;
  }

  // KEY-data in the file itself, or KEY as the name of another.
  Result<std::string> data(const YAML::Node& node, const std::string& where, const std::string& key, Pem kind) const {
    const auto checked = [&](const std::string& field, std::string&& pem) -> Result<std::string> {
      if (!is_pem(pem, kind)) {
        return fault(field, kind == Pem::kPrivateKey ? "holds no private key in PEM" : "holds no certificate in PEM");
      }
      return std::move(pem);
    };
    SLUICE_TRY(const std::string encoded, text(node, (key + "-data").c_str()));
    if (!encoded.empty()) {
      auto decoded = decode_base64(encoded);
      if (!decoded) return fault(where + "." + key + "-data", "is not base64");
      return checked(where + "." + key + "-data", std::move(*decoded));
    }
    SLUICE_TRY(const std::string name, text(node, key.c_str()));
    if (name.empty()) return std::string();
    auto content = read_file(beside(name), kFileBytesMax);
    if (!content) return annotate(content.error(), fmt::format("{}: {}.{}", path_, where, key));
    return checked(where + "." + key, std::move(*content));
  }

  Result<> read_cluster(const YAML::Node& cluster, const std::string& where, const std::string& master,
                        ClientConfig& config) const {
    SLUICE_TRY(const std::string server, text(cluster, "server"));
    const bool overridden = !master.empty();
    if (server.empty() && !overridden) return fault(where + ".server", "must be there");
    SLUICE_CHECK_OK(set_server(config, overridden ? master : server,
                               overridden ? "--master" : fmt::format("{}: {}.server", path_, where)));
    SLUICE_TRY(const std::string proxy, text(cluster, "proxy-url"));
    if (!proxy.empty())
      return fail(Errc::kUnsupported, fmt::format("{}: {}.proxy-url: proxies are not supported", path_, where));
    SLUICE_TRY(config.target.tls_settings.ca_pem, data(cluster, where, "certificate-authority", Pem::kCertificates));
    SLUICE_TRY(config.target.tls_settings.server_name, text(cluster, "tls-server-name"));
    const YAML::Node insecure = cluster["insecure-skip-tls-verify"];
    const bool said = insecure && !insecure.IsNull();
    if (said && !YAML::convert<bool>::decode(insecure, config.target.tls_settings.insecure))
      return fault(where + ".insecure-skip-tls-verify", "must be true or false");
    if (config.target.tls_settings.insecure && !config.target.tls_settings.ca_pem.empty()) {
      return fault(where, "certificate-authority and insecure-skip-tls-verify exclude each other");
    }
    return {};
  }

  Result<> read_user(const YAML::Node& user, const std::string& where, ClientConfig& config) const {
    // The last ones ask to act as somebody else, with other rights: to leave that out would be to act as somebody.
    for (const char* key :
         {"exec", "auth-provider", "username", "password", "as", "as-uid", "as-groups", "as-user-extra"}) {
      if (user[key] && !user[key].IsNull()) {
        return fail(
            Errc::kUnsupported,
            fmt::format("{}: {}.{}: not supported; a token, tokenFile or client certificate is", path_, where, key));
      }
    }
    SLUICE_TRY(config.token, text(user, "token"));
    SLUICE_TRY(const std::string token_file, text(user, "tokenFile"));
    // client-go lets the file win: it is the one that rotates.
    if (!token_file.empty()) config.token_file = beside(token_file);
    SLUICE_TRY(config.target.tls_settings.client_certificate_pem,
               data(user, where, "client-certificate", Pem::kCertificates));
    SLUICE_TRY(config.target.tls_settings.client_key_pem, data(user, where, "client-key", Pem::kPrivateKey));
    if (config.target.tls_settings.client_certificate_pem.empty() !=
        config.target.tls_settings.client_key_pem.empty()) {
      return fault(where, "client-certificate and client-key belong together");
    }
    return {};
  }

  const std::string path_;
  const YAML::Node root_;
};

}  // namespace

std::string ClientConfig::server() const {
  return fmt::format("{}://{}{}", target.tls ? "https" : "http", target.host_header(), path_prefix);
}

Result<ClientConfig> load_kubeconfig(const std::string& path, const std::string& master) {
  SLUICE_TRY(const std::string content, read_file(path, kFileBytesMax));
  try {
    const YAML::Node root = YAML::Load(content);
    if (!root.IsMap())
      return fail(Errc::kInvalid, fmt::format("{}: is no kubeconfig: the document must be a map", path));
    return Reader(path, root).read(master);
  } catch (const YAML::Exception& error) {
    return fail(Errc::kInvalid, fmt::format("{}:{}: {}", path, error.mark.line + 1, error.msg));
  }
}

Result<ClientConfig> in_cluster_config(const std::string& root) {
  const char* host = std::getenv("KUBERNETES_SERVICE_HOST");
  const char* port = std::getenv("KUBERNETES_SERVICE_PORT");
  if (host == nullptr || port == nullptr || *host == '\0' || *port == '\0') {
    return fail(Errc::kNotFound,
                "not running in a cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set; name a "
                "kubeconfig or a folder of manifests");
  }
  ClientConfig config;
  const bool six = std::string_view(host).find(':') != std::string_view::npos;
  SLUICE_CHECK_OK(set_server(config, fmt::format("https://{}{}{}:{}", six ? "[" : "", host, six ? "]" : "", port),
                             "KUBERNETES_SERVICE_HOST"));
  const std::string folder = root + kServiceAccountFolder;
  config.token_file = folder + "/token";
  SLUICE_TRY(const std::string token, read_file(config.token_file, kFileBytesMax));
  if (trimmed(token).empty()) return fail(Errc::kInvalid, fmt::format("{}: holds no token", config.token_file));
  SLUICE_TRY(config.target.tls_settings.ca_pem, read_file(folder + "/ca.crt", kFileBytesMax));
  if (!is_pem(config.target.tls_settings.ca_pem, Pem::kCertificates))
    return fail(Errc::kInvalid, fmt::format("{}/ca.crt: holds no certificate in PEM", folder));
  return config;
}

Result<ClientConfig> master_config(const std::string& master) {
  ClientConfig config;
  SLUICE_CHECK_OK(set_server(config, master, "--master"));
  return config;
}

Result<std::string> authorization(const ClientConfig& config) {
  std::string token = config.token;
  if (!config.token_file.empty()) {
    SLUICE_TRY(const std::string content, read_file(config.token_file, kFileBytesMax));
    token = trimmed(content);
    if (token.empty()) return fail(Errc::kInvalid, fmt::format("{}: holds no token", config.token_file));
  }
  // What is no token must not become header lines of its own.
  const auto odd = [](unsigned char c) { return c <= ' ' || c == 0x7f; };
  if (std::any_of(token.begin(), token.end(), odd)) {
    return fail(Errc::kInvalid, fmt::format("{}: is no token: white space or control characters",
                                            config.token_file.empty() ? "token" : config.token_file));
  }
  return token.empty() ? std::string() : "Bearer " + token;
}

}  // namespace sluice::kube
