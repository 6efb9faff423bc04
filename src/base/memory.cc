// SPDX-License-Identifier: Apache-2.0
#include "base/memory.h"

#include <malloc.h>

namespace sluice {

void release_freed_memory() {
  malloc_trim(0);
}

}  // namespace sluice
