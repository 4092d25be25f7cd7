#!/usr/bin/env python3
"""The time that a training step takes at least on a device that is not here.

    bazel build //tools:nextword
    tools/bench/roofline.py --flops 989e12 --bandwidth 3.35e12 \\
        --config configs/gpt2_124m.textproto --set compute_dtype=BF16

Takes steps here, on the CPU, and counts one: each kernel's operations of matrix
products, and the bytes that it reads and writes. A kernel's floor is the larger
of operations / FLOPS and bytes / BANDWIDTH; the step's is their sum, for kernels
run one after the other.
"""

import argparse
import json
import pathlib
import subprocess
import sys

parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--config", required=True)
parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE")
parser.add_argument("--flops", type=float, required=True,
                    help="of matrix products a second")
parser.add_argument("--flops8", type=float,
                    help="the same in eight bits; by default twice as many")
parser.add_argument("--bandwidth", type=float, required=True,
                    help="bytes read and written a second")
options = parser.parse_args()

repository = pathlib.Path(__file__).resolve().parents[2]
command = [
    repository / "bazel-bin/tools/nextword", "bench", "--what", "step",
    "--json", "--warmup", "1", "--steps", "1", "--config", options.config
]
for override in ["device=CPU"] + options.set:
    command += ["--set", override]
done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
if done.returncode != 0:
    sys.exit(done.returncode)  # It has said why.
step = json.loads(done.stdout)

rows = []
for kernel in step["kernels"]:
    quantized = kernel["name"] == "matmul_quantized"
    compute = kernel["flops_per_step"] / (
        (options.flops8 or 2 * options.flops) if quantized else options.flops)
    memory = kernel["bytes_per_step"] / options.bandwidth
    rows.append((max(compute, memory), kernel, compute > memory))
rows.sort(key=lambda row: -row[0])
floor = sum(row[0] for row in rows)

print("| kernel | calls | TFLOP | GB | floor, ms | share | bound by |")
print("| --- | --- | --- | --- | --- | --- | --- |")
for seconds, kernel, computes in rows:
    print(f"| {kernel['name']} | {kernel['calls_per_step']:g} "
          f"| {kernel['flops_per_step'] / 1e12:.3f} "
          f"| {kernel['bytes_per_step'] / 1e9:.2f} | {seconds * 1e3:.2f} "
          f"| {seconds / floor:.1%} "
          f"| {'products' if computes else 'memory'} |")
tokens = step["tokens_per_step"]
print(f"\n{tokens} tokens a step of at least {floor * 1e3:.1f} ms: at most "
      f"{tokens / floor:,.0f} tokens/s, {step['flops_per_step'] / floor / options.flops:.1%} "
      "of the products' peak by the usual count of operations.")
