// SPDX-License-Identifier: Apache-2.0
// Removes everything that we, or kube-proxy in any of its modes, put into this network namespace's kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.h"
#include "daemon/mechanisms.h"

namespace sluice::daemon {

struct CleanupReport {
  std::vector<std::string> removed{};       // in words: "3 virtual servers"
  std::vector<std::string> problems{};      // what could not be removed, and why
  std::vector<std::string> left{};          // what a second look has found, when all was tried
  std::vector<std::string> unrecognised{};  // what no record attributes: "3 virtual servers"
};

// Below a network namespace's own state folder: manifests as they were when they could last be read.
std::string kept_manifests_folder(const std::string& data_dir);

// Continues after a failure, so that one object that cannot be removed does not keep the others.
CleanupReport clean_up_everything(const config::SluiceConfig& sluice);
// The part of it that modes put into the kernel.
void clean_up_modes(const Mechanisms& mechanisms, CleanupReport& report);

// The last line of a cleanup that left nothing behind.
std::string last_line(const CleanupReport& report);
// As text on the terminal, or as lines of the log, for programs that collect those.
enum class ReportForm : std::uint8_t { kText, kLog };
void print(const CleanupReport& report, ReportForm form);

// Cleans up everything and prints what was done. Returns 0 where nothing of ours or kube-proxy's is left.
int run_cleanup(const config::SluiceConfig& sluice, ReportForm form = ReportForm::kText);

}  // namespace sluice::daemon
