// SPDX-License-Identifier: Apache-2.0
// The asking side of `sluice status`. The daemon makes the text, so that a newer client never misreads an older daemon;
// its answer is one line with the exit status, then what to print.
#include <fmt/format.h>

#include <cstdio>
#include <string>

#include "daemon/commands.h"
#include "daemon/local_socket.h"
#include "net/local_channel.h"

namespace sluice::daemon {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{120};  // comparing a very large ruleset takes iptables-save seconds
constexpr int kCannotTell = 2;

void print_usage(std::FILE* out) {
  fmt::print(out,
             "usage: sluice status [-o text|json]\n\nAsks the proxy of this node (of this network namespace) what it "
             "serves, and compares what is live in\n"
             "the kernel with what is wanted. Exit status: 0 equal, 1 not (yet), 2 there is no proxy to ask.\n");
}

}  // namespace

int run_status(const std::vector<std::string>& arguments) {
  std::string form = "text";
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    if (word == "--help" || word == "-h") {
      print_usage(stdout);
      return 0;
    }
    if ((word == "-o" || word == "--output") && i + 1 < arguments.size()) {
      form = arguments[++i];
    } else if (word == "-ojson" || word == "--output=json" || word == "-o=json") {
      form = "json";
    } else {
      fmt::print(stderr, "sluice status: unknown argument '{}'\n\n", word);
      print_usage(stderr);
      return kCannotTell;
    }
  }
  if (form != "text" && form != "json") {
    fmt::print(stderr, "sluice status: unknown output form '{}': text and json are there\n", form);
    return kCannotTell;
  }
  const auto answer = net::ask_local_server(std::string(kLocalSocket), "status " + form, kAnswerTimeout);
  if (!answer) {
    const bool nobody = answer.error().code == Errc::kNotFound;
    fmt::print(stderr, "sluice status: {}\n",
               nobody ? "no proxy of ours runs in this network namespace" : answer.error().what);
    return kCannotTell;
  }
  const std::size_t end_of_line = answer->find('\n');
  if (end_of_line != 1) {
    fmt::print(stderr, "sluice status: the proxy's answer is not understood\n");
    return kCannotTell;
  }
  std::fwrite(answer->data() + 2, 1, answer->size() - 2, stdout);
  return answer->front() - '0';
}

}  // namespace sluice::daemon
