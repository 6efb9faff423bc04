// SPDX-License-Identifier: Apache-2.0
// Standard input, output and error that are there.
#pragma once

namespace sluice::sys {

// Puts /dev/null where the caller of this program has closed one of the three. To be called before anything is opened:
// a file takes the lowest free number, so our first socket would become standard input or output otherwise, and what is
// read and printed would go through it.
void open_missing_standard_streams();

}  // namespace sluice::sys
