#!/bin/bash
# ssh.sh [--install]: configs/cluster/over_ssh.sh with OpenSSH, whose server
# runs at 127.0.0.1 with a configuration and keys of its own: two hosts train to
# the bits of one plain process, with a rank killed on the way, too; a lost
# connection ends what runs on all hosts, and Ctrl-C has it saved.
set -euo pipefail
. "$(dirname "$0")/common.sh"

need_packages openssh-server openssh-client

sshd_folder=/run/sshd  # Cannot be chosen; the system's own server makes it.
made_sshd_folder=no
stop() {
  end_processes
  if [ "$made_sshd_folder" = yes ]; then rmdir "$sshd_folder"; fi
}

start_server() {
  if [ "$(id -u)" -eq 0 ] && [ ! -d "$sshd_folder" ]; then
    mkdir "$sshd_folder"
    made_sshd_folder=yes
  fi
  ssh-keygen -q -t ed25519 -N '' -f "$work/host_key"
  ssh-keygen -q -t ed25519 -N '' -f "$work/user_key"
  free_port
  cat > "$work/sshd_config" <<END
ListenAddress 127.0.0.1:$port
HostKey $work/host_key
AuthorizedKeysFile $work/user_key.pub
AuthenticationMethods publickey
PermitRootLogin prohibit-password
PidFile $work/sshd.pid
UsePAM no
# The folder lies in one that everybody may write to.
StrictModes no
END
  printf '127.0.0.1 %s\nlocalhost %s\n' "$(< "$work/host_key.pub")" \
    "$(< "$work/host_key.pub")" > "$work/known_hosts"
  sed -i -E "s/^(\S+) /[\1]:$port /" "$work/known_hosts"
  cat > "$work/ssh_config" <<END
Port $port
AddressFamily inet
IdentityFile $work/user_key
IdentitiesOnly yes
UserKnownHostsFile $work/known_hosts
StrictHostKeyChecking yes
END
  # over_ssh.sh calls it with the options that it has by itself.
  mkdir "$work/bin"
  printf '#!/bin/sh\nexec %q -F %q "$@"\n' "$(command -v ssh)" \
    "$work/ssh_config" > "$work/bin/ssh"
  chmod +x "$work/bin/ssh"
  /usr/sbin/sshd -D -e -f "$work/sshd_config" > "$work/sshd.log" 2>&1 &
  wait_for 10 "a login at both hosts" both_hosts_answer
}
both_hosts_answer() {
  "$work/bin/ssh" -o BatchMode=yes 127.0.0.1 true 2>/dev/null &&
    "$work/bin/ssh" -o BatchMode=yes localhost true 2>/dev/null
}

# over_ssh RUN [ARGUMENT...]: starts it in the background, as a group of its own
# so that Ctrl-C can be had; sets `job` and `log`. Arguments are train's.
over_ssh() {
  local run=$1
  shift
  train_command "$run"
  log=$work/$run.log
  free_port
  set -m  # In the background, SIGINT is otherwise ignored for good.
  PATH=$work/bin:$PATH NEXTWORD=$work/nextword NEXTWORD_PORT=$port \
    "$root/configs/cluster/over_ssh.sh" "$work/hosts" 1 "${train[@]}" "$@" \
    >> "$log" 2>&1 < /dev/null &
  job=$!
  set +m
}
reached() { grep -qF "[rank 0] step $1/" "$log" 2>/dev/null; }
has_ended() { ! kill -0 "$job" 2>/dev/null; }
launchers() {
  local process
  for process in $(our_processes); do
    if grep -qsz '^launch$' "/proc/$process/cmdline"; then echo "$process"; fi
  done
}
no_launchers() { [ -z "$(launchers)" ]; }

# expect_end CODE: and that nothing runs on.
expect_end() {
  local code=0
  wait_for 90 "the end of over_ssh.sh" has_ended
  wait "$job" || code=$?
  [ "$code" -eq "$1" ] || fail "over_ssh.sh: exit code $code, wanted $1"
  wait_for 15 "the end of the launchers" no_launchers
}

begin
write_config
train_alone
start_server
printf '# This machine, twice.\n127.0.0.1\nlocalhost\n' > "$work/hosts"
echo "OpenSSH $(version_of openssh-server)"
row job weights,moments seen
row "one plain process" "$(sum_of alone)" "trains"

over_ssh whole
wait_for 60 "step 50" reached 50
token=$(for process in $(our_processes); do
  tr '\0' '\n' < "/proc/$process/environ" | sed -n 's/^NEXTWORD_TOKEN=//p'
done 2>/dev/null | sort -u)
[ ${#token} -eq 32 ] || fail "the job's token: ${#token} letters, wanted 32"
if grep -qsF "$token" /proc/[0-9]*/cmdline "$work"/*.log; then
  fail "the token is on a command line or in a log"
fi
expect_end 0
expect_same_bits whole
row "2 hosts" "$(sum_of whole)" "exit code 0"

over_ssh killed
wait_for 60 "step 150" reached 150
for process in $(our_processes); do
  if grep -qsz '^RANK=1$' "/proc/$process/environ"; then kill -9 "$process"; fi
done
expect_end 0
expect "$log" "[launcher] rank 1 "
expect "$log" "resumed from $work/"
expect_same_bits killed
row "rank 1 killed" "$(sum_of killed)" "started again"

over_ssh lost
wait_for 60 "step 150" reached 150
for process in $(our_processes); do
  if grep -qsz '^[^ ]*ssh$' "/proc/$process/cmdline" &&
    grep -qsz '^localhost$' "/proc/$process/cmdline"; then
    kill -9 "$process"
  fi
done
expect_end 137
expect "$log" "over_ssh.sh: the launcher on localhost ended with exit code 137"
row "connection lost" - "$(grep -o 'the launcher on .*' "$log")"

over_ssh lost --resume auto
wait_for 60 "step 250" reached 250
kill -INT -- "-$job"
expect_end 85
expect "$log" "[rank 0] stopped by SIGTERM at step "
row "Ctrl-C" - "$(grep -o 'stopped by .* of 400' "$log")"

over_ssh lost --resume auto
expect_end 0
expect_same_bits lost
row "and started again" "$(sum_of lost)" \
  "$(grep -c 'resumed from' "$log") times resumed"
