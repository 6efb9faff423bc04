// SPDX-License-Identifier: Apache-2.0
// The client side of `sluice status`. The proxy formats the text, so that a newer program never misreads an older proxy
// (view/request.h).
#include <fmt/format.h>

#include <cstdio>
#include <optional>
#include <string>

#include "daemon/commands.h"
#include "daemon/local_socket.h"
#include "net/local_channel.h"
#include "view/request.h"

namespace sluice::daemon {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{120};  // comparing a very large ruleset takes iptables-save seconds

void print_usage(std::FILE* out) {
  fmt::print(
      out,
      "usage: sluice status [-o text|wide|json]\n\n"
      "Shows what the proxy of this node (of this network namespace) serves, and compares what is live in\n"
      "the kernel with what is wanted. Long lists are cut, and what was cut is counted: -o wide and -o json show\n"
      "all. Exit status: 0 a proxy runs and live equals wanted, 1 a proxy runs, but live does not (yet) equal\n"
      "wanted, 2 no proxy runs here, or it cannot be reached.\n");
}

// The requested form; nothing if the arguments are invalid.
std::optional<std::string> form_of(const std::vector<std::string>& arguments) {
  std::string form = "text";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if ((word == "-o" || word == "--output") && i + 1 < arguments.size()) {
      form = arguments[++i];
    } else if (word.starts_with("--output=")) {
      form = word.substr(9);
    } else if (word.starts_with("-o") && word.size() > 2) {
      form = word.substr(word[2] == '=' ? 3 : 2);
    } else {
      fmt::print(stderr, "sluice status: unknown argument '{}'\n\n", word);
      print_usage(stderr);
      return std::nullopt;
    }
  }
  if (form != "text" && form != "wide" && form != "json") {
    fmt::print(stderr, "sluice status: unknown output form '{}': it is one of text, wide and json\n", form);
    return std::nullopt;
  }
  return form;
}

Result<view::Response> ask(const view::Request& request) {
  SLUICE_TRY(const std::string response,
             net::ask_local_server(std::string(kLocalSocket), view::encode(request), kAnswerTimeout));
  return view::decode_response(response);
}

}  // namespace

int run_status(const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    if (word != "--help" && word != "-h") continue;
    print_usage(stdout);
    return 0;
  }
  const std::optional<std::string> form = form_of(arguments);
  if (!form) return view::kUnknownExitStatus;
  const auto response = ask({"/status", {{"form", *form}}});
  if (!response) {
    const bool none = response.error().code == Errc::kNotFound;
    fmt::print(stderr, "sluice status: {}\n",
               none ? "no proxy of ours runs in this network namespace" : response.error().what);
    return view::kUnknownExitStatus;
  }
  if (response->refused) fmt::print(stderr, "sluice status: ");
  std::fwrite(response->body.data(), 1, response->body.size(), response->refused ? stderr : stdout);
  return response->exit_status;
}

}  // namespace sluice::daemon
