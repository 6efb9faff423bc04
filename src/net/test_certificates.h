// SPDX-License-Identifier: Apache-2.0
// For tests of TLS: a certificate authority that lives as long as a test, and what it signs.
#pragma once

#include <memory>
#include <string>

namespace sluice::net::test {

struct Certificate {
  std::string certificate_pem;
  std::string key_pem;
};

class Authority {
 public:
  Authority();
  ~Authority();
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  [[nodiscard]] std::string certificate_pem() const;
  // `names` as OpenSSL writes them: "DNS:localhost,IP:127.0.0.1". Valid from now + `from` to now + `until`, in seconds.
  [[nodiscard]] Certificate issue(const std::string& names, long from = -3600, long until = 3600) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::net::test
