// SPDX-License-Identifier: Apache-2.0
#include "plan/importance.h"

#include <gtest/gtest.h>

#include "plan/test_objects.h"

namespace sluice::plan {
namespace {

Importance importance_of(const char* namespace_name, const char* name, std::uint16_t port) {
  model::Service wanted = test::make_service(name, {test::service_port("p", port)}, {"10.96.0.1"});
  wanted.key.namespace_name = namespace_name;
  return importance(*test::plan_of(wanted, {}).ports.at(0));
}

TEST(Importance, TheApiServerThenWhateverIsTheClustersDns) {
  EXPECT_EQ(importance_of("default", "kubernetes", 443), Importance::kApiServer);
  EXPECT_EQ(importance_of("kube-system", "kube-dns", 9153), Importance::kClusterDns);
  EXPECT_EQ(importance_of("kube-system", "coredns", 53), Importance::kClusterDns);
  EXPECT_EQ(importance_of("openshift-dns", "dns-default", 53), Importance::kClusterDns);
  EXPECT_EQ(importance_of("kube-system", "coredns", 80), Importance::kOther);
  EXPECT_EQ(importance_of("default", "kube-dns", 80), Importance::kOther);
  EXPECT_EQ(importance_of("shop", "kubernetes", 443), Importance::kOther);
  EXPECT_EQ(importance_of("shop", "web", 53), Importance::kOther);
}

}  // namespace
}  // namespace sluice::plan
