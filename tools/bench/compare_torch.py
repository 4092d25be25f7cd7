#!/usr/bin/env python3
"""Whole training steps, on the CPU or on a GPU: nextword beside PyTorch.

Runs the same model, batch, dtype and threads in nextword and in PyTorch, eager
and compiled, in turns, so that all see the same machine:

  bazel build //tools:nextword
  tools/bench/compare_torch.py --case gpt2_4x64 --dtype f32 --threads 2
  tools/bench/compare_torch.py --device cuda --dtype bf16 --python python3

A step is forward, backward, clipping by the global norm and AdamW, on random
ids. The PyTorch side is what a good user writes: fused attention, fused AdamW,
autocast for bf16, torch.compile. Building and compiling the model are outside
the times. The first use makes a virtual environment with PyTorch.

Prints the medians of step times as tokens per second, the ratio of medians, and
the peak memory of each side: the process's resident memory, on a GPU that of
tensors. Fails when the sides differ in their number of
parameters or do not start at the loss of a guess, ln(vocabulary).
"""

import argparse
import json
import math
import os
import pathlib
import statistics
import subprocess
import sys
import venv
from typing import Any

from run_config import ROOT, ConfigError, Run, load_config, resolve

WORKER = pathlib.Path(__file__).with_name("torch_worker.py")
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()

# A config and what to change in it.
_GPT2 = ["model.vocab_size=50257", "batch.lanes=1", "batch.micro_batches=1"]
CASES = {
    f"gpt2_{batch}x{length}": (
        "gpt2_124m",
        [
            *_GPT2,
            f"batch.micro_batch={batch}",
            f"batch.sequence_length={length}",
        ],
    )
    for batch, length in ((4, 64), (4, 256), (1, 1024))
}
CASES["quickstart"] = ("quickstart", ["model.vocab_size=4096"])
CASES["small"] = (
    "gpt2_124m",
    [
        *_GPT2[1:],
        "model.vocab_size=4096",
        "data.tokenizer_vocab_size=4096",
        "model.layers=6",
        "model.hidden_size=384",
        "model.num_heads=6",
        "model.context_length=128",
        "batch.micro_batch=8",
    ],
)

# With a vocabulary that is a multiple of 128, as GPUs like it.
_ON_GPU = [
    "batch.lanes=1",
    "batch.micro_batches=1",
    "model.recompute=NONE",
    "evaluation.every=0",
]
GPU_CASES = {
    "gpt2_124m": (
        "gpt2_124m",
        [*_ON_GPU, "model.vocab_size=50304", "batch.micro_batch=16"],
    ),
    "gpt2_1558m": (
        "gpt2_1558m",
        [*_ON_GPU, "model.vocab_size=50304", "batch.micro_batch=4"],
    ),
    "llama_1b": (
        "llama_8b",
        [
            *_ON_GPU,
            "model.layers=16",
            "model.hidden_size=2048",
            "model.mlp_size=8192",
            "model.context_length=4096",
            "model.vocab_size=32768",
            "batch.micro_batch=2",
        ],
    ),
}

# What nextword's config says for a dtype, and what PyTorch has for it: to
# multiply in eight bits it would take another library.
DTYPES = {
    "f32": ([], "f32"),
    "bf16": (["compute_dtype=BF16"], "bf16"),
    "fp8": (["compute_dtype=FP8"], "bf16"),
    "fp8_hybrid": (["compute_dtype=FP8_HYBRID"], "bf16"),
}

# Of torch.compile, by device.
COMPILE_MODES = {"cpu": ["default"], "cuda": ["default", "max-autotune"]}

# Initial logits are not quite zero, so the first loss is a little above
# ln(vocabulary), in nats.
LOSS_TOLERANCE = 0.5


class Unfair(RuntimeError):
    """The sides do not run the same thing."""


class Side:
    """One of those who are compared: its name and what it measured."""

    def __init__(self, name: str):
        self.name = name
        self.rounds: list[list[float]] = []  # Seconds of each step.
        self.facts: dict[str, Any] = {}

    def run(self, steps: int, warmup: int) -> None:
        """One more of self.rounds."""
        raise NotImplementedError

    def stop(self) -> None:
        """The last call."""

    def median(self) -> float:
        return statistics.median(sum(self.rounds, []))


class Nextword(Side):
    """A process for each round."""

    def __init__(self, args: argparse.Namespace, arguments: list[str]):
        super().__init__("nextword")
        overrides = [
            f"threads={args.threads}",
            f"device={args.device.upper()}",
            *DTYPES[args.dtype][0],
            *args.nextword_set,
        ]
        self._peak = "max_resident_bytes"
        if args.device == "cuda":
            self._peak = "allocator_peak_bytes"
        self._command = [str(args.nextword), "bench", "--what", "step"]
        self._command += [*arguments, *as_options(overrides), "--json"]
        self._environment = environment(args.threads, [])
        first = self._bench(1, 0)
        self.facts["parameters"] = first["parameters"]
        self.facts["initial_loss"] = first["last_loss"]

    def _bench(self, steps: int, warmup: int) -> dict[str, Any]:
        count = ["--steps", str(steps), "--warmup", str(warmup)]
        done = subprocess.run(
            self._command + count,
            env=self._environment,
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    def run(self, steps: int, warmup: int) -> None:
        report = self._bench(steps, warmup)
        self.rounds.append(report["step_seconds"])
        self.facts["peak_bytes"] = report[self._peak]


class Torch(Side):
    """One process that waits while the others run; on a GPU, whose memory may
    not hold all of them, one for each round."""

    def __init__(
        self,
        name: str,
        args: argparse.Namespace,
        arguments: list[str],
        variables: list[str],
    ):
        super().__init__(name)
        command = [args.python, str(WORKER), *arguments]
        command += ["--device", args.device, "--dtype", DTYPES[args.dtype][1]]
        command += ["--threads", str(args.threads)]
        command += ["--warmup", str(args.warmup)]
        command += ["--matmul-precision", args.matmul_precision]
        self._command = command
        self._environment = environment(args.threads, variables)
        self._process: subprocess.Popen | None = None
        self._stays = args.device == "cpu"
        if self._stays:
            self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts.update(self._reply())

    def _reply(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise RuntimeError(f"{self.name} ended with exit code {code}")
        return json.loads(line)

    def run(self, steps: int, warmup: int) -> None:
        if self._process is None:
            self._start()
        request = {"steps": steps, "warmup": warmup}
        print(json.dumps(request), file=self._process.stdin, flush=True)
        reply = self._reply()
        self.rounds.append(reply.pop("step_seconds"))
        self.facts.update(reply)
        if not self._stays:
            self.stop()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stdin.close()
            self._process.wait()
        self._process = None


def as_options(overrides: list[str]) -> list[str]:
    return [word for o in overrides for word in ("--set", o)]


def environment(threads: int, more: list[str]) -> dict[str, str]:
    """This process's variables, OpenMP's threads, and more as NAME=VALUE."""
    pairs = dict(pair.split("=", 1) for pair in more)
    return {**os.environ, "OMP_NUM_THREADS": str(threads), **pairs}


def check_fair(sides: list[Side], run: Run) -> None:
    """Raises Unfair unless all train the same model from the same start."""
    counts = {side.name: side.facts["parameters"] for side in sides}
    if len(set(counts.values())) > 1:
        raise Unfair(f"numbers of parameters differ: {counts}")
    guess = math.log(run.vocab_size)
    for side in sides:
        loss = side.facts["initial_loss"]
        if not abs(loss - guess) < LOSS_TOLERANCE:
            raise Unfair(
                f"{side.name} starts at a loss of {loss}, wanted about "
                f"ln({run.vocab_size}) = {guess:.2f}"
            )


def start_sides(args: argparse.Namespace, arguments: list[str]) -> list[Side]:
    """All who take part; PyTorch's have built and compiled their models."""
    sides: list[Side] = []
    if args.with_nextword:
        sides.append(Nextword(args, arguments))
    modes = {"eager": []}
    for mode in args.compile_mode or COMPILE_MODES[args.device]:
        if args.compile:
            name = "compiled" if mode == "default" else mode
            modes[name] = ["--compile-mode", mode]
    variables = {"": []}
    if args.tuned:
        variables[", tuned"] = args.tuned
    for suffix, variables_of in variables.items():
        for mode, options in modes.items():
            more = [*arguments, *options]
            sides.append(Torch(mode + suffix, args, more, variables_of))
    return sides


def cases_of(device: str) -> dict[str, tuple[str, list[str]]]:
    return CASES if device == "cpu" else GPU_CASES


def compare(args: argparse.Namespace, case: str) -> dict[str, Any]:
    """Runs one case, prints its table and returns its numbers."""
    config, overrides = cases_of(args.device)[case]
    path = ROOT / "configs" / f"{config}.textproto"
    run = resolve(load_config(path, overrides))
    sides = start_sides(args, ["--config", str(path), *as_options(overrides)])
    for turn in range(args.rounds):
        for side in sides:
            side.run(args.steps, args.warmup)
        if turn == 0:
            check_fair(sides, run)
    for side in sides:
        side.stop()
    print_table(args, case, run, sides)
    return {
        "case": case,
        "device": args.device,
        "dtype": args.dtype,
        "threads": args.threads,
        "overrides": overrides,
        "tokens_per_step": run.tokens_per_step,
        "sides": {
            side.name: {
                **side.facts,
                "tokens_per_second": run.tokens_per_step / side.median(),
                "step_seconds": side.rounds,
            }
            for side in sides
        },
    }


def print_table(
    args: argparse.Namespace, case: str, run: Run, sides: list[Side]
) -> None:
    torch = sides[-1].facts["torch"]
    print(
        f"{case}, {args.device}, {args.dtype}, {args.threads} threads, "
        f"torch {torch}: "
        f"{sides[0].facts['parameters']:,} parameters, "
        f"{run.tokens_per_step:,} tokens a step"
    )
    print(
        "                    tokens/s   rounds' medians      ms/step"
        "    peak MB   nextword's lead"
    )
    for side in sides:
        medians = [statistics.median(seconds) for seconds in side.rounds]
        rates = sorted(run.tokens_per_step / m for m in medians)
        lead = ""
        if sides[0].name == "nextword" and side is not sides[0]:
            lead = f"{side.median() / sides[0].median():.2f}"
        print(
            f"  {side.name:16}"
            f"{run.tokens_per_step / side.median():10,.0f}"
            f"   {f'{rates[0]:,.0f} to {rates[-1]:,.0f}':18}"
            f"{1000 * side.median():10,.1f}"
            f"{side.facts['peak_bytes'] / 1e6:11,.0f}"
            f"   {lead:>15}".rstrip(),
            flush=True,
        )


def ensure_venv(folder: pathlib.Path) -> None:
    """Makes a virtual environment with PyTorch unless it is there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing PyTorch into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
    has_torch = subprocess.run(
        [python, "-c", "import torch"], stderr=subprocess.DEVNULL
    )
    if has_torch.returncode != 0:
        install = [python, "-m", "pip", "install", "torch", "numpy"]
        subprocess.run(install, stdout=sys.stderr, check=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    flag = argparse.BooleanOptionalAction
    add = parser.add_argument
    add("--device", choices=COMPILE_MODES, default="cpu")
    add(
        "--case",
        action="append",
        choices=[*CASES, *GPU_CASES],
        help="repeatable; by default all of the device's",
    )
    add("--dtype", choices=DTYPES, default="f32")
    add("--threads", type=int, default=os.cpu_count())
    add("--rounds", type=int, default=5, help="turns of each side")
    add("--steps", type=int, default=5, help="timed steps in a round")
    add("--warmup", type=int, default=2, help="untimed steps before them")
    add("--json", type=pathlib.Path, help="file for all numbers")
    add("--compile", action=flag, default=True)
    add(
        "--compile-mode",
        action="append",
        help="of torch.compile; repeatable",
    )
    add("--matmul-precision", default="highest", help="of PyTorch, for f32")
    add("--with-nextword", action=flag, default=True)
    add(
        "--nextword",
        type=pathlib.Path,
        default=ROOT / "bazel-bin" / "tools" / "nextword",
    )
    add(
        "--nextword-set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="an option of nextword's alone, cuda_graph=true; repeatable",
    )
    add("--python", help="one that has PyTorch; by default that of --venv")
    add("--venv", type=pathlib.Path, default=CACHE / "nextword" / "torch-venv")
    add(
        "--tuned",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="PyTorch once more with this in its environment; repeatable",
    )
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    if args.python is None:
        ensure_venv(args.venv)
        args.python = str(args.venv / "bin" / "python")
    results = []
    try:
        for case in args.case or cases_of(args.device):
            if case not in cases_of(args.device):
                raise RuntimeError(f"{case} is no case of {args.device}")
            results.append(compare(args, case))
    except (
        ConfigError,
        OSError,
        RuntimeError,
        subprocess.SubprocessError,
    ) as error:
        print(f"compare_torch.py: {error}", file=sys.stderr)
        return 1
    finally:
        if args.json is not None:
            args.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
