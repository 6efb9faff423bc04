#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# The cluster's names, in a pod: dnsmasq serves <service>.<namespace>.svc.cluster.local from a file that is written anew whenever a Service or its
# endpoints change. A headless Service has its pods' addresses, one of type ExternalName that of the Service it names.
# shellcheck disable=SC2016,SC3045 # templates of kubectl's; the shell is busybox's, whose read has a time limit
set -u
hosts=/tmp/hosts
domain=svc.cluster.local

# namespace, name, type, cluster IPs, external name
services='{{range .items}}{{.metadata.namespace}} {{.metadata.name}} {{.spec.type}} {{if .spec.clusterIPs}}{{range $index, $address := .spec.clusterIPs}}{{if $index}},{{end}}{{$address}}{{end}}{{else}}-{{end}} {{if .spec.externalName}}{{.spec.externalName}}{{else}}-{{end}}{{"\n"}}{{end}}'
# namespace, name, address
endpoints='{{range .items}}{{$namespace := .metadata.namespace}}{{$name := .metadata.name}}{{range .subsets}}{{range .addresses}}{{$namespace}} {{$name}} {{.ip}}{{"\n"}}{{end}}{{end}}{{end}}'

write_names() {
	kubectl get services -A -o go-template="$services" >/tmp/services && kubectl get endpoints -A -o go-template="$endpoints" >/tmp/endpoints || return
	awk -v domain="$domain" '
		function write_lines(list, name, each, count, i) { count = split(list, each, ","); for (i = 1; i <= count; i++) print each[i], name }
		FILENAME == "/tmp/services" {
			name = $2 "." $1 "." domain
			if ($3 == "ExternalName") external[name] = $5
			else if ($4 == "None") headless[name] = 1
			else if ($4 != "-") { addresses[name] = $4; write_lines($4, name) }
			next
		}
		{ name = $2 "." $1 "." domain; if (name in headless) print $3, name }
		END { for (name in external) { sub(/\.$/, "", external[name]); if (external[name] in addresses) write_lines(addresses[external[name]], name) } }
	' /tmp/services /tmp/endpoints >$hosts.new
	if ! cmp -s $hosts.new $hosts; then
		mv $hosts.new $hosts
		kill -HUP "$server" 2>/dev/null
	fi
}

: >$hosts
dnsmasq --keep-in-foreground --user=root --no-resolv --no-hosts --addn-hosts=$hosts --local=/cluster.local/ --log-facility=- &
server=$!
# A watch ends now and then, and with the API server; then everything is read again.
follow() {
	while kill -0 "$server"; do
		kubectl get "$1" -A --watch -o name
		sleep 1
	done
}
{ follow services & follow endpoints & wait; } | while read -r _; do
	while read -r -t 1 _; do :; done # changes come in groups
	write_names
done
