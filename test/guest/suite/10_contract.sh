#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What engine.h promises, on the kernel's ip_vs.
exec "$SLUICE_BINARY_DIR/src/ipvs/kernel/ipvs_kernel_contract_test" --gtest_brief=1
