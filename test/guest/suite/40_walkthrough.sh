#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The walkthrough's steps 2 to 4: the switch of one node to mode ipvs, the proof by ipvsadm, and the way back, under real traffic.
set -eu
exec "$SLUICE" lab walkthrough --only-ipvs
