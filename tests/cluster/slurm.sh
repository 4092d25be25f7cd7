#!/bin/bash
# slurm.sh [--install]: a Slurm cluster on this machine, a controller and two
# nodes, runs configs/cluster/slurm.sbatch: through to the end, with a rank
# killed, requeued by the administrator, and requeued by itself as before its
# time limit. Each job must end in the bits of one plain process. Then launchers
# in other steps. The machine's own Slurm and MUNGE, if it has them, are left
# alone.
set -euo pipefail
. "$(dirname "$0")/common.sh"

need_packages slurmctld slurmd slurm-client munge

# Of a job in which this test itself runs.
unset "${!SLURM_@}" "${!SBATCH_@}" "${!SRUN_@}" "${!SALLOC_@}"

stop() {
  # Never the machine's own.
  [ -s "${SLURM_CONF:-}" ] || return
  local job
  for job in $(squeue --noheader --format %i 2>/dev/null); do
    scancel "$job"
  done
  wait_quietly 20 queue_is_empty
  end_processes
}
queue_is_empty() { [ -z "$(squeue --noheader 2>/dev/null)" ]; }

# GPUs and processors are there by the configuration's word alone, so that
# the template can ask for what a real node has.
start_cluster() {
  export SLURM_CONF=$work/slurm.conf
  local user name ctld_port node_ports=() node
  user=$(id -un)
  name=$(hostname -s)
  free_port && ctld_port=$port
  for node in 0 1; do free_port && node_ports[node]=$port; done
  mkdir -p "$work"/{state,n0,n1}
  mkdir "$work/munge"
  (umask 077 && head -c 64 /dev/urandom > "$work/munge/key")
  chmod 711 "$work" "$work/munge"
  cat > "$SLURM_CONF" <<END
ClusterName=nextword
SlurmctldHost=$name(127.0.0.1)
SlurmctldPort=$ctld_port
SlurmUser=$user
SlurmdUser=$user
# Otherwise a requeued job waits for two minutes.
AuthInfo=socket=$work/munge/socket,cred_expire=5
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/%n
SlurmctldPidFile=$work/state/slurmctld.pid
SlurmdPidFile=$work/%n/slurmd.pid
SlurmctldLogFile=$work/state/slurmctld.log
SlurmdLogFile=$work/%n/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
GresTypes=gpu
SlurmdParameters=config_overrides
KillWait=10
NodeName=DEFAULT CPUs=96 Gres=gpu:8
NodeName=n0 NodeHostname=$name NodeAddr=127.0.0.1 Port=${node_ports[0]}
NodeName=n1 NodeHostname=$name NodeAddr=127.0.0.1 Port=${node_ports[1]}
PartitionName=all Nodes=n[0-1] Default=YES MaxTime=INFINITE
END
  touch "$work"/gpu{0..7}
  echo "NodeName=n[0-1] Name=gpu File=$work/gpu[0-7]" > "$work/gres.conf"

  munged --force --foreground --key-file="$work/munge/key" \
    --socket="$work/munge/socket" --pid-file="$work/munge/pid" \
    --seed-file="$work/munge/seed" --log-file="$work/munge/munged.log" \
    > "$work/munge/output.log" 2>&1 &
  wait_for 10 "MUNGE's socket" test -S "$work/munge/socket"
  slurmctld -D > "$work/state/output.log" 2>&1 &
  slurmd -D -N n0 > "$work/n0/output.log" 2>&1 &
  slurmd -D -N n1 > "$work/n1/output.log" 2>&1 &
  wait_for 30 "two idle nodes" both_nodes_are_idle
}
both_nodes_are_idle() {
  [ "$(sinfo --noheader --Node --format %T 2>/dev/null | grep -cx idle)" -eq 2 ]
}

# submit RUN [ARGUMENT...]: sets `job` and `log`. Arguments are train's.
submit() {
  local run=$1
  shift
  train_command "$run"
  log=$work/$run.log
  job=$(cd "$work" && NEXTWORD=$work/nextword RANKS_PER_NODE=1 \
    sbatch --parsable --output="$log" \
    "$root/configs/cluster/slurm.sbatch" "${train[@]}" "$@")
}
# field NAME: of the job, as Slurm shows it.
field() {
  scontrol --oneliner show job "$job" | grep -o " $1=[^ ]*" | cut -d= -f2
}
has_ended() {
  [[ $(field JobState) =~ ^(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)$ ]]
}
# signal_those SIGNAL FILE PATTERN: whose FILE in /proc has it.
signal_those() {
  local process
  for process in $(our_processes); do
    if grep -qsz "$3" "/proc/$process/$2"; then kill -s "$1" "$process"; fi
  done
}
reached() { grep -qF "[rank 0] step $1/" "$log" 2>/dev/null; }

# expect_end STATE RESTARTS
expect_end() {
  wait_for 90 "the end of job $job" has_ended
  [ "$(field JobState) $(field Restarts)" = "$1 $2" ] ||
    fail "job $job: $(field JobState), $(field Restarts) restarts, wanted $*"
}
# What the log says of the second start.
resumed_from() {
  expect "$log" "resumed from $work/"
  grep -o 'resumed from .*' "$log" | sed "s|$work/||" | head -n 1
}

begin
write_config
train_alone
start_cluster
echo "Slurm $(version_of slurmd), MUNGE $(version_of munge)"
row job weights,moments seen
row "one plain process" "$(sum_of alone)" "trains"

submit whole
wait_for 60 "step 50 of job $job" reached 50
# srun knows of the template's 96 processors for each launcher.
scontrol --oneliner show step "$job.0" | grep -q ' TresPerTask=cpu:96' ||
  fail "job $job: its launchers have not the processors that it asked for"
expect_end COMPLETED 0
expect_same_bits whole
row "2 nodes" "$(sum_of whole)" "$(field JobState), $(field NodeList)"

submit killed
wait_for 60 "step 150 of job $job" reached 150
signal_those KILL environ '^RANK=1$'
expect_end COMPLETED 0
expect_same_bits killed
expect "$log" "[launcher] rank 1 "
row "rank 1 killed" "$(sum_of killed)" "$(resumed_from)"

# As an administrator does it, or Slurm after a preemption.
submit requeued
wait_for 60 "step 150 of job $job" reached 150
scontrol requeue "$job"
expect_end COMPLETED 1
expect "$log" "[rank 0] stopped by SIGTERM at step"
expect_same_bits requeued
row "requeued" "$(sum_of requeued)" "$(resumed_from)"

# Begun elsewhere, and requeued before it has a checkpoint of its own: its ranks
# were killed, and its script had no time to see it.
submit begun --resume "$work/alone/checkpoints/step-00000200"
wait_for 60 "step 210 of job $job" reached 210
signal_those STOP cmdline '/slurm_script$'
signal_those KILL environ '^RANK='
scontrol requeue "$job"
expect_end COMPLETED 1
expect_same_bits begun
[ "$(grep -c "resumed from $work/alone/" "$log")" -eq 2 ] ||
  fail "$log: wanted two lines with \"resumed from $work/alone/\""
row "begun elsewhere" "$(sum_of begun)" "$(resumed_from)"

# Slurm's signal before the time limit, without the wait for it.
submit warned
wait_for 60 "step 150 of job $job" reached 150
scancel --batch --signal=USR1 "$job"
expect_end COMPLETED 1
expect "$log" "[rank 0] stopped by SIGUSR1 at step"
expect_same_bits warned
row "time nearly up" "$(sum_of warned)" "$(resumed_from)"

# A mistake of the user's is not tried again.
submit mistaken --set model.layerz=3
expect_end FAILED 0
expect "$log" layerz
row "mistaken" - "$(field JobState), $(field Restarts) restarts"

# A step may have fewer nodes than its job; a launcher that no srun started
# knows of none.
log=$work/step.log
salloc --nodes=2 srun --nodes=1 --relative=1 \
  "$work/nextword" launch --nproc 2 -- version > "$log" 2>&1 ||
  fail "a step of one node: exit code $?"
expect "$log" "[rank 1] protobuf"
row "one node of two" - "$(grep -c '] protobuf' "$log") ranks"
log=$work/no_step.log
if salloc --nodes=2 "$work/nextword" launch -- version > "$log" 2>&1; then
  fail "a job of two nodes without srun: exit code 0"
fi
expect "$log" "this Slurm job has 2 nodes, but no srun started this launcher"
row "two nodes, no srun" - "refused"
