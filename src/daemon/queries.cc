// SPDX-License-Identifier: Apache-2.0
// The client side of `sluice status` and `sluice diff`. The proxy formats the text, so that a newer program never misreads
// an older proxy (view/request.h).
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "daemon/commands.h"
#include "daemon/local_socket.h"
#include "net/local_channel.h"
#include "view/request.h"

namespace sluice::daemon {
namespace {

constexpr std::chrono::seconds kAnswerTimeout{120};  // comparing a very large ruleset takes iptables-save seconds

struct Query {
  std::string_view name;  // of the command; the request has the same
  std::vector<std::string> forms;
  std::string_view usage;  // without the forms
};

const Query& status_query() {
  static const Query query{
      "status",
      {"text", "wide", "json"},
      "Shows what the proxy of this node (of this network namespace) serves, and compares what is live in\n"
      "the kernel with what is wanted. Long lists are cut, and what was cut is counted: -o wide and -o json show\n"
      "all. Exit status: 0 a proxy runs and live equals wanted, 1 a proxy runs, but live does not (yet) equal\n"
      "wanted, 2 no proxy runs here, or it cannot be reached.\n"};
  return query;
}

const Query& diff_query() {
  static const Query query{
      "diff",
      {"text", "json"},
      "Compares what is live in the kernel with what the proxy of this node (of this network namespace) wants, and\n"
      "changes nothing. A line for each object: \"-\" wanted and not live, \"+\" live among ours and not wanted.\n"
      "Exit status: 0 live equals wanted, 1 it differs, 2 it cannot be compared, or no proxy runs here.\n"};
  return query;
}

void print_usage(const Query& query, std::FILE* out) {
  fmt::print(out, "usage: sluice {} [-o {}]\n\n{}", query.name, fmt::join(query.forms, "|"), query.usage);
}

// The requested form; nothing if the arguments are invalid.
std::optional<std::string> form_of(const Query& query, const std::vector<std::string>& arguments) {
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
      fmt::print(stderr, "sluice {}: unknown argument '{}'\n\n", query.name, word);
      print_usage(query, stderr);
      return std::nullopt;
    }
  }
  if (std::ranges::find(query.forms, form) == query.forms.end()) {
    fmt::print(stderr, "sluice {}: unknown output form '{}': it is one of {}\n", query.name, form,
               fmt::join(query.forms, ", "));
    return std::nullopt;
  }
  return form;
}

Result<view::Response> ask(const view::Request& request) {
  SLUICE_TRY(const std::string response,
             net::ask_local_server(std::string(kLocalSocket), view::encode(request), kAnswerTimeout));
  return view::decode_response(response);
}

int run_query(const Query& query, const std::vector<std::string>& arguments) {
  for (const std::string& word : arguments) {
    if (word != "--help" && word != "-h") continue;
    print_usage(query, stdout);
    return 0;
  }
  const std::optional<std::string> form = form_of(query, arguments);
  if (!form) return view::kUnknownExitStatus;
  const auto response = ask({fmt::format("/{}", query.name), {{"form", *form}}});
  if (!response) {
    const bool none = response.error().code == Errc::kNotFound;
    fmt::print(stderr, "sluice {}: {}\n", query.name,
               none ? "no proxy of ours runs in this network namespace" : response.error().what);
    return view::kUnknownExitStatus;
  }
  if (response->refused) fmt::print(stderr, "sluice {}: ", query.name);
  std::fwrite(response->body.data(), 1, response->body.size(), response->refused ? stderr : stdout);
  return response->exit_status;
}

}  // namespace

int run_status(const std::vector<std::string>& arguments) {
  return run_query(status_query(), arguments);
}

int run_diff(const std::vector<std::string>& arguments) {
  return run_query(diff_query(), arguments);
}

}  // namespace sluice::daemon
