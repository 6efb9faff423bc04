// SPDX-License-Identifier: Apache-2.0
#include "view/router.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace sluice::view {
namespace {

Result<> unknown(std::string_view kind, const std::string& word, const std::vector<std::string>& known) {
  return fail(Errc::kUnsupported,
              fmt::format("the proxy that runs, version {}, has no {} '{}'; it has {}", SLUICE_VERSION, kind, word,
                          known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", "))));
}

template <typename Range, typename Name>
std::vector<std::string> names_of(const Range& range, Name name) {
  std::vector<std::string> names;
  std::transform(range.begin(), range.end(), std::back_inserter(names), name);
  return names;
}

}  // namespace

void Router::add(std::string path, std::vector<Parameter> parameters, Handler handler) {
  entries_[std::move(path)] = {std::move(parameters), std::move(handler)};
}

Result<> Router::check(const Request& request) const {
  const auto entry = entries_.find(request.path);
  if (entry == entries_.end())
    return unknown("request", request.path, names_of(entries_, [](const auto& each) { return each.first; }));
  const std::vector<Parameter>& parameters = entry->second.parameters;
  for (const auto& [name, value] : request.parameters) {
    const auto parameter = std::find_if(parameters.begin(), parameters.end(),
                                        [&name = name](const Parameter& each) { return each.name == name; });
    if (parameter == parameters.end()) {
      return unknown("parameter of " + request.path, name,
                     names_of(parameters, [](const Parameter& each) { return each.name; }));
    }
    const std::vector<std::string>& allowed = parameter->values;
    if (!allowed.empty() && std::find(allowed.begin(), allowed.end(), value) == allowed.end())
      return unknown(fmt::format("{} of {}", name, request.path), value, allowed);
  }
  return {};
}

void Router::route(const std::string& line, std::function<void(std::string)> reply) const {
  const auto request = decode_request(line);
  const Result<> checked = request ? check(*request) : Result<>(tl::unexpected(request.error()));
  if (!checked) return reply(encode(Response{true, kUnknownExitStatus, checked.error().what + "\n"}));
  entries_.at(request->path).handler(*request, [reply = std::move(reply)](const Response& response) {
    reply(encode(response));
  });
}

}  // namespace sluice::view
