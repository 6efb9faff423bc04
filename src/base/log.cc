// SPDX-License-Identifier: Apache-2.0
// A line is built in memory and written by one write(2), so lines of several threads never mix, and nothing is lost
// when the process is killed. klog's text form: severity letter, month and day, time with microseconds, process id,
// file:line].
#include "base/log.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <ctime>

#include "base/json.h"

namespace sluice::log {
namespace {

std::atomic<int> g_verbosity{0};
std::atomic<Format> g_format{Format::kText};

// Go's %q for the characters that matter in a log line; JSON's strings have the same escapes.
char letter(Level level) {
  switch (level) {
    case Level::kInfo:
      return 'I';
    case Level::kWarning:
      return 'W';
    case Level::kError:
      return 'E';
  }
  return '?';
}

void append_text(fmt::memory_buffer& out, Level level, std::string_view file, int line, std::string_view message,
                 std::initializer_list<Field> fields) {
  const auto now = std::chrono::system_clock::now();
  const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count() % 1000000;
  std::tm local{};
  ::localtime_r(&seconds, &local);
  fmt::format_to(std::back_inserter(out), "{}{:02}{:02} {:02}:{:02}:{:02}.{:06} {:7} {}:{}] ", letter(level),
                 local.tm_mon + 1, local.tm_mday, local.tm_hour, local.tm_min, local.tm_sec, micros, ::getpid(), file,
                 line);
  out.append(json_string(message));
  for (const Field& field : fields) {
    fmt::format_to(std::back_inserter(out), " {}=", field.key);
    out.append(json_string(field.value));
  }
  out.push_back('\n');
}

void append_json(fmt::memory_buffer& out, Level level, std::string_view file, int line, std::string_view message,
                 std::initializer_list<Field> fields) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  fmt::format_to(std::back_inserter(out), "{{\"ts\":{:.4f},\"caller\":\"{}:{}\",\"level\":\"{}\",\"msg\":",
                 std::chrono::duration<double, std::milli>(now).count(), file, line,
                 level == Level::kError ? "error" : (level == Level::kWarning ? "warning" : "info"));
  out.append(json_string(message));
  for (const Field& field : fields) {
    out.push_back(',');
    out.append(json_string(field.key));
    out.push_back(':');
    out.append(json_string(field.value));
  }
  fmt::format_to(std::back_inserter(out), "}}\n");
}

}  // namespace

void configure(const Settings& settings) {
  g_verbosity = settings.verbosity;
  g_format = settings.format;
}

bool enabled(int verbosity) {
  return g_verbosity.load(std::memory_order_relaxed) >= verbosity;
}

void set_verbosity(int verbosity) {
  g_verbosity = verbosity;
}

void write(Level level, std::string_view file, int line, std::string_view message,
           std::initializer_list<Field> fields) {
  file.remove_prefix(file.rfind('/') == std::string_view::npos ? 0 : file.rfind('/') + 1);
  fmt::memory_buffer out;
  if (g_format.load(std::memory_order_relaxed) == Format::kText) {
    append_text(out, level, file, line, message, fields);
  } else {
    append_json(out, level, file, line, message, fields);
  }
  // A log that cannot be written has nobody to be reported to.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, out.data(), out.size());
}

}  // namespace sluice::log
