// SPDX-License-Identifier: Apache-2.0
// Running another program without ever waiting on the wrong pipe.
//
// A program such as iptables-restore reads tens of megabytes from us while it may write warnings to stderr at any time.
// Writing all input first and reading afterwards deadlocks as soon as one pipe (64 KiB, pipe(7)) is full in each
// direction. So one poll(2) loop serves all three pipes, non-blocking, and requests the next piece of input only when
// the last one is gone: at 10,000 Services the input is 40 MB, and we hold one piece of it.
//
// Four more pitfalls are handled here so that no caller has to consider them. A program must not outlive us: become().
// A program that ends early closes its stdin: writing to it raises SIGPIPE, which would end us; the signal is blocked
// for this thread and consumed if it was raised. A program that hangs is killed at the deadline. And the end of the
// program, not the end of its output, ends the loop, because a daemonised grandchild may hold the pipes open forever;
// pidfd_open(2) makes that end pollable (Linux 5.3; older kernels are polled every 20 ms).
#include "sys/process.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "base/unique_fd.h"

namespace sluice::sys {
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::size_t kErrorOutputMax = 64 * 1024;
constexpr int kInputAheadMax = 1024 * 1024;  // what the kernel allows without privilege (fs.pipe-max-size)
constexpr int kTickMs = 20;
constexpr int kReadsPerTurn =
    32;  // 2 MiB, more than a pipe holds: an endless writer must not keep us from the deadline

// Blocks SIGPIPE for the calling thread; a SIGPIPE that our own writes raised meanwhile is discarded at the end.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  ~SigpipeGuard() {
    const timespec now{};
    if (!was_pending_) {
      while (::sigtimedwait(&sigpipe_, nullptr, &now) < 0 && errno == EINTR) {
      }
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;

 private:
  sigset_t sigpipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

struct Pipe {
  UniqueFd read_end;
  UniqueFd write_end;
};

Result<Pipe> open_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0)
    return fail(Errc::kExhausted, std::string("pipe: ") + std::strerror(errno), errno);
  return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

void set_nonblocking(const UniqueFd& fd) {
  ::fcntl(fd.get(), F_SETFL, ::fcntl(fd.get(), F_GETFL) | O_NONBLOCK);
}

// What the child does between vfork(2) and execve(2), where it shares our memory and may make few calls: the
// descriptors, the signals, and its end with ours. Returns only if it could not become the program.
void become(const std::vector<char*>& argv, const Pipe& in, const Pipe& out, const Pipe& err, pid_t parent) {
  // Killed in the middle of an apply, we are restarted at once and read what is live; a program that kept writing
  // the old plan would make that reading wrong. It ends at once, between two COMMITs.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // we died before that
  for (const auto& [from, to] :
       {std::pair{in.read_end.get(), STDIN_FILENO}, std::pair{out.write_end.get(), STDOUT_FILENO},
        std::pair{err.write_end.get(), STDERR_FILENO}}) {
    // A daemon without standard descriptors would get its pipes in their place.
    if (from == to ? ::fcntl(to, F_SETFD, 0) < 0 : ::dup2(from, to) < 0) return;
  }
  ::close_range(STDERR_FILENO + 1, ~0U, 0);  // before Linux 5.9 what is not O_CLOEXEC stays open
  ::signal(SIGPIPE, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvp(argv[0], argv.data());
}

// The child starts with an empty signal mask and SIGPIPE's default action, whatever this process set, and ends
// with the calling thread. posix_spawn(3) cannot do the latter.
Result<pid_t> spawn(const std::vector<std::string>& arguments, const Pipe& in, const Pipe& out, const Pipe& err) {
  std::vector<char*> argv;
  argv.reserve(arguments.size() + 1);
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);

  // No handler of ours may run in the child, which runs on our stack.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t parent = ::getpid();
  volatile int error = 0;
  const pid_t pid = ::vfork();  // NOLINT(bugprone-unsafe-functions): become() calls nothing that vfork(2) forbids
  if (pid == 0) {
    become(argv, in, out, err, parent);
    error = errno;
    ::_exit(127);
  }
  if (pid < 0) error = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error == 0) return pid;
  if (pid > 0) ::waitpid(pid, nullptr, 0);
  if (error == ENOENT) return fail(Errc::kNotFound, "run " + arguments[0] + ": no such program in PATH", error);
  return fail(Errc::kInternal, "run " + arguments[0] + ": " + std::strerror(error), error);
}

// Communicates with one child until it has ended. Reaps it in every case.
class Conversation {
 public:
  Conversation(const ProcessOptions& options, pid_t pid, Pipe in, Pipe out, Pipe err)
      : options_(options),
        pid_(pid),
        in_(std::move(in.write_end)),
        out_(std::move(out.read_end)),
        err_(std::move(err.read_end)) {
    set_nonblocking(in_);
    set_nonblocking(out_);
    set_nonblocking(err_);
    pidfd_ = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!options_.input) in_.reset();
  }

  Result<ProcessOutcome> run() {
    const SigpipeGuard guard;
    const auto deadline = SteadyClock::now() + options_.timeout;
    while (!reap(WNOHANG)) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - SteadyClock::now()).count();
      if (left <= 0) {
        ::kill(pid_, SIGKILL);
        reap(0);
        return fail(Errc::kUnavailable, options_.arguments[0] + " did not end within " +
                                            std::to_string(options_.timeout.count()) + " ms and was killed");
      }
      wait_and_serve(static_cast<int>(std::min<long long>(left, pidfd_ ? 60'000 : kTickMs)));
    }
    // What it wrote before it ended is still in the pipes.
    read_output();
    read_errors();
    return std::move(outcome_);
  }

 private:
  bool reap(int flags) {
    int status = 0;
    pid_t answer = -1;
    do {
      answer = ::waitpid(pid_, &status, flags);
    } while (answer < 0 && errno == EINTR);
    if (answer == 0) return false;
    outcome_.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return true;
  }

  void wait_and_serve(int timeout_ms) {
    std::array<pollfd, 4> fds{pollfd{pidfd_.get(), POLLIN, 0}, pollfd{in_.get(), POLLOUT, 0},
                              pollfd{out_.get(), POLLIN, 0},
                              pollfd{err_.get(), POLLIN, 0}};  // a negative descriptor is skipped by poll(2)
    if (::poll(fds.data(), fds.size(), timeout_ms) <= 0) return;
    if (fds[1].revents != 0) write_input();
    if (fds[2].revents != 0) read_output();
    if (fds[3].revents != 0) read_errors();
  }

  void write_input() {
    for (;;) {
      if (piece_.empty()) piece_ = options_.input();
      if (piece_.empty()) return in_.reset();
      const ssize_t written = ::write(in_.get(), piece_.data(), piece_.size());
      if (written < 0) {
        if (errno == EINTR) continue;
        if (errno != EAGAIN) in_.reset();  // EPIPE: it reads no more; its exit status has the reason
        return;
      }
      piece_.remove_prefix(static_cast<std::size_t>(written));
    }
  }

  template <typename Consume>
  void drain(UniqueFd& fd, Consume consume) {
    std::array<char, 64 * 1024> buffer;
    for (int turn = 0; fd && turn < kReadsPerTurn; ++turn) {
      const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) return;
      if (count <= 0) return fd.reset();
      consume(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
    }
  }

  void read_output() {
    drain(out_, [this](std::string_view text) {
      if (options_.output) options_.output(text);
    });
  }

  void read_errors() {
    drain(err_, [this](std::string_view text) {
      outcome_.error_output += text;
      if (outcome_.error_output.size() > kErrorOutputMax) {
        outcome_.error_output.erase(0, outcome_.error_output.size() - kErrorOutputMax);
      }
    });
  }

  const ProcessOptions& options_;
  pid_t pid_;
  UniqueFd in_;
  UniqueFd out_;
  UniqueFd err_;
  UniqueFd pidfd_;
  std::string_view piece_;
  ProcessOutcome outcome_;
};

}  // namespace

Result<ProcessOutcome> run_process(const ProcessOptions& options) {
  if (options.arguments.empty()) return fail(Errc::kInvalid, "run: no program named");
  SLUICE_TRY(Pipe in, open_pipe());
  // Room to work ahead of the program, which would otherwise wait whenever the next piece is being made. If the
  // kernel refuses (pipe-user-pages-soft), the usual 64 KiB suffice.
  if (options.input) ::fcntl(in.write_end.get(), F_SETPIPE_SZ, kInputAheadMax);
  SLUICE_TRY(Pipe out, open_pipe());
  SLUICE_TRY(Pipe err, open_pipe());
  SLUICE_TRY(const pid_t pid, spawn(options.arguments, in, out, err));
  in.read_end.reset();
  out.write_end.reset();
  err.write_end.reset();
  return Conversation(options, pid, std::move(in), std::move(out), std::move(err)).run();
}

Result<CollectedOutcome> run_and_collect(std::vector<std::string> arguments, std::string_view input,
                                         std::chrono::milliseconds timeout) {
  CollectedOutcome collected;
  ProcessOptions options;
  options.arguments = std::move(arguments);
  options.timeout = timeout;
  options.input = [left = input]() mutable { return std::exchange(left, std::string_view()); };
  options.output = [&collected](std::string_view text) { collected.output += text; };
  SLUICE_TRY(ProcessOutcome outcome, run_process(options));
  collected.exit_status = outcome.exit_status;
  collected.error_output = std::move(outcome.error_output);
  return collected;
}

}  // namespace sluice::sys
