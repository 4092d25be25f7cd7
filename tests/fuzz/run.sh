#!/bin/bash
# run.sh [SECONDS=600] [TARGET...]: fuzzes the parsers of files, each for SECONDS.
#
# A TARGET is a folder of corpus/, or rendezvous; by default all of them, one
# after the other. Each starts from a copy of its corpus and stops at its first
# finding. Prints one line per target; exits with 0 when nothing was found.
# Findings stay in the folder that is printed, named as libFuzzer names them.
# What is missing of clang 14 is installed. Builds apart from other builds, in
# the user's cache.
set -euo pipefail
cd "$(dirname "$0")/../.."

seconds=${1:-600}
if ! [[ "$seconds" =~ ^[1-9][0-9]*$ ]]; then
  echo "run.sh: SECONDS is '$seconds', wanted a number above 0" >&2
  exit 2
fi
targets=("${@:2}")
known=(config manifest metrics rendezvous safetensors token_file tokenizer)
if [ ${#targets[@]} -eq 0 ]; then targets=("${known[@]}"); fi
labels=()
for target in "${targets[@]}"; do
  labels+=("//tests/fuzz:${target}_fuzzer")
  if ! [[ " ${known[*]} " == *" $target "* ]]; then
    echo "run.sh: there is no target $target, only ${known[*]}" >&2
    exit 2
  fi
done

packages=(clang-14 libclang-rt-14-dev libomp-14-dev)
if ! dpkg-query --show --showformat='${db:Status-Status}\n' "${packages[@]}" \
  2>&1 | awk '$0 != "installed" {exit 1}'; then
  sudo=
  if [ "$(id -u)" -ne 0 ]; then sudo=sudo; fi
  if ! { $sudo apt-get -q update && $sudo env DEBIAN_FRONTEND=noninteractive \
    apt-get -q install --yes --no-install-recommends "${packages[@]}"; }; then
    echo "run.sh: apt could not install ${packages[*]}; see above" >&2
    exit 1
  fi
fi

bazel=(bazel --max_idle_secs=60
  --output_user_root="${XDG_CACHE_HOME:-$HOME/.cache}/nextword/fuzz")
"${bazel[@]}" build --config=fuzz --symlink_prefix=/ --ui_event_filters=-info \
  --noshow_progress "${labels[@]}"
programs=$("${bazel[@]}" info --config=fuzz bazel-bin 2>/dev/null)/tests/fuzz

folder=$(mktemp -d)
memory=$folder/memory
if [ -w /dev/shm ]; then memory=/dev/shm/nextword_${folder##*/}; fi
trap 'rm -rf "$memory"; rmdir --ignore-fail-on-non-empty "$folder"' EXIT
export NEXTWORD_FUZZ_FOLDER=$memory
# Libraries are not instrumented, so that ASan knows less of their containers.
export ASAN_OPTIONS=detect_container_overflow=0
export OMP_NUM_THREADS=1

fuzz() {
  local target=$1 work=$folder/$1
  mkdir -p "$work/corpus" "$work/findings"
  cp tests/fuzz/corpus/"$target"/* "$work/corpus" 2>/dev/null || true
  # Words that a parser may know.
  grep -raohE '[A-Za-z_][A-Za-z0-9_]{2,30}' "$work/corpus" \
    configs/train_config.proto distributed/manifest.proto | sort -u |
    sed 's/.*/"&"/' >"$work/words"
  local start=$SECONDS status=0 again=yes left slow
  while [ "$again" = yes ]; do
    left=$((seconds - (SECONDS - start)))
    if [ "$left" -le 0 ]; then break; fi
    again=no status=0
    "$programs/${target}_fuzzer" -max_total_time="$left" -max_len=4096 \
      -timeout=10 -report_slow_units=999 -print_final_stats=1 \
      -dict="$work/words" -artifact_prefix="$work/findings/" \
      "$work/corpus" >>"$work/log" 2>&1 || status=$?
    # A machine that stands still for a while makes any input seem slow.
    for slow in "$work"/findings/timeout-*; do
      [ -e "$slow" ] || continue
      if "$programs/${target}_fuzzer" -timeout=10 "$slow" >>"$work/log" 2>&1
      then
        rm "$slow"
        again=yes status=0
      fi
    done
  done
  local found
  found=$(find "$work/findings" -type f | wc -l)
  if [ "$status" -ne 0 ] && [ "$found" -eq 0 ]; then found=1; fi
  awk -v target="$target" -v found="$found" '
    {for (i = 1; i < NF; ++i) if ($i == "cov:") last = $(i + 1)}
    $2 == "INITED" && first == "" {first = last}
    $1 == "stat::number_of_executed_units:" {runs += $2}
    $1 == "stat::new_units_added:" {added += $2}
    END {
      printf "%s: %d runs, %d new inputs, coverage %d to %d, %d findings\n",
        target, runs, added, first, last, found
    }' "$work/log"
  if [ "$found" -eq 0 ]; then
    rm -rf "$work"
    return 0
  fi
  grep -E -m1 'check failed|runtime error|ERROR: ' "$work/log" || true
  echo "  see $work"
  return 1
}

status=0
for target in "${targets[@]}"; do fuzz "$target" || status=1; done
exit "$status"
