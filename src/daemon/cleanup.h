// SPDX-License-Identifier: Apache-2.0
// Taking everything away: what we, or kube-proxy in any of its modes, put into this network namespace's kernel.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/ip.h"
#include "base/result.h"
#include "dataplane/iptables/tool.h"

namespace sluice::daemon {

struct CleanupReport {
  std::vector<std::string> removed;                // in words: "3 virtual servers of ip_vs"
  std::vector<std::string> problems{};             // what could not be removed, and why
  std::optional<std::chrono::seconds> again_in{};  // some of it still serves: ask again
};

// Where mode ipvs keeps what it must know to undo its work: a folder of this network namespace's own below `data_dir`.
std::string state_folder(const std::string& data_dir);
// Below it: manifests as they were when they could last be read.
std::string kept_manifests_folder(const std::string& data_dir);

// Goes on after a failure, so that one stubborn object does not save the others.
CleanupReport clean_up_everything(const std::string& data_dir);

// The parts of it, by mode; what only one mode of ours or kube-proxy's makes. Each is best effort.
CleanupReport clean_up_iptables();  // chains and rules of modes iptables and ipvs; IP sets, which only such rules use
// The same for a proxy that serves these families in mode iptables, each by a flavour: its own rules stay.
using ServingFlavours = std::vector<std::pair<Family, dataplane::iptables::Flavour>>;
CleanupReport clean_up_beside_iptables(const ServingFlavours& serving);
CleanupReport clean_up_nftables();                         // kube-proxy's tables
CleanupReport clean_up_ipvs(const std::string& data_dir);  // needs the IP sets where kube-proxy has made any
void append(CleanupReport& to, CleanupReport&& from);

}  // namespace sluice::daemon
