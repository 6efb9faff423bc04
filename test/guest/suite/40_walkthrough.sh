#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The walkthrough's steps 2 and 3: the switch of one node to mode ipvs, and the proof by ipvsadm, under real traffic.
set -eu
exec "$SLUICE" lab walkthrough --only-ipvs
