#!/bin/bash
# Every fault point in turn: tests/fault_sweep_test tries one of 23 in the plain
# tests; this tries them all, in some six minutes.
set -euo pipefail
cd "$(dirname "$0")/../.."
bazel test //tests:fault_sweep_test --test_env=NEXTWORD_SWEEP_STRIDE=1 \
  --nocache_test_results --test_output=all --test_timeout=3600 2>&1 |
  grep -aE 'calls tried|^\[  |Failure|PASSED|FAILED'
