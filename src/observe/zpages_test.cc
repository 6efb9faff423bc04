// SPDX-License-Identifier: Apache-2.0
#include "observe/zpages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

namespace sluice::observe {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using testing::StartsWith;

const Clock::WallTime kStarted{std::chrono::seconds(1'767'323'045)};  // 2026-01-02 03:04:05 UTC

StatuszFacts facts() {
  return {kStarted, kStarted + 26h + 3min + 4s, "1.36", {"/metrics", "/healthz", "/healthz/ping", "/", "/configz"}};
}

// Upstream: TestHandleFlagz and TestHandleStatusz (apiserver), the rows of Accept headers.
TEST(Zpages, TheAcceptHeaderChoosesTheForm) {
  struct Row {
    std::string accept;
    std::optional<ZpageForm> form;
  };
  const ZpageForm text;
  const std::vector<Row> rows{
      {"", text},
      {"  ", text},
      {"text/plain", text},
      {"text/plain;charset=utf-8", text},
      {"text/*", text},
      {"*/*", text},
      {"text/html,application/xhtml+xml,*/*;q=0.8", text},
      {"application/json;v=v1beta1;g=config.k8s.io;as=Flagz", ZpageForm{"v1beta1"}},
      {"application/json; as=Flagz; v=v1alpha1; g=config.k8s.io", ZpageForm{"v1alpha1"}},
      {"text/plain;q=0.5,application/json;v=v1beta1;g=config.k8s.io;as=Flagz", ZpageForm{"v1beta1"}},
      {"text/plain,application/json;v=v1beta1;g=config.k8s.io;as=Flagz;q=0.5", text},
      {"application/json;v=foo;g=config.k8s.io;as=Flagz,*/*", text},
      {"application/json", std::nullopt},
      {"application/json;v=v1beta1;g=config.k8s.io", std::nullopt},
      {"application/json;v=v1beta1;g=config.k8s.io;as=Statusz", std::nullopt},
      {"application/json;v=v1;g=config.k8s.io;as=Flagz", std::nullopt},
      {"application/yaml;v=v1beta1;g=config.k8s.io;as=Flagz", std::nullopt},
      {"text/plain;v=v1beta1;g=config.k8s.io;as=Flagz", std::nullopt},
      {"application/xml", std::nullopt},
      {"text/html", std::nullopt},
      {";;,=,/", std::nullopt},
  };
  for (const Row& row : rows) EXPECT_EQ(choose_form(row.accept, "Flagz"), row.form) << row.accept;
}

TEST(Zpages, FlagzIsATitleAWarningAndLines) {
  const FlagValues flags{{"v", "2"}, {"bind-address", "0.0.0.0"}, {"kubeconfig", ""}};
  EXPECT_EQ(flagz_page({}, flags),
            "\nkube-proxy flagz\nWarning: This endpoint is not meant to be machine parseable, has no formatting "
            "compatibility guarantees and is for debugging purposes only.\nbind-address 0.0.0.0\nkubeconfig \nv 2\n");
  EXPECT_EQ(flagz_page({"v1beta1"}, {{"a", "\"x\""}, {"b", ""}}),
            R"({"kind":"Flagz","apiVersion":"config.k8s.io/v1beta1","metadata":{"name":"kube-proxy"},)"
            R"("flags":{"a":"\"x\"","b":""}})"
            "\n");
}

TEST(Zpages, StatuszIsATitleAWarningAndLines) {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  const std::string page = statusz_page({}, facts());
  EXPECT_THAT(page, StartsWith("\nkube-proxy statusz\nWarning: This endpoint is not meant to be machine parseable, has "
                               "no formatting compatibility guarantees and is for debugging purposes only.\n\n"
                               "Started: Fri Jan  2 03:04:05 UTC 2026\nUp: 26 hr 03 min 04 sec\nGo version: not Go: "));
  EXPECT_THAT(page, HasSubstr("\nBinary version: " SLUICE_VERSION
                              "\nEmulation version: 1.36\nPaths: /configz /healthz /metrics\n"));
  const std::string object = statusz_page({"v1alpha1"}, facts());
  EXPECT_THAT(object, StartsWith(R"({"kind":"Statusz","apiVersion":"config.k8s.io/v1alpha1","metadata":)"
                                 R"({"name":"kube-proxy"},"startTime":"2026-01-02T03:04:05Z","uptimeSeconds":93784,)"));
  EXPECT_THAT(object, HasSubstr(R"(,"emulationVersion":"1.36","paths":["/configz","/healthz","/metrics"]})"));
}

TEST(Zpages, AClockThatWentBackGivesNoNegativeUptime) {
  StatuszFacts early = facts();
  early.now = kStarted - 5s;
  EXPECT_THAT(statusz_page({}, early), HasSubstr("\nUp: 0 hr 00 min 00 sec\n"));
}

}  // namespace
}  // namespace sluice::observe
