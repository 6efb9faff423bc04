// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace sluice {

// Gives memory that was freed back to the kernel (malloc_trim(3)). For the end of rare work that needed much at once,
// such as a full load: the heap would keep its pages for ever. Takes milliseconds.
void release_freed_memory();

}  // namespace sluice
