#!/bin/bash
# kubernetes.sh [--install]: configs/cluster/kubernetes.yaml without a cluster.
# The manifest is held against the schemas of Kubernetes' API, which the Python
# package kubernetes-validate brings; --install fetches it into a virtual
# environment in the test's folder. Then its command runs here, once for each
# pod, and pods are lost and replaced: the bits must be those of one plain
# process.
#
# What only a cluster can show: that pods are made, find each other by name,
# and get GPUs and the volume.
set -euo pipefail
. "$(dirname "$0")/common.sh"

manifest=$root/configs/cluster/kubernetes.yaml
check=$root/tests/cluster/kubernetes_manifest.py
python=python3
pods=()
stop() { end_processes; }

find_package() {
  if "$python" -c 'import kubernetes_validate' 2>/dev/null; then return; fi
  if [ "$install" = no ]; then
    echo "$test_name: skipped, Python's package kubernetes-validate is not" \
      "installed; $0 --install fetches it for this run" >&2
    exit 77
  fi
  "$python" -m venv "$work/venv"
  python=$work/venv/bin/python
  "$python" -m pip install --quiet --disable-pip-version-check \
    kubernetes-validate > "$work/pip.log" 2>&1 ||
    fail "pip could not install kubernetes-validate"
}

# The manifest's command, for this machine: the same options, but for the
# addresses, one rank in each pod, and the configuration.
read_command() {
  local word option
  command=()
  mapfile -t words < <("$python" "$check" --command "$manifest")
  train_command pods
  free_port
  for word in "${words[@]}"; do
    case $word in
      nextword) command+=("$work/nextword") ;;
      --nproc=*) command+=(--nproc=1) ;;
      --coordinator=* | --listen=*)
        option=${word%%=*}
        command+=("$option=127.0.0.1:$port")
        ;;
      /runs/my.textproto)
        command+=("$work/config.textproto" "${train[@]:3}")
        ;;
      *) command+=("$word") ;;
    esac
  done
}

# start_pod INDEX: what Kubernetes does, as far as a launcher sees it.
start_pod() {
  JOB_COMPLETION_INDEX=$1 NEXTWORD_TOKEN=of-the-secret "${command[@]}" \
    >> "$work/pod-$1.log" 2>&1 < /dev/null &
  pods[$1]=$!
}
lose_pod() {
  kill -9 "${pods[$1]}"
  wait "${pods[$1]}" 2>/dev/null || true
}
reached() { grep -qF "[rank 0] step $1/" "$work/pod-0.log" 2>/dev/null; }
resumed() { [ "$(grep -c 'resumed from' "$work/pod-0.log")" -eq "$1" ]; }

begin
find_package
write_config
"$python" - <<'END'
import importlib.metadata
print("kubernetes-validate", importlib.metadata.version("kubernetes-validate"))
END
row what weights,moments seen
"$python" "$check" "$manifest"

# A check that finds nothing wrong may look at nothing.
sed -e 's/completionMode:/completionMoed:/' "$manifest" > "$work/wrong.yaml"
if "$python" "$check" "$work/wrong.yaml" > "$work/wrong.log" 2>&1; then
  fail "the check does not see a field that there is not"
fi
grep -q completionMoed "$work/wrong.log" || fail "the check does not name it"
sed -e 's/--nnodes=4/--nnodes=3/' "$manifest" > "$work/wrong.yaml"
if "$python" "$check" "$work/wrong.yaml" > "$work/wrong.log" 2>&1; then
  fail "the check does not see a wrong --nnodes"
fi
rm "$work/wrong.log"

train_alone
row "one plain process" "$(sum_of alone)" "trains"
read_command
for pod in 0 1 2 3; do start_pod "$pod"; done
wait_for 60 "step 100" reached 100
lose_pod 2
# Kubernetes would take longer for a new one.
wait_for 30 "an abort" grep -qF "the job was aborted" "$work/pod-1.log"
start_pod 2
wait_for 60 "a second start" resumed 1
row "pod 2 lost and replaced" - "all go on"
wait_for 60 "step 200" reached 200
lose_pod 0
start_pod 0
for pod in 0 1 2 3; do
  wait "${pods[pod]}" || fail "pod $pod: exit code $?"
done
expect_same_bits pods
resumed 2 || fail "wanted two starts after the first"
row "pod 0 lost, then the end" "$(sum_of pods)" "4 pods of 1 rank"
