/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
 *
 * What a test and pick.bpf.c say to each other: what to choose from, and what was chosen.
 */
#ifndef SLUICE_TEST_PICK_H
#define SLUICE_TEST_PICK_H
#include "../shared/view.h"

struct sluice_test_pick {
	struct sluice_ask ask;
	__u32 view;
	__u64 cursor;
	__u32 remembered;
	__u32 now_s;
	__u32 expiration_s;
	__u32 id; /* chosen */
	struct sluice_destination_set set;
};
static_assert(sizeof(struct sluice_test_pick) == 304, "no padding that the two would see differently");

#endif
