// SPDX-License-Identifier: Apache-2.0
// Makes sure that standard input, output and error are open.
#pragma once

namespace sluice::sys {

// Opens /dev/null for each of the three that this program's caller has closed. Call it before anything is opened:
// a file gets the lowest free number, so our first socket would otherwise become standard input or output, and what is
// read and printed would go through it.
void open_missing_standard_streams();

}  // namespace sluice::sys
