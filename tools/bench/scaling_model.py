#!/usr/bin/env python3
"""Where data parallelism stops paying: a model of training on H100s.

Example:
  tools/bench/scaling_model.py limits
  tools/bench/scaling_model.py strong --model 1.5B --batch 1M --mfu 0.4
  tools/bench/scaling_model.py weak --model 7B --tokens-per-gpu 16K --json

Tables:
  inputs    what is put in, and where it comes from
  strong    one batch, shared by more and more GPUs
  weak      a batch that grows with the GPUs
  limits    how many GPUs it takes to fall under 80% and 50% of efficiency
  changes   what moves those limits
  exchange  time to add up one bucket, by algorithm and cause

Sizes: K and M are 2^10 and 2^20. docs/scaling.md explains the model.
"""

import argparse
import dataclasses
import json
import sys
from typing import Any

import data_parallel_model as model
from data_parallel_model import MODELS, Model
from exchange_model import Machine, Plan, half

Row = dict[str, Any]  # By column.

GPUS = [8, 16, 32, 64, 128, 256, 512, 1024]
BATCHES = [2**19, 2**20, 2**22]
# What each model is usually trained with.
USUAL_BATCH = {"124M": 2**19, "1.5B": 2**20, "7B": 2**22}


def tokens(text: str) -> int:
    """524288, 512K or 0.5M."""
    unit = {"K": 2**10, "M": 2**20}.get(text[-1:].upper())
    try:
        count = float(text[:-1]) * unit if unit else float(text)
    except ValueError:
        count = 0
    if count < 1 or count != int(count):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no number of tokens; wanted for instance 512K"
        )
    return int(count)


def token_text(count: int) -> str:
    for unit, size in (("M", 2**20), ("K", 2**10)):
        if count >= size // 2 and count % (size // 2) == 0:
            return f"{count / size:g}{unit}"
    return str(count)


def time_text(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.2f} s"
    if seconds >= 1e-3:
        return f"{seconds * 1e3:.1f} ms"
    return f"{seconds * 1e6:.0f} us"


def plan_for(args: argparse.Namespace, shape: Model) -> Plan:
    plan = Plan(
        exchange=args.exchange,
        gather=args.gather,
        fused_sum=args.fused_sum,
        gradient_bytes={"f32": 4, "bf16": 2}[args.gradients],
        bucket_mib=args.bucket_mib,
        overlap=not args.no_overlap,
    )
    sharded = args.sharding == "optimizer"
    if args.sharding == "auto":  # Where a GPU cannot hold it all.
        fits = model.state_bytes(shape, plan, 8) <= args.machine.memory_gb * 1e9
        sharded = not fits
    return dataclasses.replace(plan, sharded=sharded)


def step_row(shape: Model, step: model.Step, efficiency: float) -> Row:
    return {
        "model": shape.name,
        "batch_tokens": step.batch,
        "gpus": step.ranks,
        "micro_batches": step.micro_batches,
        "compute_seconds": step.compute,
        "exposed_seconds": step.exposed,
        "update_seconds": step.update,
        "step_seconds": step.seconds,
        "efficiency": efficiency,
        "tokens_per_second": step.tokens_per_second,
        "state_bytes": step.state,
    }


STEP_COLUMNS = {
    "model": lambda r: r["model"],
    "batch": lambda r: token_text(r["batch_tokens"]),
    "GPUs": lambda r: f"{r['gpus']:,}",
    "micro-batches": lambda r: str(r["micro_batches"]),
    "compute": lambda r: time_text(r["compute_seconds"]),
    "exposed": lambda r: time_text(r["exposed_seconds"]),
    "update": lambda r: time_text(r["update_seconds"]),
    "step": lambda r: time_text(r["step_seconds"]),
    "efficiency": lambda r: f"{r['efficiency']:.0%}",
    "tokens/s": lambda r: f"{r['tokens_per_second'] / 1e3:,.0f} K",
    "state, GB": lambda r: f"{r['state_bytes'] / 1e9:.1f}",
}


def shapes(args: argparse.Namespace) -> list[Model]:
    return [MODELS[args.model]] if args.model else list(MODELS.values())


def strong(args: argparse.Namespace) -> tuple[dict, list[Row]]:
    rows = []
    for shape in shapes(args):
        batch = args.batch or USUAL_BATCH[shape.name]
        plan = plan_for(args, shape)
        most = model.most_ranks(shape, batch)
        for ranks in args.gpus or [gpus for gpus in GPUS if gpus <= most]:
            efficiency = model.strong_efficiency(
                args.machine, shape, plan, batch, ranks
            )
            step = model.step(args.machine, shape, plan, batch, ranks)
            rows.append(step_row(shape, step, efficiency))
    return STEP_COLUMNS, rows


def weak(args: argparse.Namespace) -> tuple[dict, list[Row]]:
    mine = args.tokens_per_gpu
    rows = []
    for shape in shapes(args):
        plan = plan_for(args, shape)
        if mine % shape.context:
            raise ValueError(
                f"--tokens-per-gpu {mine} is no multiple of {shape.name}'s "
                f"sequences of {shape.context} tokens"
            )
        for ranks in args.gpus or GPUS:
            efficiency = model.weak_efficiency(
                args.machine, shape, plan, mine, ranks
            )
            step = model.step(args.machine, shape, plan, mine * ranks, ranks)
            rows.append(step_row(shape, step, efficiency))
    return STEP_COLUMNS, rows


def limit_values(
    args: argparse.Namespace, shape: Model, plan: Plan, batch: int
) -> Row:
    row: Row = {"most_gpus": model.most_ranks(shape, batch)}
    for percent in (80, 50):
        row[f"under_{percent}"] = model.falls_under(
            args.machine, shape, plan, batch, percent / 100
        )
        row[f"formula_{percent}"] = model.crossing(
            args.machine, shape, plan, batch, percent / 100
        )
    return row


def found_text(row: Row, percent: int) -> str:
    found = row[f"under_{percent}"]
    return f"{found:,}" if found else f"not up to {row['most_gpus']:,}"


LIMIT_COLUMNS = {
    "under 80% at": lambda r: found_text(r, 80),
    "formula": lambda r: f"{r['formula_80']:,.0f}",
    "under 50% at": lambda r: found_text(r, 50),
    "formula ": lambda r: f"{r['formula_50']:,.0f}",
}


def limits(args: argparse.Namespace) -> tuple[dict, list[Row]]:
    batches = [args.batch] if args.batch else BATCHES
    rows = []
    for shape in shapes(args):
        plan = plan_for(args, shape)
        for batch in batches:
            row = {
                "model": shape.name,
                "batch_tokens": batch,
                "sharded": plan.sharded,
            }
            rows.append(row | limit_values(args, shape, plan, batch))
    columns = {
        "model": lambda r: r["model"] + (", sharded" if r["sharded"] else ""),
        "batch": lambda r: token_text(r["batch_tokens"]),
        "sequences": lambda r: f"{r['most_gpus']:,}",
        **LIMIT_COLUMNS,
    }
    return columns, rows


def changes(args: argparse.Namespace) -> tuple[dict, list[Row]]:
    shape = MODELS[args.model or "1.5B"]
    batch = args.batch or USUAL_BATCH[shape.name]
    base = plan_for(args, shape)
    replace = dataclasses.replace
    fused = replace(base, fused_sum=True)
    ring = replace(fused, gather="ring")
    hybrid = replace(fused, exchange="hybrid")
    narrow = replace(hybrid, gradient_bytes=2)
    cases = [
        ("as it is", base, batch),
        ("without overlap", replace(base, overlap=False), batch),
        ("four times the batch", base, 4 * batch),
        ("buckets of 200 MiB", replace(base, bucket_mib=200), batch),
        ("bf16 gradients", replace(base, gradient_bytes=2), batch),
        ("one kernel adds all pieces", fused, batch),
        ("... and a ring gathers", ring, batch),
        ("... or all of it in two levels (hybrid)", hybrid, batch),
        ("... and bf16 gradients", narrow, batch),
        ("... and four times the batch", narrow, 4 * batch),
    ]
    rows = []
    for name, plan, size in cases:
        row: Row = {"change": name, "batch_tokens": size}
        for ranks in (64, 256):
            row[f"efficiency_{ranks}"] = (
                model.strong_efficiency(args.machine, shape, plan, size, ranks)
                if ranks <= model.most_ranks(shape, size)
                else None
            )
        rows.append(row | limit_values(args, shape, plan, size))

    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.0%}"

    columns = {
        "change": lambda r: r["change"],
        "64 GPUs": lambda r: share(r["efficiency_64"]),
        "256 GPUs": lambda r: share(r["efficiency_256"]),
        **LIMIT_COLUMNS,
    }
    return columns, rows


def exchange(args: argparse.Namespace) -> tuple[dict, list[Row]]:
    m = args.machine
    size = args.bucket_mib * 2**20
    plan = Plan(fused_sum=args.fused_sum)
    rows = []
    for ranks in args.gpus or GPUS:
        row: Row = {"gpus": ranks, "message_bytes": size / ranks}
        for name in ("direct", "hybrid", "ring", "tree"):
            way = dataclasses.replace(plan, exchange=name)
            halves = [half(m, way, ranks, size, adds) for adds in (True, False)]
            row[name] = {
                cause: sum(getattr(h, cause) for h in halves)
                for cause in ("wire", "latency", "sum", "total")
            }
        rows.append(row)
    columns = {
        "GPUs": lambda r: f"{r['gpus']:,}",
        "message": lambda r: f"{r['message_bytes'] / 1024:,.0f} KiB",
        "direct: wire": lambda r: time_text(r["direct"]["wire"]),
        "messages": lambda r: time_text(r["direct"]["latency"]),
        "sums": lambda r: time_text(r["direct"]["sum"]),
        "in all": lambda r: time_text(r["direct"]["total"]),
        "hybrid": lambda r: time_text(r["hybrid"]["total"]),
        "ring": lambda r: time_text(r["ring"]["total"]),
        "tree": lambda r: time_text(r["tree"]["total"]),
    }
    return columns, rows


def inputs(args: argparse.Namespace) -> tuple[dict, list[Row]]:
    rows = [
        {
            "input": "--" + field.name.replace("_", "-"),
            "value": getattr(args.machine, field.name),
            **field.metadata,
        }
        for field in dataclasses.fields(Machine)
    ]
    columns = {
        "input": lambda r: f"`{r['input']}`",
        "value": lambda r: f"{r['value']:g}",
        "what": lambda r: r["what"],
        "source": lambda r: r["source"],
    }
    return columns, rows


TABLES = {
    "inputs": inputs,
    "strong": strong,
    "weak": weak,
    "limits": limits,
    "changes": changes,
    "exchange": exchange,
}


def markdown(columns: dict, rows: list[Row]) -> str:
    lines = [[name.strip() for name in columns], ["---"] * len(columns)]
    lines += [[text(row) for text in columns.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


class ExampleFirst(argparse.ArgumentParser):
    """Whose help opens with what the module says, examples included."""

    def format_help(self) -> str:
        return __doc__ + "\n" + super().format_help()


def positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return value


def gpu_count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 2**20:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of GPUs")
    return int(text)


def parser() -> argparse.ArgumentParser:
    p = ExampleFirst(add_help=True)
    p.add_argument("table", choices=TABLES)
    p.add_argument("--model", choices=MODELS)
    p.add_argument("--batch", type=tokens, help="tokens a step")
    p.add_argument("--tokens-per-gpu", type=tokens, default=16384)
    p.add_argument(
        "--gpus", type=gpu_count, nargs="+", help="8 to 1,024 if not given"
    )
    p.add_argument(
        "--exchange", choices=("direct", "hybrid", "ring"), default="direct"
    )
    p.add_argument(
        "--gather",
        choices=("direct", "ring"),
        default="direct",
        help="the second half of a direct exchange",
    )
    p.add_argument(
        "--fused-sum", action="store_true", help="one kernel adds all pieces"
    )
    p.add_argument("--gradients", choices=("f32", "bf16"), default="f32")
    p.add_argument(
        "--sharding",
        choices=("auto", "none", "optimizer"),
        default="auto",
        help="auto: of the optimizer, where a GPU cannot hold all of it",
    )
    p.add_argument("--bucket-mib", type=positive, default=25.0)
    p.add_argument("--no-overlap", action="store_true")
    p.add_argument("--json", action="store_true", help="the numbers, as JSON")
    for field in dataclasses.fields(Machine):
        p.add_argument(
            "--" + field.name.replace("_", "-"),
            type=gpu_count if field.name == "node" else positive,
            default=field.default,
            help=f"{field.metadata['what']} ({field.default:g})",
        )
    return p


def main(arguments: list[str] | None = None) -> int:
    args = parser().parse_args(arguments)
    values = {
        f.name: getattr(args, f.name) for f in dataclasses.fields(Machine)
    }
    try:
        args.machine = Machine(**values)
        columns, rows = TABLES[args.table](args)
    except ValueError as error:
        print(f"scaling_model.py: {error}", file=sys.stderr)
        return 2
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print(markdown(columns, rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
