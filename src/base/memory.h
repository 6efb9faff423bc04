// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice {

// Returns freed memory to the kernel (malloc_trim(3)). For the end of rare work that needed much of it at once,
// such as a full load: the heap would keep its pages forever. Takes milliseconds.
void release_freed_memory();

}  // namespace sluice
