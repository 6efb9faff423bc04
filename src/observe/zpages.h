// SPDX-License-Identifier: Apache-2.0
// /flagz and /statusz as in Kubernetes' components (apiserver's pkg/server/flagz and statusz): a text for users,
// and the same as an object of config.k8s.io for programs that request one. Pure; servers.h serves them.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace sluice::observe {

// The form in which a page is requested. An object has a version.
struct ZpageForm {
  std::string object_version;  // "v1beta1"; empty: the text
  friend bool operator==(const ZpageForm&, const ZpageForm&) = default;
};
// By the request's Accept header; `kind` is "Flagz" or "Statusz". Nothing if none that we have is acceptable (406).
std::optional<ZpageForm> choose_form(std::string_view accept, std::string_view kind);
// The object that reports this.
std::string not_acceptable_json();

using FlagValues = std::map<std::string, std::string>;
std::string flagz_page(const ZpageForm& form, const FlagValues& flags);

struct StatuszFacts {
  Clock::WallTime started;
  Clock::WallTime now;
  std::string emulation_version;   // of Kubernetes: "1.36"
  std::vector<std::string> paths;  // of the server; their first parts are shown
};
std::string statusz_page(const ZpageForm& form, const StatuszFacts& facts);

}  // namespace sluice::observe
