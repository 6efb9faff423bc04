// SPDX-License-Identifier: Apache-2.0
// A line is built in memory and written at once, under a mutex: a pipe accepts more than 4 kB (PIPE_BUF) in pieces, and
// lines of two threads would mix. Nothing waits in a buffer of ours, so nothing is lost when the process is killed.
// klog's text form: severity letter, month and day, time with microseconds, process id, file:line].
//
// Values come from manifests, API servers and other programs, and may contain anything. In all cases a line stays one
// line, a JSON line stays JSON, and no control characters reach a terminal. Values are quoted as Go's
// strconv.Quote does in the text form, as a JSON string in the other, and cut if they are longer than any reader
// wants.
#include "base/log.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <ctime>

#include "base/json.h"
#include "base/mutex.h"
#include "base/utf8.h"

namespace sluice::log {
namespace {

std::atomic<int> g_verbosity{0};
std::atomic<Format> g_format{Format::kText};

// Container runtimes cut lines at 16 kB.
constexpr std::size_t kValueBytesMax = 8 * 1024;
// If the reader of a pipe has not read for this long, the rest of the line is lost.
constexpr int kWriteWaitMs = 1000;

// In quotes, with Go's escapes.
std::string quote(std::string_view text) {
  std::string out = "\"";
  out.reserve(text.size() + 2);
  while (!text.empty()) {
    const Rune rune = first_rune(text);
    const auto value = static_cast<unsigned>(rune.value);
    constexpr std::string_view kNamed = "\a\b\f\n\r\t\v\"\\";
    constexpr std::string_view kNames = "abfnrtv\"\\";
    const std::size_t named = rune.value < 0x80 ? kNamed.find(static_cast<char>(rune.value)) : std::string_view::npos;
    if (named != std::string_view::npos) {
      out += '\\';
      out += kNames[named];
    } else if (!rune.valid || (rune.value < 0x80 && is_control(rune.value))) {
      out += fmt::format("\\x{:02x}", value);
    } else if (is_control(rune.value)) {
      out += fmt::format("\\u{:04x}", value);
    } else {
      out += text.substr(0, rune.bytes);
    }
    text.remove_prefix(rune.bytes);
  }
  out += '"';
  return out;
}

std::string shortened(std::string_view text) {
  if (text.size() <= kValueBytesMax) return std::string(text);
  const std::string_view head = at_most(text, kValueBytesMax);
  return fmt::format("{}... ({} bytes more)", head, text.size() - head.size());
}

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
  out.append(quote(shortened(message)));
  for (const Field& field : fields) {
    fmt::format_to(std::back_inserter(out), " {}=", field.key);
    out.append(quote(shortened(field.value)));
  }
  out.push_back('\n');
}

void append_json(fmt::memory_buffer& out, Level level, std::string_view file, int line, std::string_view message,
                 std::initializer_list<Field> fields) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  fmt::format_to(std::back_inserter(out), "{{\"ts\":{:.4f},\"caller\":\"{}:{}\",\"level\":\"{}\",\"msg\":",
                 std::chrono::duration<double, std::milli>(now).count(), file, line,
                 level == Level::kError ? "error" : (level == Level::kWarning ? "warning" : "info"));
  out.append(json_string(shortened(message)));
  for (const Field& field : fields) {
    out.push_back(',');
    out.append(json_string(field.key));
    out.push_back(':');
    out.append(json_string(shortened(field.value)));
  }
  fmt::format_to(std::back_inserter(out), "}}\n");
}

Mutex g_mutex;
bool g_torn SLUICE_GUARDED_BY(g_mutex) = false;  // the last line is incomplete

// True if all of it was written.
bool write_all(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(STDERR_FILENO, bytes.data(), bytes.size());
    if (written > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (written < 0 && errno == EAGAIN) {  // another process made it non-blocking
      pollfd ready{STDERR_FILENO, POLLOUT, 0};
      if (::poll(&ready, 1, kWriteWaitMs) == 0) return false;
    } else if (written == 0 || errno != EINTR) {
      return false;
    }
  }
  return true;
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
  // A failure to write the log cannot be reported; the next line must not continue where this one broke off.
  const MutexLock lock(g_mutex);
  if (g_torn && !write_all("\n")) return;
  g_torn = !write_all({out.data(), out.size()});
}

}  // namespace sluice::log
