# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the setup scripts share. They source it; $program is their name in messages.

program=$(basename "$0")

say() { echo "$program: $*" >&2; }
die() { say "error: $*"; exit 1; }

# Prints the comment at the head of the script: its manual.
usage() { sed -n '4,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# run_logged LOG WHAT COMMAND...
# Runs COMMAND with its output added to LOG, and says every 20 s that WHAT still goes on, with what the script's function
# note_progress prints, where it has one. Returns COMMAND's status, after showing the end of the log if that is not 0.
# While it runs, $running_group is its process group.
running_group=
run_logged() {
	local output=$1 what=$2 started=$SECONDS ticks=0 status=0 note
	shift 2
	say "$what"
	setsid "$@" >>"$output" 2>&1 </dev/null &
	running_group=$!
	while kill -0 "$running_group" 2>/dev/null; do
		sleep 0.5
		ticks=$((ticks + 1))
		[ $((ticks % 40)) -eq 0 ] || continue
		note=
		if declare -F note_progress >/dev/null; then note=$(note_progress); fi
		say "$what: $((SECONDS - started)) s${note:+, $note}"
	done
	wait "$running_group" || status=$?
	running_group=
	[ "$status" -eq 0 ] && return 0
	tail -n 25 "$output" >&2
	say "failed: $what (exit $status); the whole log is $output"
	return "$status"
}

# Ends what run_logged runs, for traps.
stop_running() {
	[ -n "$running_group" ] || return 0
	kill -TERM -- "-$running_group" 2>/dev/null || true
	wait "$running_group" || true
	running_group=
}
