// SPDX-License-Identifier: Apache-2.0
// The log, in the form that people who run kube-proxy already grep: klog's
//   I1123 05:21:22.123456   71 control_loop.cc:88] "Using iptables Proxier" ipFamily="IPv4"
// or one JSON object per line. A constant message first, then key="value" pairs. Values may hold any bytes; each
// message is still one line of printable UTF-8, or JSON in that form; of a value of more than 8 kB only the beginning
// is written. Libraries (base ... dataplane) return errors and do not log;
// sync, daemon, kube's sources and cli do.
#pragma once

#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <string_view>

namespace sluice::log {

enum class Level : unsigned char { kInfo, kWarning, kError };
enum class Format : unsigned char { kText, kJson };

struct Settings {
  Format format = Format::kText;
  int verbosity = 0;  // klog's -v: info lines of a higher number are not written
};
// Called once by the program before threads start; the default is text at verbosity 0, to stderr.
void configure(const Settings& settings);
[[nodiscard]] bool enabled(int verbosity);  // whether -v is at least this
void set_verbosity(int verbosity);          // at run time, by the metrics server's /debug/flags/v

// One key and its value, printed key="value" with Go-like quoting.
struct Field {
  std::string_view key;
  std::string value;
  template <typename T>
  Field(std::string_view k, const T& v) : key(k), value(fmt::format("{}", v)) {}
};

// What `SLUICE_LOG_*` calls; `file` is shortened to its last part.
void write(Level level, std::string_view file, int line, std::string_view message, std::initializer_list<Field> fields);

}  // namespace sluice::log

// SLUICE_LOG_INFO("Using iptables Proxier", {"ipFamily", "IPv4"})
#define SLUICE_LOG_INFO(message, ...) \
  ::sluice::log::write(::sluice::log::Level::kInfo, __FILE__, __LINE__, message, {__VA_ARGS__})
#define SLUICE_LOG_WARNING(message, ...) \
  ::sluice::log::write(::sluice::log::Level::kWarning, __FILE__, __LINE__, message, {__VA_ARGS__})
#define SLUICE_LOG_ERROR(message, ...) \
  ::sluice::log::write(::sluice::log::Level::kError, __FILE__, __LINE__, message, {__VA_ARGS__})
// SLUICE_LOG_V(4, "...", ...): an info line for -v=4 and higher; the fields are not computed otherwise.
#define SLUICE_LOG_V(verbosity, message, ...)                                     \
  do {                                                                            \
    if (::sluice::log::enabled(verbosity)) SLUICE_LOG_INFO(message, __VA_ARGS__); \
  } while (false)
