// SPDX-License-Identifier: Apache-2.0
// A proxy that is removed from a node, or switched to another mode, leaves rules behind: on purpose, so that traffic
// continues without it. At the end they must be removed. kube-proxy's own --cleanup empties the whole IPVS table, keeps
// the settings of the node and forgets the IPv6 sets; here each mode removes its own, settings get their old values
// back, and the final report is the result of a second look.
#include "daemon/cleanup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <set>
#include <utility>

#include "base/data_folder.h"
#include "base/log.h"
#include "config/flags.h"
#include "daemon/commands.h"
#include "daemon/kernel_settings.h"
#include "dataplane/recorded_settings.h"
#include "sys/node_notes.h"
#include "sys/state_folder.h"

namespace sluice::daemon {
namespace {

namespace fs = std::filesystem;

void append(std::vector<std::string>&& from, std::vector<std::string>& to) {
  std::move(from.begin(), from.end(), std::back_inserter(to));
}

std::vector<std::string> words(const std::vector<dataplane::Objects>& objects) {
  std::vector<std::string> texts;
  for (const dataplane::Objects& each : objects) texts.push_back(each.to_string());
  return texts;
}

void restore_conntrack(const config::SluiceConfig& sluice, CleanupReport& report) {
  dataplane::Removal removal;
  const sys::SysctlJournal journal = open_journal(sluice);
  dataplane::restore_recorded_settings(journal, kConntrackOwner, removal);
  append(words(removal.removed), report.removed);
  append(std::move(removal.problems), report.problems);
  append(words(dataplane::recorded_settings(journal, kConntrackOwner)), report.left);
}

// The folder of this namespace below every data folder that a proxy has used here. Not where it still has the old value
// of a setting that could not be restored.
void remove_folders(const config::SluiceConfig& sluice, CleanupReport& report) {
  if (!open_journal(sluice).entries().empty()) return;
  std::set<std::string> folders = sys::noted_state_folders();
  folders.insert(sys::state_folder(sluice.data_dir));
  for (const std::string& folder : folders) {
    std::error_code error;
    fs::remove_all(folder, error);
    if (error) report.left.push_back(fmt::format("{}: {}", folder, error.message()));
  }
  if (const auto forgotten = sys::forget_state_folders(); !forgotten && forgotten.error().code != Errc::kUnsupported)
    report.problems.push_back(forgotten.error().what);
}

}  // namespace

std::string kept_manifests_folder(const std::string& data_dir) {
  return sys::state_folder(data_dir) + "/manifests";
}

void clean_up_modes(const Mechanisms& mechanisms, CleanupReport& report) {
  for (const auto& mechanism : mechanisms) {
    dataplane::Leftovers found = mechanism->leftovers({});
    // The records are removed with the rest: only the first look can find out.
    append(words(found.unrecognised), report.unrecognised);
    dataplane::Removal removal = remove_all(*mechanism, std::move(found));
    append(words(removal.removed), report.removed);
    append(std::move(removal.problems), report.problems);
  }
  for (const auto& mechanism : mechanisms) {
    dataplane::Leftovers leftovers = mechanism->leftovers({});
    append(words(leftovers.objects), report.left);
    append(std::move(leftovers.unsure), report.left);
    append(std::move(leftovers.problems), report.problems);
  }
}

CleanupReport clean_up_everything(const config::SluiceConfig& sluice) {
  CleanupReport report;
  clean_up_modes(make_mechanisms_for_cleanup(sluice), report);
  restore_conntrack(sluice, report);
  remove_folders(sluice, report);
  (void)sys::sweep_dead_state_folders(sluice.data_dir);
  return report;
}

std::string last_line(const CleanupReport& report) {
  if (report.unrecognised.empty()) return "nothing of Sluice or kube-proxy is left";
  return fmt::format(
      "nothing that is known to be Sluice's or kube-proxy's is left; there is no record of whose these are: {} "
      "(sluice ipvsadm -L -n)",
      fmt::join(report.unrecognised, ", "));
}

void print(const CleanupReport& report, ReportForm form) {
  // kube-proxy's own words, for scripts that look for them.
  constexpr const char* kFailed = "encountered an error while tearing down rules";
  const bool done = report.problems.empty() && report.left.empty();
  if (form == ReportForm::kLog) {
    for (const std::string& text : report.removed) SLUICE_LOG_INFO("Removed", {"what", text});
    for (const std::string& text : report.problems) SLUICE_LOG_ERROR(kFailed, {"err", text});
    for (const std::string& text : report.left) SLUICE_LOG_WARNING("Left in place", {"what", text});
    if (done) SLUICE_LOG_INFO("Clean-up is complete", {"note", last_line(report)});
    return;
  }
  for (const std::string& text : report.removed) fmt::print("removed {}\n", text);
  for (const std::string& text : report.problems) fmt::print(stderr, "sluice cleanup: {}\n", text);
  for (const std::string& text : report.left) fmt::print(stderr, "sluice cleanup: left: {}\n", text);
  if (!report.problems.empty()) fmt::print(stderr, "sluice cleanup: {}\n", kFailed);
  if (done) fmt::print("{}\n", last_line(report));
}

int run_cleanup(const config::SluiceConfig& sluice, ReportForm form) {
  const CleanupReport report = clean_up_everything(sluice);
  print(report, form);
  return report.problems.empty() && report.left.empty() ? 0 : 1;
}

int run_cleanup(const std::vector<std::string>& arguments) {
  const auto usage = [](std::FILE* to) {
    fmt::print(
        to,
        "usage: sluice cleanup [--config FILE] [--data-dir FOLDER]\n\nRemoves all rules, tables, sets, devices "
        "and virtual servers of Sluice and of kube-proxy, of every mode, in\n"
        "this network namespace, puts back the kernel settings that Sluice has changed, and touches nothing else. A "
        "proxy that\n"
        "still runs here writes its rules again.\n\n"
        "  --config FILE      the proxy's configuration file, of which dataDir is read\n"
        "  --data-dir FOLDER  where the proxy keeps what must survive a restart (default {}); wins over the file\n",
        kDefaultDataFolder);
  };
  std::vector<std::string> flags{"--cleanup"};
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& word = arguments[i];
    const std::string name = word.substr(0, word.find('='));
    if (word == "--help" || word == "-h") {
      usage(stdout);
      return 0;
    }
    const bool with_value = word.find('=') != std::string::npos;
    if ((name != "--config" && name != "--data-dir") || (!with_value && i + 1 == arguments.size())) {
      usage(stderr);
      return 2;
    }
    flags.push_back(word);
    if (!with_value) flags.push_back(arguments[++i]);
  }
  const auto command = config::complete(flags);
  if (!command) {
    fmt::print(stderr, "sluice cleanup: {}\n", command.error().what);
    return 1;
  }
  return run_cleanup(command->sluice);
}

}  // namespace sluice::daemon
