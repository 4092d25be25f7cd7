"""Training steps in PyTorch, timed on request: compare_torch.py's other end.

Prints one line of JSON when it is warm and one for each request, a line
{"steps": N} on standard input. What else PyTorch prints goes to standard error.
"""

import argparse
import contextlib
import json
import os
import pathlib
import sys
import time
from typing import Any, Callable

import torch

from run_config import Run, load_config, resolve
from torch_model import Decoder, make_optimizer

NUM_BATCHES = 8  # Random ids, made before the clock runs.


def make_step(
    run: Run, device: str, dtype: str, compile_mode: str | None
) -> tuple[Callable[[], float], int]:
    """A function that trains one step and returns its loss once all is done,
    and the number of parameters."""
    torch.manual_seed(1)
    decoder = Decoder(run).to(device)
    optimizer = make_optimizer(decoder, run)
    parameters = list(decoder.parameters())
    model = decoder
    if compile_mode is not None:
        model = torch.compile(decoder, mode=compile_mode)
    shape = (NUM_BATCHES, run.micro_batch, run.sequence_length + 1)
    batches = torch.randint(run.vocab_size, shape).to(device)
    taken = 0

    def precision() -> contextlib.AbstractContextManager:
        if dtype == "bf16":
            return torch.autocast(device, torch.bfloat16)
        return contextlib.nullcontext()

    def step() -> float:
        nonlocal taken
        total = torch.zeros((), device=device)
        optimizer.zero_grad(set_to_none=True)
        for _ in range(run.micro_batches):
            batch = batches[taken % NUM_BATCHES]
            taken += 1
            with precision():
                loss = model(batch[:, :-1], batch[:, 1:]) / run.micro_batches
            loss.backward()
            total += loss.detach()
        if run.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(parameters, run.clip_norm)
        optimizer.step()
        return total.item()

    return step, sum(p.numel() for p in parameters)


class HostMemory:
    """The process's resident memory."""

    def forget_peak(self) -> None:
        pathlib.Path("/proc/self/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        status = pathlib.Path("/proc/self/status").read_text()
        for line in status.splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError("/proc/self/status has no VmHWM")


class GpuMemory:
    """The tensors' memory."""

    def forget_peak(self) -> None:
        torch.cuda.reset_peak_memory_stats()

    def peak_bytes(self) -> int:
        return torch.cuda.max_memory_allocated()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=pathlib.Path, required=True)
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("f32", "bf16"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--warmup", type=int, required=True)
    parser.add_argument("--compile-mode", help="none: eager")
    parser.add_argument("--matmul-precision", default="highest")
    args = parser.parse_args()

    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def reply(message: dict[str, Any]) -> None:
        print(json.dumps(message), file=replies, flush=True)

    torch.set_num_threads(args.threads)
    torch.set_float32_matmul_precision(args.matmul_precision)
    memory = HostMemory() if args.device == "cpu" else GpuMemory()
    libraries_bytes = memory.peak_bytes()
    run = resolve(load_config(args.config, args.overrides))
    step, num_parameters = make_step(
        run, args.device, args.dtype, args.compile_mode
    )
    start = time.perf_counter()
    initial_loss = step()
    first_seconds = time.perf_counter() - start
    for _ in range(args.warmup):
        step()
    # Building and compiling the model are not held against the steps.
    memory.forget_peak()
    reply(
        {
            "torch": torch.__version__,
            "parameters": num_parameters,
            "initial_loss": initial_loss,
            "first_step_seconds": first_seconds,
            "libraries_bytes": libraries_bytes,
        }
    )
    for line in sys.stdin:
        request = json.loads(line)
        for _ in range(request["warmup"]):
            step()
        seconds = []
        for _ in range(request["steps"]):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        reply({"step_seconds": seconds, "peak_bytes": memory.peak_bytes()})


if __name__ == "__main__":
    main()
