#!/bin/bash
# From a fresh machine to generated text: installs what is missing, builds,
# fetches the corpus, trains a small model on the CPU, evaluates it on a novel
# that it never saw, and lets it write. Run again, it continues where it was
# stopped and skips what is done.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh
bazel build //tools:nextword
tools/fetch_corpus.sh

nextword=bazel-bin/tools/nextword
run=runs/quickstart

$nextword train --config configs/quickstart.textproto --resume auto
$nextword eval --checkpoint "$run"
$nextword generate --checkpoint "$run" --tokens 200 \
  --prompt "Elizabeth could not"
