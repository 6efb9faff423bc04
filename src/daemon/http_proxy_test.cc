// SPDX-License-Identifier: Apache-2.0
#include "daemon/http_proxy.h"

#include <gtest/gtest.h>

#include <map>

namespace sluice::daemon {
namespace {

std::string obeyed(const std::map<std::string, std::string>& environment, const Destination& destination) {
  return obeyed_proxy_variable(destination, [&environment](const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? std::string() : found->second;
  });
}

const Destination kServer{true, "10.0.0.1", 6443};

TEST(HttpProxy, TheVariableOfTheSchemeIsObeyed) {
  EXPECT_EQ(obeyed({}, kServer), "");
  EXPECT_EQ(obeyed({{"HTTPS_PROXY", "p:3128"}}, kServer), "HTTPS_PROXY");
  EXPECT_EQ(obeyed({{"https_proxy", "p:3128"}}, kServer), "https_proxy");
  EXPECT_EQ(obeyed({{"HTTPS_PROXY", ""}, {"https_proxy", "p:3128"}}, kServer), "https_proxy");
  EXPECT_EQ(obeyed({{"HTTP_PROXY", "p:3128"}}, kServer), "");
  EXPECT_EQ(obeyed({{"HTTP_PROXY", "p:3128"}}, {false, "10.0.0.1", 8080}), "HTTP_PROXY");
}

TEST(HttpProxy, ThisHostIsReachedWithoutOne) {
  for (const char* host : {"localhost", "LocalHost", "127.0.0.1", "127.3.4.5", "::1"})
    EXPECT_EQ(obeyed({{"HTTPS_PROXY", "p:3128"}}, {true, host, 6443}), "") << host;
}

TEST(HttpProxy, NoProxyExcepts) {
  struct Row {
    const char* no_proxy;
    const char* host;
    bool excepted;
  };
  const Row rows[] = {
      {"*", "10.0.0.1", true},
      {"10.0.0.1", "10.0.0.1", true},
      {"10.0.0.1", "10.0.0.10", false},
      {"10.0.0.1:6443", "10.0.0.1", true},
      {"10.0.0.1:443", "10.0.0.1", false},
      {"192.168.0.0/16, 10.0.0.0/8", "10.0.0.1", true},
      {"10.1.0.0/16", "10.0.0.1", false},
      {"fd00::/8", "fd00::1", true},
      {"[fd00::1]:6443", "fd00::1", true},
      {"example.com", "example.com", true},
      {"Example.COM", "api.example.com", true},
      {"example.com", "badexample.com", false},
      {".example.com", "api.example.com", true},
      {".example.com", "example.com", false},
      {"*.example.com", "api.example.com", true},
      {"example.com:6443", "api.example.com", true},
      {"example.com:443", "api.example.com", false},
      {"", "example.com", false},
      {" , ,", "example.com", false},
      {".", "10.0.0.1", false},
  };
  for (const Row& row : rows) {
    const std::string variable = obeyed({{"HTTPS_PROXY", "p"}, {"no_proxy", row.no_proxy}}, {true, row.host, 6443});
    EXPECT_EQ(variable, row.excepted ? "" : "HTTPS_PROXY") << row.no_proxy << " of " << row.host;
  }
}

}  // namespace
}  // namespace sluice::daemon
