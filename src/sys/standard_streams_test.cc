// SPDX-License-Identifier: Apache-2.0
#include "sys/standard_streams.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

namespace sluice::sys {
namespace {

// In a child, whose streams may be closed. The status says which of the steps failed.
int status_of_child(int (*steps)()) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(steps());
  int status = -1;
  return ::waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

TEST(StandardStreams, ThoseThatAreClosedBecomeEmptyAndSilent) {
  EXPECT_EQ(status_of_child([] {
              for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::close(stream);
              open_missing_standard_streams();
              char byte = 'x';
              if (::read(STDIN_FILENO, &byte, 1) != 0) return 1;
              if (::write(STDOUT_FILENO, &byte, 1) != 1) return 2;
              if (::write(STDERR_FILENO, &byte, 1) != 1) return 3;
              return 0;
            }),
            0);
}

TEST(StandardStreams, ThoseThatAreOpenStayAsTheyAre) {
  EXPECT_EQ(status_of_child([] {
              int ends[2];
              if (::pipe(ends) != 0 || ::dup2(ends[0], STDIN_FILENO) < 0 || ::dup2(ends[1], STDOUT_FILENO) < 0)
                return 1;
              ::close(STDERR_FILENO);
              open_missing_standard_streams();
              char byte = 'x';
              if (::write(STDOUT_FILENO, &byte, 1) != 1) return 2;
              byte = 0;
              return ::read(STDIN_FILENO, &byte, 1) == 1 && byte == 'x' ? 0 : 3;
            }),
            0);
}

}  // namespace
}  // namespace sluice::sys
