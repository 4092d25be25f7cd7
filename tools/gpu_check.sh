#!/bin/bash
# gpu_check.sh [--text 'FILES'] [--quick]: what this bundle does here.
#
# Runs the tests, trains a small model on the GPU and on the CPU, resumes it on
# either, generates, measures, and looks at every access with compute-sanitizer;
# prints one table. Exits with 0 when nothing failed. Without a GPU, what needs
# one is skipped. FILES is the text to train on, as absolute paths, by default the
# documentation.
# --quick leaves out compute-sanitizer, which takes minutes, and tests of ranks.
# What programs printed is in gpu_check/.
set -uo pipefail
cd "$(dirname "$0")"

text='docs/*.md'
sanitize=yes
while [ $# -gt 0 ]; do
  case "$1" in
    --text) text=${2:?gpu_check.sh: --text wants FILES}; shift 2 ;;
    --quick) sanitize=no; shift ;;
    *) echo "gpu_check.sh: takes --text 'FILES' and --quick, not '$1'" >&2
       exit 2 ;;
  esac
done

# Where CUDA's libraries are: a toolkit's, or NVIDIA's packages for Python.
packages() {
  python3 -c 'import glob, site, sys
for folder in {*site.getsitepackages(), site.getusersitepackages(), *sys.path}:
    print(*glob.glob(f"{folder}/nvidia/*/'"$1"'"), sep="\n")' 2>/dev/null
}
for folder in "${CUDA_HOME:-/usr/local/cuda}"/lib64 $(packages lib); do
  [ -d "$folder" ] || continue
  export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
done

rm -rf gpu_check runs/gpu_check*
mkdir -p gpu_check
rows=()
failed=0

# row NAME RESULT SECONDS DETAIL
row() {
  rows+=("$(printf '%-30s %-8s %5s s  %s' "$1" "$2" "$3" "$4")")
  echo "${rows[-1]}"
  if [ "$2" = FAILED ]; then failed=1; fi
}

# check NAME COMMAND...: a row; the last line of output is the detail.
check() {
  local name=$1 start=$SECONDS result=ok log
  shift
  log=gpu_check/$(printf '%02d' ${#rows[@]})${name//[^A-Za-z0-9]/_}.log
  "$@" >"$log" 2>&1 || result=FAILED
  local detail
  detail=$(tr '\r' '\n' <"$log" | grep -av '^ *$' | tail -n 1)
  if [ "$result" = ok ] && grep -q '^\[  PASSED  \] 0 tests' "$log"; then
    result=skipped
  fi
  row "$name" "$result" $((SECONDS - start)) "${detail:0:80}"
}

skip() { row "$1" skipped 0 "$2"; }

train() {  # RUN [OPTION...]
  local run=$1
  shift
  ./nextword train --config gpu_check.textproto --set "data.source=$text" \
    --set "data.cache_dir=runs/gpu_check_data" --set "run_dir=runs/$run" "$@"
}

# losses RUN: one a step.
losses() {
  sed -nE 's/.*"step":([0-9]+),"loss":([^,}]*).*/\1 \2/p' \
    "runs/$1/metrics.jsonl"
}

# near RUN OTHER TOLERANCE: fails when some step's losses differ by more,
# relative to the first.
near() {
  paste -d' ' <(losses "$1") <(losses "$2") | awk -v most="$3" '
    NF == 4 && $1 == $3 {
      d = ($2 - $4) / $2; d = d < 0 ? -d : d
      if (d > worst) worst = d
      last = $2; ++n
    }
    NF != 4 || $1 != $3 { print "steps differ: " $0; bad = 1 }
    END {
      printf "%d losses, the last %.4f, differ by %.2g at most; allowed %g\n",
             n, last, worst, most
      exit bad || n == 0 || worst > most
    }'
}

same_bits() {  # RUN OTHER STEP
  local step
  step=$(printf 'checkpoints/step-%08d/model.safetensors' "$3")
  cmp "runs/$1/$step" "runs/$2/$step" && echo "equal: $(xxh "runs/$1/$step")"
}
xxh() { sha256sum "$1" | cut -c1-16; }

# resume RUN NEW DEVICE: NEW goes on from the middle of RUN on DEVICE.
resume() {
  train "$2" --resume "runs/$1/checkpoints/step-00000020" --set "device=$3"
}

learns() {  # RUN FACTOR: the last loss is below FACTOR times the first.
  losses "$1" | awk -v factor="$2" '
    NR == 1 { first = $2 } { last = $2 }
    END {
      printf "loss %.3f, then %.3f\n", first, last
      exit !(last > 0 && last < factor * first)
    }'
}

# speed WHAT SETTINGS: times steps of GPT-2 124M.
speed() {
  local what=$1
  shift
  check "GPT-2 124M, $what" ./nextword bench --what step --steps 10 \
    --config configs/gpt2_124m.textproto --set device=CUDA \
    --set model.vocab_size=50304 --set batch.lanes=1 \
    --set batch.micro_batches=1 --set batch.micro_batch=16 "$@"
}

check "version" ./nextword version
gpu=no
if ./nextword version | grep -q '^devices.*cuda'; then
  gpu=yes
elif [ -e /dev/nvidia0 ]; then
  row "GPU" FAILED 0 "there is one, but no driver for it that is new enough"
fi

for test in tests/*_test; do
  cases='*'
  # Ranks in one process say nothing of this machine; two processes below do.
  if [ "$sanitize" = no ]; then cases='-*Shard*:*Rank*'; fi
  check "${test#tests/}" "$test" --gtest_brief=1 "--gtest_filter=$cases"
done

check "train, CPU, f32" train gpu_check_cpu --set device=CPU
check "  learns" learns gpu_check_cpu 0.9
check "  resumed, same bits" eval 'resume gpu_check_cpu gpu_check_again CPU &&
  same_bits gpu_check_cpu gpu_check_again 40'
check "two ranks, CPU" ./nextword launch --nproc 2 -- train \
  --config gpu_check.textproto --set "data.source=$text" \
  --set data.cache_dir=runs/gpu_check_data --set run_dir=runs/gpu_check_ranks \
  --set device=CPU
check "  same bits as one" same_bits gpu_check_cpu gpu_check_ranks 40
check "generate, CPU" ./nextword generate --checkpoint runs/gpu_check_cpu \
  --device CPU --prompt "The" --tokens 40
if [ "$gpu" = yes ]; then
  check "train, GPU, f32" train gpu_check_gpu --set device=CUDA
  check "  losses as the CPU's" near gpu_check_cpu gpu_check_gpu 1e-4
  check "  once more, same bits" eval 'train gpu_check_gpu2 --set device=CUDA &&
    same_bits gpu_check_gpu gpu_check_gpu2 40'
  check "  resumed, same bits" eval 'resume gpu_check_gpu gpu_check_gpu3 CUDA &&
    same_bits gpu_check_gpu gpu_check_gpu3 40'
  check "  CUDA graph, same bits" eval 'train gpu_check_graph \
    --set device=CUDA --set cuda_graph=true &&
    same_bits gpu_check_gpu gpu_check_graph 40'
  check "  CPU's, resumed on the GPU" resume gpu_check_cpu gpu_check_mixed CUDA
  check "  GPU's, resumed on the CPU" resume gpu_check_gpu gpu_check_mixed2 CPU
  check "train, GPU, bf16" train gpu_check_bf16 --set device=CUDA \
    --set compute_dtype=BF16
  check "  losses near f32's" near gpu_check_gpu gpu_check_bf16 2e-2
  check "  in any order" train gpu_check_any --set device=CUDA \
    --set compute_dtype=BF16 --set deterministic=false
  check "  losses near bf16's" near gpu_check_bf16 gpu_check_any 1e-2
  check "train, GPU, eight bits" train gpu_check_fp8 --set device=CUDA \
    --set compute_dtype=FP8
  check "  losses near bf16's" near gpu_check_bf16 gpu_check_fp8 3e-2
  check "  products by cuBLASLt" bash -c \
    '! grep -h "matmul_quantized runs as several kernels" gpu_check/*eight_bits.log'
  check "  CUDA graph, same bits" eval 'train gpu_check_fp8_graph \
    --set device=CUDA --set compute_dtype=FP8 --set cuda_graph=true &&
    same_bits gpu_check_fp8 gpu_check_fp8_graph 40'
  check "train, GPU, documents" train gpu_check_documents --set device=CUDA \
    --set compute_dtype=BF16 --set data.document_mask=true
  check "  attention by cuDNN" env NEXTWORD_ATTENTION=cudnn tests/cuda_test \
    --gtest_brief=1 '--gtest_filter=*LongDocuments*'
  check "generate, GPU" ./nextword generate --checkpoint runs/gpu_check_gpu \
    --device CUDA --prompt "The" --tokens 40
  check "two NCCL ranks, f32" ./nextword launch --nproc 2 -- train \
    --config gpu_check.textproto --set "data.source=$text" \
    --set data.cache_dir=runs/gpu_check_data --set run_dir=runs/gpu_check_two \
    --set device=CUDA
  check "  same bits as one" same_bits gpu_check_gpu gpu_check_two 40
  speed "bf16" --set compute_dtype=BF16
  speed "bf16, graph" --set compute_dtype=BF16 --set cuda_graph=true
  speed "bf16, any order" --set compute_dtype=BF16 --set deterministic=false
  speed "bf16 stream, too" --set compute_dtype=BF16 \
    --set model.residual_in_bf16=true
  speed "eight bits" --set compute_dtype=FP8
  speed "eight bits, graph" --set compute_dtype=FP8 --set cuda_graph=true
else
  skip "training on a GPU" "no GPU"
fi

sanitizer=$(command -v compute-sanitizer ||
  ls "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer" \
    $(packages bin/compute-sanitizer) 2>/dev/null | head -n 1)
if [ "$gpu" = no ] || [ "$sanitize" = no ]; then
  skip "compute-sanitizer" "$([ "$gpu" = no ] && echo 'no GPU' || echo --quick)"
elif [ -z "$sanitizer" ]; then
  skip "compute-sanitizer" "not found in PATH, CUDA_HOME or Python's packages"
else
  for tool in memcheck racecheck initcheck; do
    # Our own kernels; the libraries' are NVIDIA's to check. One test runs out of
    # memory on purpose.
    for test in cuda_test cuda_quantize_test cuda_rows_test; do
      check "$tool, $test" "$sanitizer" --tool "$tool" --error-exitcode 9 \
        --kernel-name kernel_substring=nextword \
        "tests/$test" --gtest_brief=1 '--gtest_filter=-*OutOfMemory*'
    done
  done
fi

echo
printf '%s\n' "${rows[@]}"
if [ "$failed" = 0 ]; then
  echo "gpu_check.sh: nothing failed"
else
  echo "gpu_check.sh: something FAILED; see gpu_check/*.log" >&2
fi
exit "$failed"
