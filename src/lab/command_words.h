// SPDX-License-Identifier: Apache-2.0
// The parsed command line of the lab, and what its commands share.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "lab/lab.h"

namespace sluice::lab {

inline constexpr int kFine = 0;
inline constexpr int kFailed = 1;
inline constexpr int kBadUsage = 2;
inline constexpr int kSignalBase = 128;

struct Words {
  std::string id;
  std::string topology = "walkthrough";
  unsigned nodes = 0;  // with --nodes: a grid of this size instead
  unsigned pods = 2;
  bool all = false;
  bool keep = false;
  bool only_ipvs = false;
  std::string program;
  std::string host;
  std::vector<std::string> command;
  std::string protocol;
  std::string address;
  std::uint16_t port = 0;
  int count = 10;
  std::string source;
  unsigned timeout_ms = 1000;
  std::string folder;
  unsigned cluster_nodes = 2;
  std::vector<std::string> images;
};

struct Subcommand {
  CLI::App* app;
  int (*run)(const Words&);
  bool passes_separator = false;  // "--" is a part of the command that it runs, unless it comes first
};

// Prints what failed. Returns kFailed.
int failed(const Error& error);
// After a failure to make it.
int failed_up(const Error& error, const std::string& command, const std::string& id);
int run_down(const Words& words);
// Becomes that program on a host of the lab; returns the status of a failure.
int become_on(const Lab& lab, const std::string& host, const std::vector<std::string>& command);
// Empty if it may be an id, as CLI11 expects from a check.
std::string check_id(const std::string& id);

std::vector<Subcommand> add_cluster_commands(CLI::App& app, Words& words);

}  // namespace sluice::lab
