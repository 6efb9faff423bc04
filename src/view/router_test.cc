// SPDX-License-Identifier: Apache-2.0
#include "view/router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::view {
namespace {

using testing::HasSubstr;

class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    router_.add("/status", {{"form", {"text", "json"}}}, [](const Request& request, const Router::Reply& reply) {
      const auto form = request.parameters.find("form");
      reply({false, 1, form == request.parameters.end() ? "no form" : form->second});
    });
    router_.add("/trace", {{"to", {}}}, [](const Request& request, const Router::Reply& reply) {
      reply({false, 0, request.parameters.at("to")});
    });
  }

  Response ask(const std::string& line) {
    std::string answer;
    router_.route(line, [&answer](std::string text) { answer = std::move(text); });
    const auto response = decode_response(answer);
    return response ? *response : Response{true, 9, response.error().what};
  }

  Router router_;
};

TEST_F(RouterTest, ARequestReachesItsHandlerWithItsParameters) {
  EXPECT_EQ(ask("sluice/1 /status?form=json"), (Response{false, 1, "json"}));
  EXPECT_EQ(ask("sluice/1 /status"), (Response{false, 1, "no form"}));
  EXPECT_EQ(ask("sluice/1 /trace?to=10.0.0.1"), (Response{false, 0, "10.0.0.1"}));
}

TEST_F(RouterTest, UnknownRequestsAreRefusedWithTheKnownOnes) {
  const Response path = ask("sluice/1 /explain");
  EXPECT_TRUE(path.refused);
  EXPECT_EQ(path.exit_status, 2);
  EXPECT_EQ(path.body,
            "the proxy that runs, version " SLUICE_VERSION ", has no request '/explain'; it has /status, /trace\n");
  EXPECT_THAT(ask("sluice/1 /status?since=1").body, HasSubstr("no parameter of /status 'since'; it has form\n"));
  EXPECT_THAT(ask("sluice/1 /status?form=xml").body, HasSubstr("no form of /status 'xml'; it has text, json\n"));
}

TEST_F(RouterTest, AnotherProtocolAndALineThatCannotBeReadAreRefused) {
  EXPECT_TRUE(ask("sluice/2 /status").refused);
  EXPECT_TRUE(ask("status json").refused);
  EXPECT_TRUE(ask("sluice/1 /status?form=%").refused);
}

}  // namespace
}  // namespace sluice::view
