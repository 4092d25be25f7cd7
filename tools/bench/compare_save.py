#!/usr/bin/env python3
"""Checkpoints of GPT-2 124M against `dd ... conv=fsync` of as many bytes.

    bazel build //tools:nextword
    tools/bench/compare_save.py FOLDER

Trains short steps in FOLDER, a new one, on the disk that is to be measured, and
saves after each. After a save the program is halted while dd writes as many
random bytes, so that the two take turns. Prints both and the ratio of medians.
"""

import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True)
repository = pathlib.Path(__file__).resolve().parents[2]
(folder / "text.txt").write_text("".join(
    f"the quick brown fox jumps over the lazy dog {i}\n" for i in range(5000)))
saves = 12
overrides = [
    f"run_dir={folder}/run", f"data.source={folder}/text.txt",
    f"data.cache_dir={folder}/cache", "data.tokenizer_vocab_size=300",
    "batch.micro_batch=1", "batch.micro_batches=1", "batch.lanes=1",
    "batch.sequence_length=64", f"steps={saves}", "schedule.warmup_steps=0",
    "evaluation.every=0", "checkpoint.every=1", "checkpoint.keep=1",
    "checkpoint.asynchronous=false"
]
command = [
    os.environ.get("NEXTWORD", repository / "bazel-bin/tools/nextword"),
    "train", "--config", repository / "configs/gpt2_124m.textproto"
] + [part for override in overrides for part in ("--set", override)]
train = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
ours, theirs, size = [], [], 0
for line in train.stderr:
  saved = re.search(r"saved (\S+) in ([0-9.]+) s", line)
  if not saved:
    continue
  train.send_signal(signal.SIGSTOP)
  ours.append(float(saved[2]))
  if size == 0:
    size = sum(f.stat().st_size for f in pathlib.Path(saved[1]).iterdir())
    with open(folder / "random", "wb") as random:
      for _ in range(size >> 20):
        random.write(os.urandom(1 << 20))
  start = time.time()
  subprocess.run(["dd", f"if={folder}/random", f"of={folder}/copy", "bs=1M",
                  "conv=fsync"], check=True, stderr=subprocess.DEVNULL)
  theirs.append(time.time() - start)
  os.remove(folder / "copy")
  train.send_signal(signal.SIGCONT)
if train.wait() != 0:
  sys.exit("training failed")
# The first ones find a system that has never written so much.
mine, dd = statistics.median(ours[2:]), statistics.median(theirs[2:])
print("saves, s:", *(f"{x:.2f}" for x in ours[2:]))
print("dd, s:   ", *(f"{x:.2f}" for x in theirs[2:]))
print(f"{size / 1e9:.2f} GB: saved at {size / mine / 1e9:.2f} GB/s, dd at "
      f"{size / dd / 1e9:.2f} GB/s (medians), ratio {dd / mine:.2f}")
