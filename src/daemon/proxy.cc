// SPDX-License-Identifier: Apache-2.0
// `sluice proxy`: from a command line to a running daemon. What kube-proxy does before it serves is done here in its
// order: complete, log, validate, and then one of write the configuration, clean up, or run.
#include <fmt/format.h>

#include <cstdio>
#include <string_view>

#include "base/log.h"
#include "config/flags.h"
#include "config/text.h"
#include "daemon/cleanup.h"
#include "daemon/commands.h"
#include "daemon/server.h"

namespace sluice::daemon {
namespace {

log::Format format_named(std::string_view name) {
  return name == "json" ? log::Format::kJson : log::Format::kText;
}

void configure_log(const config::ProxyConfig& config) {
  log::configure(
      {.format = format_named(config.logging.format), .verbosity = static_cast<int>(config.logging.verbosity)});
}

// A collector of JSON gets nothing else; a person gets the line that kube-proxy prints.
void refuse(const std::vector<std::string>& arguments, const Error& error) {
  if (format_named(config::log_format_wanted(arguments)) == log::Format::kText) {
    fmt::print(stderr, "Error: {}\n", error.what);
    return;
  }
  log::configure({.format = log::Format::kJson});
  SLUICE_LOG_ERROR("Cannot run with these flags and this configuration", {"err", error.what});
}

int write_configuration(const config::CommandLine& command) {
  if (const auto written = write_config(command.config, command.write_config_to); !written) {
    SLUICE_LOG_ERROR("Could not write the configuration", {"file", command.write_config_to},
                     {"err", written.error().what});
    return 1;
  }
  SLUICE_LOG_INFO("Wrote configuration", {"file", command.write_config_to});
  return 0;
}

}  // namespace

int run_proxy(const std::vector<std::string>& arguments) {
  const auto command = config::complete(arguments);
  if (!command) {
    refuse(arguments, command.error());
    return 1;
  }
  if (command->show_help) {
    fmt::print("{}", config::help_text());
    return 0;
  }
  if (command->show_version) {
    fmt::print("{}", config::version_text(command->version_form));
    return 0;
  }
  configure_log(command->config);
  for (const config::Notice& notice : command->notices) {
    if (notice.key.empty()) {
      SLUICE_LOG_INFO(notice.message);
    } else {
      SLUICE_LOG_INFO(notice.message, {notice.key, notice.value});
    }
  }
  if (!command->write_config_to.empty()) return write_configuration(*command);
  if (command->cleanup) {
    const bool text = format_named(command->config.logging.format) == log::Format::kText;
    return run_cleanup(command->sluice, text ? ReportForm::kText : ReportForm::kLog);
  }
  return serve(*command);
}

}  // namespace sluice::daemon
