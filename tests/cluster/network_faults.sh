#!/bin/bash
# network_faults.sh [OPTIONS] [FAULT...]: faults on a network of two hosts.
#
#   bazel build //tools:nextword
#   tests/cluster/network_faults.sh              # all, about four minutes
#   tests/cluster/network_faults.sh link slow    # two of them
#   tests/cluster/network_faults.sh --quick      # under a minute
#
# Trains a small model by two launchers on two hosts, network namespaces that a
# link joins, and does to it what networks, machines and people do. Whatever
# happens, the cause is to be named within 15 s, and the job is to end by itself
# with the weights and moments of a run that nothing disturbed, bit by bit.
# Prints a table; see --help for the options. Exit code 0: all of that was so;
# 1: it was not; 77: this machine lacks what is needed (root, iproute2, ...).
#
# All happens in namespaces of its own (processes, mounts, networks, names),
# which the kernel takes down, however this ends.
set -euo pipefail
cd "$(dirname "$0")/../.."

skip() {
  echo "network_faults.sh: skipped: $*" >&2
  exit 77
}

for argument in "$@"; do
  case $argument in
    -h | --help) exec python3 tests/cluster/network_faults.py --help ;;
  esac
done
[ "$(id -u)" = 0 ] || skip "wanted root, for network namespaces"
for program in ip:iproute2 unshare:util-linux mount:mount hostname:hostname \
  python3:python3; do
  command -v "${program%%:*}" >/dev/null ||
    skip "no ${program%%:*} here (Debian's package ${program##*:})"
done
inside=(unshare --mount --net --pid --fork --kill-child --mount-proc)
"${inside[@]}" true 2>/dev/null ||
  skip "the system lets nobody make namespaces (unshare)"
"${inside[@]}" ip link add name a type veth peer name b 2>/dev/null ||
  skip "the system has no pairs of network devices (veth)"

temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
# In the background, for the shell to hear signals while it waits.
"${inside[@]}" python3 tests/cluster/network_faults.py --folder "$temporary" \
  "$@" &
child=$!
trap 'kill -KILL "$child"; wait "$child" || true; exit 130' INT TERM HUP
status=0
wait "$child" || status=$?
exit "$status"
