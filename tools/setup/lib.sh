# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the setup scripts share; they source it first. $program is their name in messages.
#
# A script that ends with a status other than 0 has printed the reason. A command that fails where nothing checks its status ends the script, and
# the trap for ERR prints the file, the line, the command and the status, also inside functions and command substitutions. If die() was
# called, its message is the only one. When the script ends, in whatever way (except SIGKILL), its function clean_up is called if it has one.
set -Eeuo pipefail
shopt -s inherit_errexit

program=$(basename "$0")
explained='' # set once the reason for ending has been printed
readonly explained_status=97 # of a subshell that has printed the reason: its parent shell prints nothing more

# Messages go where the script's errors go, also out of functions whose output is in a log. Programs that stay do not inherit descriptor 8.
exec 8>&2
say() { echo "$program: $*" >&8; }

# Nothing ever comes from this descriptor: await waits for it. The only process substitution, and before the traps: where a signal arrives in one,
# bash 5.2 reads the trap as a part of the substitution, reports a missing bracket, and may go on as if there had been no signal.
exec {silence}<> <(:)

# Ends the script with a status, after the reason was printed.
end() {
	explained=1
	[ "$BASH_SUBSHELL" -eq 0 ] || exit "$explained_status"
	exit "$1"
}

# die MESSAGE, die_with STATUS MESSAGE
die_with() {
	local status=$1
	shift
	say "error: $*"
	end "$status"
}
die() { die_with 1 "$@"; }

# shellcheck disable=SC2317 # the traps below run these
on_error() {
	local status=$1 command=${2%%$'\n'*} place=$3 statuses=$4 how="status $1" callers
	[ "$status" -ne "$explained_status" ] || end 1
	if [ "$status" -eq 126 ] || [ "$status" -eq 127 ]; then how+=" (cannot be run)"; fi
	if [ "$status" -gt 128 ] && [ "$status" -lt 160 ]; then how="SIG$(kill -l "$status")"; fi
	callers=${BASH_LINENO[*]:1:${#BASH_LINENO[@]}-2}
	place+=${callers:+" (called from line ${callers// /, })"}
	case $statuses in
	*' '*) die_with "$status" "$place: the pipeline that ends with \`${command:0:200}\` failed (statuses $statuses)" ;;
	*) die_with "$status" "$place: \`${command:0:200}\` failed with $how" ;;
	esac
}

# shellcheck disable=SC2317
on_exit() {
	local status=$?
	trap - ERR
	set +e
	stop_running
	[ "$status" -eq 0 ] || [ -n "$explained" ] || say "error: ended with status $status"
	[ "$status" -eq 0 ] || check_disks
	if declare -F clean_up >/dev/null; then clean_up; fi
	exit "$status"
}

# An exit that a trap requests while `read` waits is lost now and then, in bash 5.2: await sees to it afterwards.
signal_to_end='' in_read=''
# shellcheck disable=SC2317
on_signal() {
	signal_to_end=$1
	[ -z "$in_read" ] || return 0
	say "error: ended by SIG$1${running_what:+ while $running_what}"
	end $((128 + $(kill -l "$1")))
}

trap 'on_error $? "$BASH_COMMAND" "${BASH_SOURCE[0]}:$LINENO" "${PIPESTATUS[*]}"' ERR
trap on_exit EXIT
for signal in HUP INT TERM; do
	# shellcheck disable=SC2064 # the current name
	trap "on_signal $signal" "$signal"
done
unset signal

# Prints the comment at the head of the script: its manual.
usage() { sed -n '4,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# Prints the folder for what is built once per machine: $SLUICE_CACHE, else $XDG_CACHE_HOME/sluice (not where that is relative, which its
# standard forbids), else ~/.cache/sluice. Without HOME, ~ is what the user database has. The folder need not exist.
cache_folder() (
	[ -n "${HOME-}" ] || unset HOME
	case ${XDG_CACHE_HOME-} in
	/*) ;;
	*) XDG_CACHE_HOME=~/.cache ;;
	esac
	realpath -m -- "${SLUICE_CACHE:-$XDG_CACHE_HOME/sluice}"
)

# lock PATH WHAT: holds the lock of a file or folder until the script and what it started have ended (those that inherit descriptor 9);
# WHAT names what another holder is doing.
lock() {
	if [ -d "$1" ]; then exec 9<"$1"; else exec 9>"$1"; fi
	until flock --wait 20 9; do say "waiting for another process: it is $2 (lock $1)"; done
}

# Reports which of the disks that the script writes to is full, folders in $writes_to: not every program names that as the reason of its
# failure, and a log on that disk may lack the line that does.
writes_to=()
check_disks() {
	local folder probe why
	for folder in "${writes_to[@]}"; do
		if [ ! -d "$folder" ] || [ ! -w "$folder" ]; then continue; fi
		probe=$folder/.probe.$$
		why=$({ head -c 65536 /dev/zero >"$probe"; } 2>&1) || say "cannot write in $folder: ${why##*: }"
		rm -f "$probe"
	done
}

# await PID SECONDS COMMAND...: waits for a child, and runs COMMAND every SECONDS meanwhile. The child's status.
# Not a subshell that sleeps and is killed: one that gets its signal before it has put the traps of this shell away runs them. Nor sleep: bash
# forgets the status of a child, of any, when it starts another one that gets the same number, and thousands of them would.
await() {
	local pid=$1 every=$(($2 * 5)) ticks=0
	shift 2
	while kill -0 "$pid" 2>/dev/null; do
		in_read=1
		read -r -t 0.2 -u "$silence" || true
		in_read=
		[ -z "$signal_to_end" ] || on_signal "$signal_to_end"
		ticks=$((ticks + 1))
		[ $((ticks % every)) -ne 0 ] || "$@"
	done
	wait "$pid"
}

# run_logged LOG WHAT COMMAND...
# Runs COMMAND with its output added to LOG, and reports every 20 s that WHAT is still running, with what the script's function
# note_progress prints, if it has one. Returns COMMAND's status, if that is not 0 after showing what the function show_failure prints, or
# the end of the log. While it runs, $running_group is its process group. It is ended when the script ends, also by SIGKILL, unless
# $let_finish is set.
running_group='' running_what='' running_since=0 let_finish=''
say_progress() {
	local note=
	if declare -F note_progress >/dev/null; then note=$(note_progress); fi
	say "$running_what: $((SECONDS - running_since)) s${note:+, $note}"
}
run_logged() {
	local output=$1 status=0 guard=(setpriv --pdeathsig TERM)
	running_what=$2 running_since=$SECONDS
	shift 2
	say "$running_what"
	[ -z "$let_finish" ] || guard=()
	: >>"$output" || return
	# In its own session a niceness only counts against that session's processes if the kernel groups by sessions, so the group is
	# given it too.
	# shellcheck disable=SC2016 # the inner shell expands it
	setsid "${guard[@]}" sh -c '{ nice >/proc/self/autogroup; } 2>/dev/null; exec "$@"' sh "$@" >>"$output" 2>&1 </dev/null 8>&- &
	running_group=$!
	await "$running_group" 20 say_progress || status=$?
	running_group=
	if [ "$status" -ne 0 ]; then
		if declare -F show_failure >/dev/null; then show_failure >&2; else tail -n 25 "$output" >&2; fi
		say "failed: $running_what (exit $status); the whole log is $output"
	fi
	running_what=
	return "$status"
}

# Ends what run_logged runs, or waits for its end if $let_finish is set.
stop_running() {
	[ -n "$running_group" ] || return 0
	if [ -n "$let_finish" ]; then
		say "waiting for $let_finish"
	else
		kill -TERM -- "-$running_group" 2>/dev/null
	fi
	wait "$running_group"
	running_group=
	return 0
}
