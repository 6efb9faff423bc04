// SPDX-License-Identifier: Apache-2.0
// SLUICE_CHECK(condition): an invariant of ours that must hold, also in release builds. Never for data from outside.
#pragma once

#include <cstdio>
#include <cstdlib>

#define SLUICE_CHECK(condition)                                                              \
  do {                                                                                       \
    if (!(condition)) {                                                                      \
      std::fprintf(stderr, "%s:%d: broken invariant: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                          \
    }                                                                                        \
  } while (false)
