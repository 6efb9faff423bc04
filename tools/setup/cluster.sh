#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Gets ready what `sluice lab cluster up` runs, once per machine: Debian's packages, Kubernetes 1.20.2 built from Debian's source, the images of
# the pods.
#
#   tools/setup/cluster.sh [--with NAME]...
#
# --with builds another program of that source, as kubernetes.sh has it. The last line on stdout is the folder of the programs.
# shellcheck source=tools/setup/lib.sh
. "$(dirname "$0")/lib.sh"
case ${1-} in -h | --help) usage; exit 0 ;; esac

cd "$(dirname "$0")/../.."
tools/setup/deps.sh cluster || end $? # it has reported why
bin=$(tools/setup/kubernetes.sh --with kubectl --with kubelet --with kube-controller-manager --with kube-scheduler --with agnhost "$@") || end $?
bin=${bin##*$'\n'}
cache=$(cache_folder)/cluster
writes_to=("$cache")
mkdir -p "$cache"
lock "$cache" "making the cluster's images"
tools/cluster/images.py --programs "$bin" --out "$cache/images"
echo "$bin"
