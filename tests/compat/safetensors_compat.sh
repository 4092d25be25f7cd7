#!/bin/bash
# safetensors_compat.sh [VENV]: our safetensors files in Hugging Face's library,
# and its files in our reader. Builds nextword, installs the library into the
# virtual environment VENV, by default a temporary one, and runs
# safetensors_compat.py. Exits with 0 when both see the same tensors.
set -euo pipefail
cd "$(dirname "$0")/../.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
venv=${1:-$folder/venv}

bazel build //tools:nextword //tests/compat:read_safetensors
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
  safetensors numpy ml_dtypes xxhash
"$venv/bin/python" tests/compat/safetensors_compat.py bazel-bin/tools/nextword \
  bazel-bin/tests/compat/read_safetensors "$folder"
