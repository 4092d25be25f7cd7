#!/usr/bin/env python3
"""Kills training at random times, again and again, and compares the result.

    bazel build //tools:nextword
    tests/faults/random_kills.py --kills 200

A run is trained once without interruption. Then the same run is killed with
SIGKILL at random times and started again with --resume auto until it ends, as
often as it takes to reach the number of kills; some of the time as one process,
some of the time by two ranks, of which one dies, or both, or their launcher.
Every run must end with the bytes of the first. Exit code 0: all did.
"""

import argparse
import hashlib
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

CONFIG = """
steps: 300
model { layers: 2 hidden_size: 96 num_heads: 4 context_length: 64 position: ROPE
        dropout: 0.1 }
data { tokenizer_vocab_size: 300 }
batch { lanes: 2 micro_batches: 2 micro_batch: 4 }
optimizer { learning_rate: 1e-2 }
evaluation { every: 20 max_sequences: 20 }
sample { every: 30 tokens: 10 prompt: "the" }
checkpoint { every: 5 keep: 2 keep_best: 1 keep_every: 100 }
log { every: 1 }
"""


class Run:
  """A run's folder, and the processes that train in it."""

  def __init__(self, binary, folder, name):
    self.binary, self.folder, self.name = binary, folder, name
    self.run_dir = folder / name

  def start(self, ranks):
    train = [
        "train", "--config", self.folder / "config.textproto", "--resume",
        "auto", "--set", f"run_dir={self.run_dir}", "--set",
        f"data.source={self.folder}/text.txt", "--set",
        f"data.cache_dir={self.folder}/cache"
    ]
    if ranks > 1:
      train = ["launch", "--nproc", str(ranks), "--max-restarts", "9",
               "--backoff", "0.2", "--",
               *train]
    self.log = open(self.folder / f"{self.name}.log", "ab")
    return subprocess.Popen([self.binary, *train], stdout=self.log,
                            stderr=self.log, start_new_session=True)

  def checkpoints(self):
    folder = self.run_dir / "checkpoints"
    return sorted(os.listdir(folder)) if folder.is_dir() else []

  def newest(self):
    steps = [int(n[5:]) for n in self.checkpoints() if n.startswith("step-")]
    return max(steps, default=0)

  def is_saving(self):
    return any(name.startswith(".tmp-") for name in self.checkpoints())

  def digest(self):
    digest = hashlib.sha256()
    for name in ("model.safetensors", "optimizer.safetensors"):
      digest.update(
          (self.run_dir / "checkpoints/step-00000300" / name).read_bytes())
    return digest.hexdigest()[:16]

  def metrics(self):
    text = (self.run_dir / "metrics.jsonl").read_text()
    return re.sub(r'"tokens_per_second":[^,]*,', "", text)

  def damaged(self):
    return [name for name in self.checkpoints() if name.startswith("damaged")]


def ranks_of(launcher):
  """The launcher's processes that train."""
  path = f"/proc/{launcher}/task/{launcher}/children"
  try:
    children = [int(pid) for pid in open(path).read().split()]
    return [
        pid for pid in children
        if b"train" in open(f"/proc/{pid}/cmdline", "rb").read().split(b"\0")
    ]
  except OSError:
    return []


def kill(pid):
  try:
    os.kill(pid, signal.SIGKILL)
    return True
  except ProcessLookupError:
    return False


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--kills", type=int, default=200)
  parser.add_argument("--seed", type=int, default=1)
  parser.add_argument("--binary", default="bazel-bin/tools/nextword")
  parser.add_argument("--folder", help="a new one, kept; else a temporary one")
  options = parser.parse_args()
  rng = random.Random(options.seed)
  temporary = None
  if options.folder is None:
    temporary = tempfile.TemporaryDirectory()
  folder = pathlib.Path(options.folder or temporary.name)
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "config.textproto").write_text(CONFIG)
  words = ["".join(rng.choice("abcdefgh") for _ in range(rng.randint(1, 7)))
           for _ in range(300)]
  text = rng.choices(words, k=20000)
  lines = (" ".join(text[i:i + 10]) for i in range(0, len(text), 10))
  (folder / "text.txt").write_text("\n".join(lines) + "\n")

  start = time.time()
  whole = Run(options.binary, folder, "whole")
  if whole.start(1).wait() != 0:
    sys.exit(f"the first run failed: see {folder}/whole.log")
  want = whole.digest(), whole.metrics()
  print(f"seed {options.seed}; without interruption: {want[0]}, "
        f"{time.time() - start:.0f} s", flush=True)

  ways = ["the process", "one of two ranks", "both ranks", "their launcher"]
  counts = {way: [0, 0] for way in ways}  # Kills, of these while saving.
  fine, number, start = True, 0, time.time()
  while sum(count[0] for count in counts.values()) < options.kills:
    number += 1
    run = Run(options.binary, folder, f"run-{number}")
    kills = starts = 0
    while True:
      alone = rng.random() < 0.4
      process = run.start(1 if alone else 2)
      starts += 1
      left = options.kills - sum(count[0] for count in counts.values())
      while left > 0 and process.poll() is None:
        try:
          process.wait(rng.uniform(0.4, 3.5))
          break
        except subprocess.TimeoutExpired:
          pass
        way = ways[0] if alone else rng.choice(ways[1:])
        saving = run.is_saving()
        if way in (ways[0], ways[3]):
          victims = [process.pid]
        else:
          victims = ranks_of(process.pid)
          rng.shuffle(victims)
          victims = victims[:1] if way == ways[1] else victims
        if not any([kill(pid) for pid in victims]):
          continue
        kills += 1
        left -= 1
        counts[way][0] += 1
        counts[way][1] += saving
        if way in (ways[0], ways[3]):
          break  # Others have been started again by their launcher.
      if process.wait() == 0:
        break
      if starts > 50 * options.kills:
        sys.exit(f"no progress: see {folder}/{run.name}.log")
    got = run.digest(), run.metrics()
    same = got == want and not run.damaged()
    fine &= same
    print(f"run {number}: {kills} kills, {starts} starts by hand, {got[0]}, "
          f"{'same bits and metrics' if same else 'DIFFERS'}", flush=True)

  for way, (kills, saving) in counts.items():
    print(f"{kills:4d} kills of {way}, {saving} of them during a save")
  print(f"{sum(c[0] for c in counts.values())} kills in "
        f"{time.time() - start:.0f} s: {'passed' if fine else 'FAILED'}")
  sys.exit(0 if fine else 1)


if __name__ == "__main__":
  main()
