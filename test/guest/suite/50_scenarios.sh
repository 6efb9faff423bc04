#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Scenario files in mode ipvs: those about what mode ipvs does itself. What the plan decides before is the same in every mode, and tested
# in mode iptables. All of them: test/scenario/run.py --mode ipvs SLUICE, in a guest.
set -eu
cd ../scenario
exec python3 run.py --mode ipvs "$SLUICE" ipvs_*.scn \
	a_refused_port_costs_the_others_nothing.scn \
	cluster_ip_from_node_and_outside_is_masqueraded.scn \
	dual_stack_serves_both_families.scn \
	external_ip_is_served_from_everywhere.scn \
	external_policy_local_keeps_the_client_and_stays_on_the_node.scn \
	external_policy_local_without_local_endpoint_drops_outsiders.scn \
	hairpin_reaches_itself_masqueraded.scn \
	no_endpoints_refuses_at_once.scn \
	node_port_answers_on_every_address_of_every_node.scn \
	session_affinity_sticks_to_one_pod.scn \
	source_ranges_guard_the_load_balancer_ip_alone.scn \
	tcp_and_udp_of_one_port_stay_apart.scn
