"""Faults on a network of two hosts: see network_faults.sh, which runs this."""

import argparse
import os
import pathlib
import re
import signal
import statistics
import sys
import time

import two_hosts
from two_hosts import HOSTS, Failure, Files, Job, Network

NAMED_WITHIN = 15.0  # Seconds.
GRADIENT_BYTES = 549_000
STRIKE_AT = 12  # A step after the first checkpoints, and not one that saves.


class Fault:
    """Nothing happens."""

    title = "nothing"
    nproc = 1
    through_forwarder = False
    # What each host's launcher or ranks must say. Empty: the job is not to
    # stop, only to be slower.
    sentences: dict[int, str] = {}
    at_start = False  # It is there when the job starts.
    max_restarts = 1

    def prepare(self, job: Job, network: Network) -> None:
        pass

    def strike(self, job: Job, network: Network) -> None:
        pass

    def mend(self, job: Job, network: Network) -> None:
        """Called when the cause has been named."""

    def check_slow(self, seconds: list[float]) -> None:
        """Of steps after the fault; fails if it had no effect."""


class Kill(Fault):
    def __init__(self, nproc: int = 1, lead: bool = False):
        self.nproc = nproc
        self.rank = 0 if lead else nproc
        self.title = "rank 0, which saves, killed" if lead else "a rank killed"
        if nproc > 1:
            self.title += f", {nproc} ranks a host"
        self.sentences = dict.fromkeys(
            HOSTS, rf"rank {self.rank} .*ended.*: killed by signal 9"
        )

    def strike(self, job: Job, network: Network) -> None:
        os.kill(job.process("train", self.rank), signal.SIGKILL)


class Stop(Fault):
    title = "a rank stopped"
    sentences = dict.fromkeys(HOSTS, "rank 1 on node1 has sent no sign of life")

    def strike(self, job: Job, network: Network) -> None:
        os.kill(job.process("train", job.victim), signal.SIGSTOP)


class Link(Fault):
    def __init__(self, nproc: int = 1, stays: float = 0):
        self.nproc = nproc
        self.stays = stays  # After the sentence, in seconds.
        self.title = "the link cut"
        if nproc > 1:
            self.title += f", {nproc} ranks a host"
        if stays > 0:
            self.title += f", for {stays:g} s longer"
        self.sentences = {
            0: r"rank \d on node1 has sent no sign of life",
            1: "the coordinator at .* (has not answered|is gone)",
        }

    def strike(self, job: Job, network: Network) -> None:
        network.set_link("down")

    def mend(self, job: Job, network: Network) -> None:
        time.sleep(self.stays)
        network.set_link("up")


class Stall(Fault):
    title = "the link stalls for 5 s"
    through_forwarder = True

    def strike(self, job: Job, network: Network) -> None:
        network.tell_forwarder("stall 5")

    def check_slow(self, seconds: list[float]) -> None:
        if max(seconds) < 4.5:
            raise Failure(f"the longest step took {max(seconds):.1f} s")


class Slow(Fault):
    title = "the link slowed to 1 MB/s"
    through_forwarder = True

    def strike(self, job: Job, network: Network) -> None:
        network.tell_forwarder("rate 1000000")

    def check_slow(self, seconds: list[float]) -> None:
        # A rank sends all of its gradient in a step, and as many bytes come.
        least = 0.8 * GRADIENT_BYTES / 1e6
        if statistics.median(seconds) < least:
            raise Failure(
                f"steps took {statistics.median(seconds):.2f} s, "
                f"wanted {least:.2f} at least"
            )


class Coordinator(Fault):
    title = "the coordinator killed"
    sentences = {
        0: "the coordinator ended: killed by signal 9",
        1: "the coordinator at .* is gone",
    }

    def strike(self, job: Job, network: Network) -> None:
        os.kill(job.process("coordinator"), signal.SIGKILL)


class HungCoordinator(Fault):
    title = "the coordinator stopped"
    sentences = dict.fromkeys(HOSTS, "the coordinator at .* has not answered")

    def strike(self, job: Job, network: Network) -> None:
        os.kill(job.process("coordinator"), signal.SIGSTOP)


class Disk(Fault):
    title = "a full disk (of run_dir)"
    sentences = dict.fromkeys(HOSTS, "No space left on device")
    max_restarts = 3

    def prepare(self, job: Job, network: Network) -> None:
        disk = self.disk(job)
        disk.mkdir(parents=True)
        two_hosts.run(*"mount -t tmpfs -o size=8m tmpfs".split(), str(disk))

    def strike(self, job: Job, network: Network) -> None:
        with open(self.disk(job) / "filler", "wb", buffering=0) as filler:
            try:
                while filler.write(bytes(4096)):
                    pass
            except OSError:
                pass  # It is full.

    def mend(self, job: Job, network: Network) -> None:
        (self.disk(job) / "filler").unlink()

    @staticmethod
    def disk(job: Job) -> pathlib.Path:
        return job.files.run_dir(job.name)


class Token(Fault):
    title = "a token file damaged before a restart"
    sentences = {1: r"train\.tokens.*(damaged|checksum)"}
    max_restarts = 3

    def strike(self, job: Job, network: Network) -> None:
        # A new file: the old one is in the running rank's memory.
        path = job.files.disk(1) / "train.tokens"
        contents = bytearray(path.read_bytes())
        contents[len(contents) // 2] ^= 0x10
        new = path.with_suffix(".new")
        new.write_bytes(contents)
        new.replace(path)
        os.kill(job.process("train", job.victim), signal.SIGKILL)


class Config(Fault):
    title = "another config on one host"
    sentences = dict.fromkeys(
        HOSTS,
        "config field seed differs: rank 0 on node0 has 1, "
        "rank 1 on node1 has 2",
    )
    at_start = True
    max_restarts = 3

    def strike(self, job: Job, network: Network) -> None:
        job.files.write_config(job.name, host=1, seed=2)

    def mend(self, job: Job, network: Network) -> None:
        job.files.write_config(job.name, host=1)


FAULTS: dict[str, Fault] = {
    "kill": Kill(),
    "kill2": Kill(nproc=2),
    "lead": Kill(lead=True),
    "stop": Stop(),
    "link": Link(),
    "link2": Link(nproc=2, stays=3),
    "link10": Link(stays=10),
    "stall": Stall(),
    "slow": Slow(),
    "coordinator": Coordinator(),
    "hang": HungCoordinator(),
    "disk": Disk(),
    "token": Token(),
    "config": Config(),
}
QUICK = ["link", "config"]


def plain(sentence: str, folder: pathlib.Path) -> str:
    """Without who passed it on, and where this test's files are."""
    passed_on = (
        r"^(\[[^]]*\] |nextword: |error: |warning: |coordinator: |"
        r"generation \d+ is aborted: )+"
    )
    sentence = re.sub(passed_on, "", sentence)
    return sentence.replace(f"{folder}/", "").replace("|", "/")


def suffer(fault: Fault, job: Job, network: Network) -> list[str]:
    """Runs the job through the fault: sentence, delay and restarts."""
    network.connect(fault.through_forwarder)
    job.files.reset_disks()
    fault.prepare(job, network)
    if fault.at_start:
        fault.strike(job, network)
        job.start()
        struck_at = job.started_at
    else:
        job.start()
        job.wait_for_step(STRIKE_AT)
        struck_at = time.monotonic()
        fault.strike(job, network)
    said = [
        job.wait_for(host, sentence, struck_at, NAMED_WITHIN + 5)
        for host, sentence in fault.sentences.items()
    ]
    fault.mend(job, network)
    job.wait_for_end(90)
    restarts = job.restarts()
    told = "/".join(str(n) for n in sorted(set(restarts)))
    if not fault.sentences:
        if max(restarts) > 0:
            raise Failure("the job was started again, wanted it to go on")
        before = job.step_seconds(0, struck_at)
        after = job.step_seconds(struck_at, time.monotonic())
        fault.check_slow(after)
        went_on = (
            f"none; went on: {statistics.median(before):.2f} s a step, "
            f"then {statistics.median(after):.2f} s, {max(after):.1f} s at most"
        )
        return [went_on, "", told]
    if min(restarts) < 1 or max(restarts) > fault.max_restarts:
        raise Failure(
            f"the hosts restarted {restarts} times, "
            f"wanted 1 to {fault.max_restarts}"
        )
    late = max(line.time for line in said) - struck_at
    if late > NAMED_WITHIN:
        raise Failure(f"a host named the cause after {late:.1f} s")
    first = min(said, key=lambda line: line.time)
    sentence = plain(first.text, job.files.folder)
    return [sentence, f"{first.time - struck_at:.1f}", told]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="network_faults.sh",
        description="Faults on a network of two hosts, survived.",
        epilog="Faults: " + ", ".join(FAULTS),
    )
    parser.add_argument(
        "faults", nargs="*", metavar="FAULT", help="all if not given"
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"only {' and '.join(QUICK)}"
    )
    parser.add_argument("--binary", default="bazel-bin/tools/nextword")
    parser.add_argument(
        "--show", action="store_true", help="what every job printed, too"
    )
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [name for name in options.faults if name not in FAULTS]
    if unknown:
        parser.error(f"no fault {unknown[0]}; there are {', '.join(FAULTS)}")
    if not os.access(options.binary, os.X_OK):
        parser.error(
            f"{options.binary} is not there: bazel build //tools:nextword"
        )
    names = options.faults or (QUICK if options.quick else list(FAULTS))

    files = Files(
        pathlib.Path(options.folder),
        os.path.abspath(options.binary),
        micro_batch=12 if options.quick else 24,
    )
    started_at = time.monotonic()
    network = Network()
    files.train_alone("alone")
    wanted = files.bits("alone")
    print(f"one rank: sha256 {wanted[:16]}...\n", flush=True)
    print("| fault | first sentence that names it | s | restarts | same bits |")
    print("| --- | --- | --- | --- | --- |", flush=True)
    failed = False
    for number, name in enumerate(["none", *names]):
        fault = FAULTS.get(name, Fault())
        if fault.through_forwarder and not os.path.exists("/dev/net/tun"):
            print(f"| {fault.title} | left out: no /dev/net/tun | | | |")
            continue
        job = Job(files, f"{name}-{number}", fault.nproc)
        trouble = None
        try:
            row = suffer(fault, job, network)
        except Failure as failure:
            trouble = str(failure)
            row = [f"FAILED: {failure}", "", str(job.restarts())]
        job.kill()
        same = files.bits(job.name) == wanted
        cells = [fault.title, *row, "yes" if same else "NO"]
        print("| " + " | ".join(cells) + " |", flush=True)
        if trouble or not same:
            failed = True
        if trouble or not same or options.show:
            print(job.transcript() + "\n", file=sys.stderr, flush=True)
    print(f"\nin {time.monotonic() - started_at:.0f} s altogether")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
