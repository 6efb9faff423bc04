// SPDX-License-Identifier: Apache-2.0
// Where the API server is and how we authenticate: from a kubeconfig file, or from what kubelet mounts into a pod.
#pragma once

#include <string>

#include "base/result.h"
#include "net/http_client.h"

namespace sluice::kube {

struct ClientConfig {
  net::HttpTarget target;
  std::string path_prefix;  // of a server URL such as https://host/k8s/clusters/c-1; without a slash at its end
  std::string token;        // used if there is no token file
  std::string token_file;   // read again for each request: bound tokens rotate within the hour
  [[nodiscard]] std::string server() const;  // "https://10.96.0.1:443"
};

// Reads the current context of a kubeconfig. `master`, if not empty, replaces only its server; then a file
// that is empty, or names no context, will do. A file that names no server, without a master, means the pod that we
// run in (see in_cluster_config), as for client-go. Relative file names are relative to the kubeconfig. Errors name the
// file and the field. Exec plugins, auth providers, basic authentication, impersonation and proxies are refused as
// unsupported.
//
// A server without a scheme is contacted over https if a CA, a client certificate or insecure-skip-tls-verify is named,
// else over http. A server on http gets no credentials, and a warning names those that are left out.
Result<ClientConfig> load_kubeconfig(const std::string& path, const std::string& master, const std::string& root = "");

// From KUBERNETES_SERVICE_HOST and _PORT and the service account's files. `root` is prefixed to the files' names, for
// tests.
Result<ClientConfig> in_cluster_config(const std::string& root = "");

// A client without credentials, for --master alone.
Result<ClientConfig> master_config(const std::string& master);

// The Authorization header's value now; empty = none, as for every server that is not contacted over TLS.
Result<std::string> authorization(const ClientConfig& config);

}  // namespace sluice::kube
