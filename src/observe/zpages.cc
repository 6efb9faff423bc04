// SPDX-License-Identifier: Apache-2.0
// Users read these pages of several components side by side, so they look the same here: an empty line,
// the component, a warning, then one line for each fact. kube-proxy picks the delimiter between name and value at
// random at each start, out of ":", ": ", "=" and " ", to keep programs from depending on it; here it is always the
// same. Go's version has no counterpart, so the line names the compiler of this program.
#include "observe/zpages.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <set>

#include "base/json.h"

namespace sluice::observe {
namespace {

constexpr std::string_view kComponent = "kube-proxy";
constexpr std::string_view kGroup = "config.k8s.io";
constexpr std::array<std::string_view, 2> kVersions{"v1alpha1", "v1beta1"};
#ifdef __clang__
constexpr std::string_view kCompiler = "not Go: clang " __clang_version__;
#else
constexpr std::string_view kCompiler = "not Go: g++ " __VERSION__;
#endif

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const std::size_t end = text.find(separator);
    parts.push_back(trimmed(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

// One of an Accept header's choices: "application/json;as=Flagz;v=v1beta1;g=config.k8s.io;q=0.5".
struct Choice {
  std::string_view type;
  std::string_view subtype;
  std::map<std::string_view, std::string_view> parameters;
  double weight = 1;
};

Choice parse_choice(std::string_view text) {
  const std::vector<std::string_view> parts = split(text, ';');
  Choice choice;
  const std::size_t slash = parts[0].find('/');
  choice.type = parts[0].substr(0, slash);
  choice.subtype = slash == std::string_view::npos ? "*" : parts[0].substr(slash + 1);
  for (auto part = parts.begin() + 1; part != parts.end(); ++part) {
    const std::size_t equals = part->find('=');
    if (equals == std::string_view::npos) continue;
    choice.parameters[trimmed(part->substr(0, equals))] = trimmed(part->substr(equals + 1));
  }
  if (const auto q = choice.parameters.find("q"); q != choice.parameters.end())
    std::from_chars(q->second.data(), q->second.data() + q->second.size(), choice.weight);
  return choice;
}

bool matches(const Choice& choice, std::string_view type, std::string_view subtype) {
  return (choice.type == type && (choice.subtype == subtype || choice.subtype == "*")) ||
         (choice.type == "*" && choice.subtype == "*");
}

std::optional<ZpageForm> form_of(const Choice& choice, std::string_view kind) {
  const auto parameter = [&choice](std::string_view name) {
    const auto found = choice.parameters.find(name);
    return found == choice.parameters.end() ? std::string_view() : found->second;
  };
  const std::string_view version = parameter("v");
  if (version.empty() && parameter("g").empty() && parameter("as").empty())
    return matches(choice, "text", "plain") ? std::optional(ZpageForm{}) : std::nullopt;
  const bool known = std::find(kVersions.begin(), kVersions.end(), version) != kVersions.end();
  if (!matches(choice, "application", "json") || !known || parameter("g") != kGroup || parameter("as") != kind)
    return std::nullopt;
  return ZpageForm{std::string(version)};
}

std::string heading(std::string_view page) {
  return fmt::format(
      "\n{} {}\nWarning: This endpoint is not meant to be machine parseable, has no formatting compatibility "
      "guarantees "
      "and is for debugging purposes only.\n",
      kComponent, page);
}

// The members that every object begins with.
std::string object_head(const ZpageForm& form, std::string_view kind) {
  return fmt::format(R"({{"kind":"{}","apiVersion":"{}/{}","metadata":{{"name":"{}"}})", kind, kGroup,
                     form.object_version, kComponent);
}

std::string format_time(Clock::WallTime time, const char* format, bool local) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm parts{};
  local ? ::localtime_r(&seconds, &parts) : ::gmtime_r(&seconds, &parts);
  std::array<char, 64> text{};
  return {text.data(), std::strftime(text.data(), text.size(), format, &parts)};
}

// "/healthz/ping" belongs to "/healthz".
std::vector<std::string> first_parts(const std::vector<std::string>& paths) {
  std::set<std::string> parts;
  for (const std::string& path : paths) {
    const std::string part = path.substr(0, path.find('/', 1));
    if (part.size() > 1) parts.insert(part);
  }
  return {parts.begin(), parts.end()};
}

}  // namespace

std::optional<ZpageForm> choose_form(std::string_view accept, std::string_view kind) {
  if (trimmed(accept).empty()) return ZpageForm{};
  std::vector<Choice> choices;
  for (const std::string_view part : split(accept, ',')) choices.push_back(parse_choice(part));
  std::stable_sort(choices.begin(), choices.end(),
                   [](const Choice& a, const Choice& b) { return a.weight > b.weight; });
  for (const Choice& choice : choices) {
    if (auto form = form_of(choice, kind)) return form;
  }
  return std::nullopt;
}

std::string not_acceptable_json() {
  return R"({"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":)"
         R"("only the following media types are accepted: application/json, text/plain",)"
         R"("reason":"NotAcceptable","code":406})";
}

std::string flagz_page(const ZpageForm& form, const FlagValues& flags) {
  if (form.object_version.empty()) {
    std::string text = heading("flagz");
    for (const auto& [name, value] : flags) text += fmt::format("{} {}\n", name, value);
    return text;
  }
  std::string members;
  for (const auto& [name, value] : flags)
    members += fmt::format("{}{}:{}", members.empty() ? "" : ",", json_string(name), json_string(value));
  return fmt::format("{},\"flags\":{{{}}}}}\n", object_head(form, "Flagz"), members);
}

std::string statusz_page(const ZpageForm& form, const StatuszFacts& facts) {
  using std::chrono::seconds;
  const auto up = std::max(seconds(0), std::chrono::duration_cast<seconds>(facts.now - facts.started)).count();
  const std::vector<std::string> paths = first_parts(facts.paths);
  if (form.object_version.empty()) {
    return fmt::format(
        "{}\nStarted: {}\nUp: {} hr {:02} min {:02} sec\nGo version: {}\nBinary version: {}\nEmulation version: {}\n"
        "Paths: {}\n",
        heading("statusz"), format_time(facts.started, "%a %b %e %H:%M:%S %Z %Y", true), up / 3600, up / 60 % 60,
        up % 60, kCompiler, SLUICE_VERSION, facts.emulation_version, fmt::join(paths, " "));
  }
  std::string list;
  for (const std::string& path : paths) list += (list.empty() ? "" : ",") + json_string(path);
  return fmt::format(
      R"({},"startTime":"{}","uptimeSeconds":{},"goVersion":{},"binaryVersion":"{}","emulationVersion":{},"paths":[{}]}})"
      "\n",
      object_head(form, "Statusz"), format_time(facts.started, "%Y-%m-%dT%H:%M:%SZ", false), up, json_string(kCompiler),
      SLUICE_VERSION, json_string(facts.emulation_version), list);
}

}  // namespace sluice::observe
