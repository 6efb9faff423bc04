// SPDX-License-Identifier: Apache-2.0
// "ipvsadm -R <&-" in a script without a terminal: the netlink socket becomes descriptor 0, and reading commands from
// it waits forever. Filled in ascending order, each open(2) returns exactly the missing number.
#include "sys/standard_streams.h"

#include <fcntl.h>
#include <unistd.h>

#include <initializer_list>

namespace sluice::sys {

void open_missing_standard_streams() {
  for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(stream, F_GETFD) >= 0) continue;
    // Kept open for as long as the program runs, and by the programs that it starts.
    static_cast<void>(::open("/dev/null", stream == STDIN_FILENO ? O_RDONLY : O_WRONLY));
  }
}

}  // namespace sluice::sys
