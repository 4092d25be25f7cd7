# shellcheck shell=bash disable=SC2034
# Sourced by the tests beside it, with bash and set -euo pipefail: what
# they share. Each works in a folder of its own, $work, which is removed at the
# end, and has a `stop` that ends what it has started.
#
#   TEST.sh [--install]
#
# Exit codes: 0, all was as wanted; 1, something was not; 77, what is needed is
# missing, and --install was not given. NEXTWORD is the program (bazel-bin's).

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
test_name=$(basename "$0")
install=no
case "${1:-}" in
  --install) install=yes ;;
  "") ;;
  *)
    echo "usage: $test_name [--install]" >&2
    exit 2
    ;;
esac

fail() {
  echo "$test_name: $*" >&2
  exit 1
}

# need_packages PACKAGE...: Debian's, installed with --install alone. Nothing
# that they contain is started by it.
need_packages() {
  local package missing=()
  for package in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null |
      grep -qx installed || missing+=("$package")
  done
  if [ ${#missing[@]} -eq 0 ]; then return; fi
  if [ "$install" = no ]; then
    echo "$test_name: skipped, not installed: ${missing[*]};" \
      "$0 --install installs them" >&2
    exit 77
  fi
  # No policy of the machine's own is overwritten.
  local policy=/usr/sbin/policy-rc.d made=no status=0
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    made=yes
  fi
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y \
    -qq --no-install-recommends "${missing[@]}"; } >/dev/null || status=$?
  if [ "$made" = yes ]; then rm -f "$policy"; fi
  [ "$status" -eq 0 ] || fail "apt-get could not install ${missing[*]}"
}

version_of() { dpkg-query -W -f '${Version}' "$1"; }

# Makes $work, and has `stop` called when the script ends, however it does.
begin() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/nextword-cluster.XXXXXX")
  trap 'end $?' EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  local program=${NEXTWORD:-$root/bazel-bin/tools/nextword}
  [ -x "$program" ] || fail "$program: not there; bazel build //tools:nextword"
  # A build that goes on beside the test shall not change it.
  cp "$program" "$work/nextword"
  started=$SECONDS
}

end() {
  local status=$1
  trap '' INT TERM HUP
  trap - EXIT
  set +e
  stop
  if [ "$status" -ne 0 ]; then
    local log
    for log in "$work"/*.log "$work"/*/*.log; do
      if [ -s "$log" ]; then
        printf -- '--- the end of %s\n' "$log" >&2
        tail -n 25 "$log" >&2
      fi
    done
  fi
  # Processes that were just killed may still be writing.
  end_processes
  rm -rf "$work"
  if [ "$status" -eq 0 ]; then
    echo "$test_name: passed in $((SECONDS - started)) s"
  fi
  exit "$status"
}

# Those that this test has started, of whatever parent: they alone have its
# folder's name on their command lines or in their environments.
our_processes() {
  local folder
  for folder in /proc/[0-9]*; do
    case "${folder#/proc/}" in "$$" | "$BASHPID") continue ;; esac
    if grep -qsF "$work" "$folder/cmdline" "$folder/environ"; then
      echo "${folder#/proc/}"
    fi
  done 2>/dev/null
}

end_processes() {
  local signal process
  for signal in TERM TERM KILL KILL; do
    for process in $(our_processes); do
      kill -s "$signal" "$process" 2>/dev/null
    done
    wait_quietly 3 no_processes && return
  done
  echo "$test_name: these do not end: $(our_processes | tr '\n' ' ')" >&2
}

no_processes() { [ -z "$(our_processes)" ]; }

# wait_quietly SECONDS CONDITION...: 0 once the condition holds.
wait_quietly() {
  local until=$((SECONDS + $1))
  shift
  until "$@"; do
    if [ "$SECONDS" -ge "$until" ]; then return 1; fi
    sleep 0.1
  done
}

# wait_for SECONDS WHAT CONDITION...
wait_for() {
  local seconds=$1 what=$2
  shift 2
  wait_quietly "$seconds" "$@" || fail "waited $seconds s for $what, in vain"
}

# A port of 127.0.0.1 at which nobody listens, below those that the system gives
# away by itself; another one each time.
next_port=$((10000 + RANDOM % 8000))
free_port() {
  while (exec 3<> "/dev/tcp/127.0.0.1/$next_port") 2>/dev/null; do
    next_port=$((next_port + 1))
  done
  port=$next_port
  next_port=$((next_port + 1))
}

# The configuration of every run here, some seconds on one processor.
write_config() {
  cat "$root"/docs/*.md > "$work/text.txt"
  cat > "$work/config.textproto" <<END
device: CPU
threads: 1
steps: 400
model {
  layers: 2 hidden_size: 64 num_heads: 4 context_length: 64 position: ROPE
  dropout: 0.1
}
data { source: "$work/text.txt" tokenizer_vocab_size: 512 }
batch { lanes: 8 micro_batch: 2 }
evaluation { every: 200 max_sequences: 16 }
checkpoint { every: 50 keep: 0 }
log { every: 10 }
END
}

# train_command RUN: sets `train`, what a rank is to run.
train_command() {
  train=(train --config "$work/config.textproto" --set "run_dir=$work/$1"
    --set "data.cache_dir=$work/$1-data")
}

train_alone() {
  train_command alone
  "$work/nextword" "${train[@]}" > "$work/alone.log" 2>&1 ||
    fail "a plain process does not train"
}

# What the run's last checkpoint contains, as one number.
sum_of() {
  local folder=$work/$1/checkpoints/step-00000400
  cat "$folder/model.safetensors" "$folder/optimizer.safetensors" |
    sha256sum | cut -c 1-16
}

# expect_same_bits RUN
expect_same_bits() {
  local file folder=checkpoints/step-00000400
  for file in model.safetensors optimizer.safetensors; do
    [ "$(sha256sum < "$work/alone/$folder/$file")" = \
      "$(sha256sum < "$work/$1/$folder/$file")" ] ||
      fail "$1: $file differs from that of a plain process"
  done
}

# expect LOG TEXT: a line of the log contains it.
expect() { grep -qF -- "$2" "$1" || fail "$1: no line contains \"$2\""; }

# row RUN SUM WHAT
row() { printf '%-24s %-18s %s\n' "$1" "$2" "$3"; }
