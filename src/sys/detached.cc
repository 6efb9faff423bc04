// SPDX-License-Identifier: Apache-2.0
// A process id is a small number that the kernel reuses. A program that keeps one in a file and later sends it a
// signal may hit another process. Two things prevent that here: the id is kept with its process' start time, and
// signals go through a pidfd (pidfd_open(2), Linux 5.3), which is opened first and then checked against the start time:
// from that moment it can only mean the process that we checked.
//
// Files with ids are lost in a crash between starting a program and writing the file. So processes are also found by
// properties that they cannot lose: the network namespace they are in, and the environment they were started with.
#include "sys/detached.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>
#include <sstream>
#include <string_view>

extern "C" char** environ;

namespace sluice::sys {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
constexpr milliseconds kEndTimeout{5000};  // of a process after SIGKILL

Error process_error(const std::string& what, int error) {
  const Errc code = error == EPERM || error == EACCES                       ? Errc::kPermission
                    : error == ENOENT || error == ESRCH                     ? Errc::kNotFound
                    : error == EAGAIN || error == ENOMEM || error == EMFILE ? Errc::kExhausted
                                                                            : Errc::kInternal;
  return Error{code, fmt::format("{}: {}", what, std::strerror(error)), error};
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string proc_path(pid_t pid, const char* name) {
  return fmt::format("/proc/{}/{}", pid, name);
}

struct ProcessStat {
  char state = 'X';
  pid_t parent = 0;
  std::uint64_t start_time = 0;
};

// /proc/<pid>/stat, proc(5): the second field is the name in parentheses, which may contain spaces and parentheses.
std::optional<ProcessStat> read_stat(pid_t pid) {
  const std::string text = read_file(proc_path(pid, "stat"));
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  ProcessStat stat;
  fields >> stat.state >> stat.parent;
  std::string skipped;
  constexpr int kFieldsBetween = 17;  // from field 5 (pgrp) to field 21; start time is field 22
  for (int i = 0; i < kFieldsBetween; ++i) fields >> skipped;
  fields >> stat.start_time;
  if (!fields) return std::nullopt;
  return stat;
}

// The file actions and attributes of one posix_spawn call.
class SpawnSettings {
 public:
  SpawnSettings() {
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawnattr_init(&attributes);
  }
  ~SpawnSettings() {
    ::posix_spawn_file_actions_destroy(&actions);
    ::posix_spawnattr_destroy(&attributes);
  }
  SpawnSettings(const SpawnSettings&) = delete;
  SpawnSettings& operator=(const SpawnSettings&) = delete;

  posix_spawn_file_actions_t actions{};
  posix_spawnattr_t attributes{};
};

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  out.reserve(words.size() + 1);
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

Result<pid_t> spawn(const DetachedSpec& spec) {
  SpawnSettings settings;
  const std::string log_file = spec.log_file.empty() ? "/dev/null" : spec.log_file;
  ::posix_spawn_file_actions_addopen(&settings.actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&settings.actions, STDOUT_FILENO, log_file.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0644);
  ::posix_spawn_file_actions_adddup2(&settings.actions, STDOUT_FILENO, STDERR_FILENO);
  ::posix_spawn_file_actions_addclosefrom_np(&settings.actions, STDERR_FILENO + 1);
  ::posix_spawn_file_actions_addchdir_np(&settings.actions, "/");
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&settings.attributes, &none);
  ::posix_spawnattr_setsigdefault(&settings.attributes, &all);
  ::posix_spawnattr_setflags(&settings.attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  std::vector<std::string> arguments = spec.arguments;
  std::vector<std::string> environment = spec.environment;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    // Of two values for one name getenv(3) uses the first, and a shell the last.
    const std::string_view own(*entry);
    const std::string_view name = own.substr(0, own.find('=') + 1);
    const auto same_name = [name](const std::string& given) { return given.starts_with(name); };
    if (std::none_of(spec.environment.begin(), spec.environment.end(), same_name)) environment.emplace_back(own);
  }
  pid_t pid = -1;
  const int error = ::posix_spawnp(&pid, arguments[0].c_str(), &settings.actions, &settings.attributes,
                                   pointers(arguments).data(), pointers(environment).data());
  if (error != 0) return tl::unexpected(process_error(fmt::format("start {} (log {})", arguments[0], log_file), error));
  return pid;
}

// Reaps it if it is a child of ours that has ended; other processes are reaped by their parents.
void reap(pid_t pid) {
  ::waitpid(pid, nullptr, WNOHANG);
}

// A descriptor of exactly this process; nothing if it has ended.
Result<UniqueFd> open_process(const ProcessId& process) {
  UniqueFd fd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!fd && errno != ESRCH) return tl::unexpected(process_error(fmt::format("open process {}", process.pid), errno));
  if (!fd || !process_alive(process)) return UniqueFd();
  return fd;
}

Result<> send_signal(const UniqueFd& process, int signal) {
  if (::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) == 0 || errno == ESRCH) return {};
  return tl::unexpected(process_error("send a signal", errno));
}

bool ended_within(const UniqueFd& process, milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  pollfd entry{.fd = process.get(), .events = POLLIN, .revents = 0};
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    const int ready = ::poll(&entry, 1, static_cast<int>(std::max<std::int64_t>(left.count(), 0)));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

std::optional<pid_t> parse_pid(const std::string& name) {
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), pid);
  if (error != std::errc() || end != name.data() + name.size()) return std::nullopt;
  return pid;
}

bool in_one_of(pid_t pid, const std::vector<NetnsId>& namespaces) {
  struct stat status{};
  if (::stat(proc_path(pid, "ns/net").c_str(), &status) != 0) return false;
  return std::find(namespaces.begin(), namespaces.end(), NetnsId{status.st_dev, status.st_ino}) != namespaces.end();
}

bool has_environment_entry(pid_t pid, const std::string& wanted) {
  if (wanted.empty()) return false;
  // Entries end with a zero byte each.
  const std::string entries = std::string(1, '\0') + read_file(proc_path(pid, "environ"));
  return entries.find(std::string(1, '\0') + wanted + std::string(1, '\0')) != std::string::npos;
}

std::set<pid_t> own_line() {
  std::set<pid_t> line;
  for (pid_t pid = ::getpid(); pid > 0 && line.insert(pid).second;) {
    const auto stat = read_stat(pid);
    pid = stat ? stat->parent : 0;
  }
  return line;
}

}  // namespace

Result<ProcessId> start_detached(const DetachedSpec& spec) {
  if (spec.arguments.empty()) return fail(Errc::kInvalid, "start a program: no program was named");
  pid_t pid = -1;
  const auto start = [&]() -> Result<> {
    SLUICE_TRY(pid, spawn(spec));
    return {};
  };
  SLUICE_CHECK_OK(spec.netns.empty() ? start() : in_netns(spec.netns, start));
  const auto stat = read_stat(pid);  // exists even if it has ended: we have not reaped it yet
  if (!stat) return fail(Errc::kInternal, fmt::format("start {}: cannot read /proc/{}/stat", spec.arguments[0], pid));
  return ProcessId{pid, stat->start_time};
}

Result<ProcessId> identify_process(pid_t pid) {
  reap(pid);
  const auto stat = read_stat(pid);
  if (!stat || stat->state == 'Z' || stat->state == 'X')
    return fail(Errc::kNotFound, fmt::format("no process {}", pid));
  return ProcessId{pid, stat->start_time};
}

bool process_alive(const ProcessId& process) {
  const auto found = identify_process(process.pid);
  return found && *found == process;
}

Result<> signal_process(const ProcessId& process, int signal) {
  SLUICE_TRY(const UniqueFd fd, open_process(process));
  if (!fd) return {};
  return send_signal(fd, signal);
}

Result<> end_process(const ProcessId& process, milliseconds grace) {
  SLUICE_TRY(const UniqueFd fd, open_process(process));
  if (!fd) return {};
  SLUICE_CHECK_OK(send_signal(fd, SIGTERM));
  if (!ended_within(fd, grace)) {
    SLUICE_CHECK_OK(send_signal(fd, SIGKILL));
    if (!ended_within(fd, kEndTimeout)) {
      return fail(Errc::kUnavailable, fmt::format("process {} does not end, not even after SIGKILL", process.pid));
    }
  }
  reap(process.pid);
  return {};
}

std::string command_line(const ProcessId& process) {
  std::string words = read_file(proc_path(process.pid, "cmdline"));
  if (!process_alive(process)) return {};
  while (!words.empty() && words.back() == '\0') words.pop_back();
  std::replace(words.begin(), words.end(), '\0', ' ');
  return words;
}

Result<std::vector<ProcessId>> find_processes(const ProcessMark& mark) {
  const std::set<pid_t> spared = own_line();
  std::vector<ProcessId> found;
  std::error_code error;
  for (fs::directory_iterator entry("/proc", error), end; !error && entry != end; entry.increment(error)) {
    const auto pid = parse_pid(entry->path().filename().string());
    if (!pid || spared.contains(*pid)) continue;
    if (!in_one_of(*pid, mark.namespaces) && !has_environment_entry(*pid, mark.environment_entry)) continue;
    if (const auto process = identify_process(*pid)) found.push_back(*process);
  }
  if (error) return fail(Errc::kInternal, "list the processes: " + error.message(), error.value());
  return found;
}

Result<std::string> own_program() {
  std::error_code error;
  const fs::path path = fs::read_symlink("/proc/self/exe", error);
  if (error) return fail(Errc::kInternal, "find our own program: " + error.message(), error.value());
  return path.string();
}

Result<> become_program(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return fail(Errc::kInvalid, "run a program: no program was named");
  std::vector<std::string> words = arguments;
  ::execvp(words[0].c_str(), pointers(words).data());
  return tl::unexpected(process_error("run " + arguments[0], errno));
}

}  // namespace sluice::sys
