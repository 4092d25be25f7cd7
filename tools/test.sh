#!/bin/bash
# test.sh [BAZEL OPTIONS]: installs what is missing and runs every test.
# Options go to Bazel, for instance --config=asan. The last line counts
# GoogleTest cases: "N passed, N failed".
# Exits with 0 only when all passed.
set -euo pipefail
cd "$(dirname "$0")/.."

tools/setup.sh

events=$(mktemp)
trap 'rm -f "$events"' EXIT
status=0
bazel test "$@" --build_event_json_file="$events" //... || status=$?
if [ "$status" -ne 0 ] && [ "$status" -ne 3 ]; then  # 3: some tests failed.
  echo "test.sh: the tests could not be built (Bazel's exit code $status)"
  echo "0 passed, 1 failed"
  exit "$status"
fi

# The events name the reports of exactly this run, cached results included: one
# line "STATUS REPORT" per test.
reports() {
  grep '^{"id":{"testResult"' "$events" | sed -E \
    's|.*"name":"test.xml","uri":"file://([^"]*)".*"status":"(\w*)".*|\2 \1|'
}

# A test that failed outside its cases, in a sanitizer's last check for
# instance, reports no failure and counts as one.
reports | awk '
  function end_case() {
    if (outcome != "") ++count[outcome]
    outcome = ""
  }
  {
    failed_before = count["failed"]
    while ((got = getline line < $2) > 0) {
      if (line ~ /<testcase /) {
        end_case()
        outcome = line ~ /result="(skipped|suppressed)"/ ? "skipped" : "passed"
      }
      if (line ~ /<(failure|error) /) outcome = "failed"
    }
    end_case()
    close($2)
    if (got < 0 || $1 != "PASSED" && count["failed"] == failed_before)
      ++count["failed"]
  }
  END {
    if (count["skipped"]) printf "%d skipped\n", count["skipped"]
    printf "%d passed, %d failed\n", count["passed"], count["failed"]
    exit count["failed"] > 0
  }'
exit "$status"
