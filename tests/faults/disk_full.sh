#!/bin/bash
# disk_full.sh [BINARY]: trains in a file system that is full when a checkpoint
# is due: with checkpoint.on_failure STOP the run ends and says why, with GO_ON
# it goes on. Prints what it sees; exit code 0: all as it should be, 77: no small
# file system can be mounted here.
set -euo pipefail
binary=$(realpath "${1:-$(dirname "$0")/../../bazel-bin/tools/nextword}")

if [ -z "${DISK_FULL_INSIDE:-}" ]; then
  unshare --mount --map-root-user true 2>/dev/null || exit 77
  exec env DISK_FULL_INSIDE=1 unshare --mount --map-root-user "$0" "$binary"
fi

folder=$(mktemp -d)
trap 'cd /; umount "$folder/disk" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
mkdir disk
mount -t tmpfs -o size=24m none disk || exit 77
for i in $(seq 3000); do
  echo "the quick brown fox jumps over the lazy dog and back again"
done > text.txt
cat > config.textproto <<'END'
steps: 60
model { layers: 2 hidden_size: 128 num_heads: 4 context_length: 32 }
data { source: "text.txt" cache_dir: "cache" tokenizer_vocab_size: 280 }
batch { micro_batch: 2 }
evaluation { every: 0 }
checkpoint { every: 10 keep: 1 }
log { every: 1 }
END

failed=0
expect() {  # expect WHAT COMMAND...: says whether the command succeeds.
  local what=$1
  shift
  if "$@" > /dev/null 2>&1; then
    echo "ok: $what"
  else
    echo "NOT SO: $what"
    failed=1
  fi
}
train() {  # train RUN [OPTIONS]: the exit code in $code, messages in RUN.log.
  local run=$1
  shift
  code=0
  "$binary" train --config config.textproto --set run_dir="$run" "$@" \
    > /dev/null 2> "$(basename "$run").log" || code=$?
}
same_weights() {
  cmp whole/checkpoints/step-00000060/"$2" "$1"/checkpoints/step-00000060/"$2"
}

train whole
echo "without a full disk: exit code $code," \
  "a checkpoint is $(du -sm whole/checkpoints/step-00000060 | cut -f1) MB"

for asynchronous in true false; do
  echo "on_failure STOP, asynchronous $asynchronous, room for a few:"
  rm -rf disk/*
  train disk/stop --set checkpoint.asynchronous=$asynchronous \
    --set checkpoint.keep=0
  grep -E '^nextword: ' stop.log
  expect "exit code 1 ($code)" [ "$code" = 1 ]
  expect "the message names file and reason" grep -qE \
    'nextword: disk/stop/.*: cannot .*: No space left on device' stop.log
  expect "what was saved before is whole" \
    "$binary" checkpoint verify disk/stop
done

echo "on_failure GO_ON, room again after a while:"
rm -rf disk/*
head -c 18M /dev/zero > disk/ballast
(
  until grep -q 'step 25/' room.log 2> /dev/null; do sleep 0.02; done
  rm disk/ballast
) &
train disk/room --set checkpoint.on_failure=GO_ON --set steps=60
wait
grep -E 'not saved' room.log | head -2
expect "exit code 0 ($code)" [ "$code" = 0 ]
expect "a save failed on the way" grep -q 'not saved' room.log
expect "same weights" same_weights disk/room model.safetensors
expect "same moments" same_weights disk/room optimizer.safetensors

echo "on_failure GO_ON, full to the end:"
rm -rf disk/*
head -c 18M /dev/zero > disk/ballast
train disk/full --set checkpoint.on_failure=GO_ON
grep -E '^nextword: ' full.log
expect "exit code 1 ($code): the last save must succeed" [ "$code" = 1 ]
expect "it trained to the end" grep -q 'step 60/60' full.log
expect "nothing but whole checkpoints is left" \
  [ "$(ls -A disk/full/checkpoints)" = "$(ls disk/full/checkpoints | grep ^step-)" ]
expect "and they verify" "$binary" checkpoint verify disk/full

exit $failed
