#!/bin/bash
# over_ssh.sh HOSTS NPROC COMMAND...: trains on machines that ssh reaches.
#
#   over_ssh.sh hosts.txt 8 train --config /shared/my.textproto
#
# HOSTS is a file with a host a line (empty lines and # are skipped). The first
# one is node 0, and its name must lead to it from the others. NPROC ranks run
# on each. The program, the config, data and run_dir must lie at the same path
# everywhere.
#
# Variables: NEXTWORD, the program there (nextword); NEXTWORD_PORT, a free port
# of node 0 (29400); NEXTWORD_SSH, what takes HOST COMMAND and runs it there.
#
# When a launcher fails, the others are ended, and the exit code is that of the
# first to fail. Ctrl-C stops all; they save, and the exit code is 85.
set -euo pipefail

if [ $# -lt 3 ]; then
  echo "usage: over_ssh.sh HOSTS NPROC COMMAND..." >&2
  exit 2
fi
mapfile -t hosts < <(sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$1")
nproc=$2
shift 2
if [ ${#hosts[@]} -eq 0 ]; then
  echo "over_ssh.sh: the list of hosts is empty" >&2
  exit 2
fi
read -r -a ssh <<< \
  "${NEXTWORD_SSH:-ssh -T -o BatchMode=yes -o ServerAliveInterval=15}"

# On no command line, which every user of a machine can read: the hosts get it
# as the first line of standard input.
token=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
run_id=over-ssh-$(date +%s)-$$

# Arguments as one text that a shell takes apart again.
quote() {
  local argument
  for argument in "$@"; do
    printf "'%s' " "${argument//\'/\'\\\'\'}"
  done
}

# On a host: reads the token, runs $@, and ends it when standard input does,
# which is when this script, its machine or the connection is gone.
there='IFS= read -r NEXTWORD_TOKEN || exit 1
export NEXTWORD_TOKEN
exec 3<&0 </dev/null
"$@" 3<&- &
launcher=$!
(cat <&3; kill -TERM "$launcher") >/dev/null 2>&1 &
status=0
wait "$launcher" || status=$?
kill $! 2>/dev/null
exit "$status"'

# While this process lives, so does the standard input of all hosts. It dies
# with the script.
tail -f /dev/null --pid=$$ >/dev/null 2>&1 &
holder=$!
trap 'kill "$holder" 2>/dev/null || true' INT TERM HUP EXIT

# Runs the launcher of host number $1, then says how it ended on descriptor 4.
run() {
  local node=$1 status=0
  shift
  "${ssh[@]}" "${hosts[node]}" "$(quote sh -c "$there" sh \
    "${NEXTWORD:-nextword}" launch --nproc "$nproc" \
    --nnodes "${#hosts[@]}" --node-rank "$node" --run-id "$run_id" \
    --coordinator "${hosts[0]}:${NEXTWORD_PORT:-29400}" -- "$@")" \
    4>&- < <(
      printf '%s\n' "$token"
      exec tail -f /dev/null --pid="$holder" 2>/dev/null 3>&- 4>&-
    ) || status=$?
  echo "$node $status" >&4
}

exec 3>&1
status=0
stopped=0
while read -r node code; do
  if [ "$code" -eq 85 ]; then stopped=$code && continue; fi
  [ "$code" -ne 0 ] && [ "$status" -eq 0 ] || continue
  status=$code
  echo "over_ssh.sh: the launcher on ${hosts[node]} ended with exit code" \
    "$code; ending the others" >&2
  kill "$holder" 2>/dev/null || true
done < <(
  trap '' INT TERM HUP  # The launchers are ended by their input.
  for node in "${!hosts[@]}"; do
    run "$node" "$@" 4>&1 >&3 &
  done
  wait
)
if [ "$status" -eq 0 ]; then status=$stopped; fi
exit "$status"
