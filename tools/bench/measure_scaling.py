#!/usr/bin/env python3
"""How a training step scales over processes of this machine.

  bazel build //tools:nextword
  tools/bench/measure_scaling.py --ranks 1 2 4 8

Strong scaling: the same step, 8 lanes of a small GPT-2 (6 layers of 384,
vocabulary 4096), is shared by more and more ranks of `nextword launch`, each
with --threads threads. The numbers of ranks take turns, so that all see the
same machine. Prints a Markdown table: medians over the steps of all rounds; the
range is that of the rounds' medians.

Fails when they do not all end at the same loss, to the last bit.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]

LANES = 8
MODEL = [
    "model.layers=6",
    "model.hidden_size=384",
    "model.num_heads=6",
    "model.context_length=128",
    "model.vocab_size=4096",
    "data.tokenizer_vocab_size=4096",
    f"batch.lanes={LANES}",
    "batch.micro_batches=1",
]
PREFIX = "[rank 0] "  # The launcher's, where there is more than one rank.

Report = dict[str, Any]  # What `nextword bench --what step --json` prints.


class Failure(RuntimeError):
    """What cannot be measured, and why."""


def parse_report(output: str) -> Report:
    """Rank 0's JSON out of what the launcher passed on."""
    lines = output.splitlines()
    if PREFIX in output:
        lines = [
            line[len(PREFIX) :] for line in lines if line.startswith(PREFIX)
        ]
    try:
        return json.loads("\n".join(lines))
    except json.JSONDecodeError as error:
        raise Failure(
            f"rank 0 printed no JSON ({error}) but:\n{output}"
        ) from error


def command(args: argparse.Namespace, ranks: int) -> list[str]:
    overrides = [*MODEL, f"batch.micro_batch={args.micro_batch}", *args.set]
    words = [str(args.nextword), "launch", "--nproc", str(ranks)]
    words += ["--max-restarts", "0", "--", "bench", "--what", "step", "--json"]
    words += ["--config", str(ROOT / "configs/gpt2_124m.textproto")]
    words += ["--threads", str(args.threads)]
    words += ["--steps", str(args.steps), "--warmup", str(args.warmup)]
    for override in overrides:
        words += ["--set", override]
    return words


def run(args: argparse.Namespace, ranks: int) -> Report:
    done = subprocess.run(
        command(args, ranks), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Failure(
            f"{ranks} ranks ended with exit code {done.returncode}:\n"
            f"{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return parse_report(done.stdout)


def check_same_loss(reports: dict[int, list[Report]]) -> None:
    losses = {
        ranks: {report["last_loss"] for report in of_ranks}
        for ranks, of_ranks in reports.items()
    }
    if len(set().union(*losses.values())) > 1:
        raise Failure(f"the losses differ, by number of ranks: {losses}")


def row(ranks: int, reports: list[Report], alone: float, cores: int) -> Report:
    """Of one number of ranks; `alone` is one rank's time of a step."""
    rounds = [statistics.median(r["step_seconds"]) for r in reports]
    seconds = statistics.median(
        [second for r in reports for second in r["step_seconds"]]
    )

    def median(name: str) -> float:
        return statistics.median([r.get(name, 0) for r in reports])

    return {
        "ranks": ranks,
        "seconds": seconds,
        "fastest": min(rounds),
        "slowest": max(rounds),
        "tokens_per_second": reports[0]["tokens_per_step"] / seconds,
        "speed_up": alone / seconds,
        # Ranks beyond the cores cannot add to the speed.
        "efficiency": alone / seconds / min(ranks, cores),
        "sent": median("bytes_sent_per_step"),
        "ring": median("ring_bytes_per_step"),
        "exchange": median("exchange_seconds_per_step"),
        "waited": median("waited_seconds_per_step"),
        "memory": max(r["max_resident_bytes"] for r in reports),
        "predicted": reports[0]["predicted_bytes"],
    }


def rows(reports: dict[int, list[Report]], cores: int) -> list[Report]:
    alone = statistics.median(
        [second for r in reports[1] for second in r["step_seconds"]]
    )
    return [row(n, of_ranks, alone, cores) for n, of_ranks in reports.items()]


def markdown(table: list[Report]) -> str:
    columns = {
        "ranks": lambda r: str(r["ranks"]),
        "step, s": lambda r: (
            f"{r['seconds']:.3f} ({r['fastest']:.3f} to {r['slowest']:.3f})"
        ),
        "tokens/s": lambda r: f"{r['tokens_per_second']:,.0f}",
        "speed-up": lambda r: f"{r['speed_up']:.2f}",
        "of the cores": lambda r: f"{r['efficiency']:.0%}",
        "sent, MB": lambda r: f"{r['sent'] / 1e6:.1f}",
        "a ring's, MB": lambda r: f"{r['ring'] / 1e6:.1f}",
        "under way, s": lambda r: f"{r['exchange']:.3f}",
        "waited, s": lambda r: f"{r['waited']:.3f}",
        "memory, MB": lambda r: f"{r['memory'] / 1e6:.0f}",
        "predicted": lambda r: f"{r['predicted'] / 1e6:.0f}",
    }
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[text(r) for text in columns.values()] for r in table]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def whole(least: int):
    def parse(text: str) -> int:
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no whole number from {least} on"
            )
        return int(text)

    return parse


def arguments() -> argparse.Namespace:
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("--ranks", type=whole(1), nargs="+", default=[1, 2, 4, 8])
    p.add_argument("--threads", type=whole(1), default=1, help="of each rank")
    p.add_argument("--rounds", type=whole(1), default=3)
    p.add_argument("--steps", type=whole(1), default=3, help="of each round")
    p.add_argument("--warmup", type=whole(0), default=1)
    p.add_argument(
        "--micro-batch", type=whole(1), default=4, help="sequences of a lane"
    )
    p.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="override a field, distributed.sharding=OPTIMIZER for instance",
    )
    p.add_argument("--json", type=pathlib.Path, help="keep all reports there")
    p.add_argument(
        "--nextword",
        type=pathlib.Path,
        default=ROOT / "bazel-bin/tools/nextword",
    )
    args = p.parse_args()
    args.ranks = sorted({1, *args.ranks})  # One rank is what others are
    for ranks in args.ranks:  # compared with.
        if LANES % ranks:
            p.error(f"--ranks {ranks}: does not divide {LANES} lanes")
    if not args.nextword.exists():
        p.error(f"{args.nextword}: is missing; bazel build //tools:nextword")
    return args


def main() -> int:
    args = arguments()
    reports: dict[int, list[Report]] = {ranks: [] for ranks in args.ranks}
    try:
        for number in range(args.rounds):
            for ranks in args.ranks:
                print(
                    f"round {number + 1} of {args.rounds}: {ranks} ranks",
                    file=sys.stderr,
                )
                reports[ranks].append(run(args, ranks))
        check_same_loss(reports)
    except Failure as failure:
        print(f"measure_scaling.py: {failure}", file=sys.stderr)
        return 1
    if args.json:
        args.json.write_text(json.dumps(reports, indent=2))
    cores = len(os.sched_getaffinity(0))
    first = reports[1][0]
    print(
        f"{first['parameters']:,} parameters, {first['tokens_per_step']:,} "
        f"tokens a step, {args.threads} thread(s) a rank, {cores} cores, "
        f"{first['versions']['processor']}\n"
    )
    print(markdown(rows(reports, cores)), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
