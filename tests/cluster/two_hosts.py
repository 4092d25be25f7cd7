"""Two hosts on this machine, and a training job on them.

A host is a network namespace with a name of its own and a local disk (the same
path on both, another folder behind it). Wants root and namespaces of mounts and
processes that nobody else uses: nothing here is undone.
"""

import collections
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

HOSTS = (0, 1)
ADDRESSES = ("10.77.0.1", "10.77.0.2")
STEPS = 50
SAVED_EVERY = 5

CONFIG = """
run_dir: "{run_dir}"
steps: {steps}
device: CPU
threads: 1
model {{
  layers: 2
  hidden_size: 64
  num_heads: 4
  context_length: 64
  vocab_size: 512
}}
data {{
  source: "{text}"
  tokenizer_vocab_size: 512
  cache_dir: "{cache}"
}}
batch {{ lanes: 8 micro_batch: {micro_batch} }}
evaluation {{ every: 0 }}
checkpoint {{ every: {saved_every} }}
log {{ every: 1 }}
"""

# Arguments: the host's name, its disk, where that is to be seen, a command.
ON_HOST = """
hostname "$1"
mount --bind "$2" "$3"
shift 3
exec "$@"
"""


class Failure(RuntimeError):
    """What did not happen as it should."""


def run(*command: str) -> None:
    subprocess.run(command, check=True)


class Network:
    """The hosts' network devices and the link between them."""

    def __init__(self) -> None:
        os.makedirs("/run/netns", exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")
        for host in HOSTS:
            run("ip", "netns", "add", f"node{host}")
            run("ip", "-n", f"node{host}", "link", "set", "lo", "up")
        self.forwarder: subprocess.Popen[bytes] | None = None

    def connect(self, through_forwarder: bool) -> None:
        """Replaces the link: a cable, or a program that can be slow."""
        self.disconnect()
        if through_forwarder:
            self.forwarder = subprocess.Popen(
                [
                    sys.executable,
                    str(HERE / "packet_forwarder.py"),
                    "node0",
                    "node1",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            if self.forwarder.stdout.readline() != b"ready\n":
                raise Failure("the forwarder did not start")
        else:
            run(
                *"ip -n node0 link add cable type veth".split(),
                *"peer name cable netns node1".split(),
            )
        for host in HOSTS:
            node = ("ip", "-n", f"node{host}")
            peer = ADDRESSES[1 - host]
            mine = ("local", ADDRESSES[host], "peer", peer)
            if not through_forwarder:
                mine = (f"{ADDRESSES[host]}/24",)
            run(*node, "address", "add", *mine, "dev", "cable")
            run(*node, "link", "set", "cable", "up")

    def disconnect(self) -> None:
        if self.forwarder is not None:
            self.forwarder.stdin.close()
            self.forwarder.wait()
            self.forwarder = None
        else:
            subprocess.run(
                ["ip", "-n", "node0", "link", "delete", "cable"],
                stderr=subprocess.DEVNULL,
                check=False,
            )

    def set_link(self, state: str) -> None:
        """Pulls the cable out of host 1 (`down`) or back in (`up`)."""
        run("ip", "-n", "node1", "link", "set", "cable", state)

    def tell_forwarder(self, command: str) -> None:
        self.forwarder.stdin.write(command.encode() + b"\n")
        self.forwarder.stdin.flush()


class Files:
    """What a job reads, under a folder of its own."""

    def __init__(self, folder: pathlib.Path, binary: str, micro_batch: int):
        self.folder = folder
        self.binary = binary
        self.micro_batch = micro_batch
        self.cache = folder / "local"
        self.token = folder / "token"
        self.text = folder / "text.txt"
        self.cache.mkdir()
        self.token.write_text(os.urandom(16).hex())
        documents = sorted((ROOT / "docs").glob("*.md"))
        self.text.write_text("\n".join(d.read_text() for d in documents))

    def disk(self, host: int) -> pathlib.Path:
        return self.folder / f"disk{host}"

    def reset_disks(self) -> None:
        """The hosts' disks hold what the one rank's run made of the text."""
        for host in HOSTS:
            shutil.rmtree(self.disk(host), ignore_errors=True)
            shutil.copytree(self.cache, self.disk(host))

    def run_dir(self, name: str) -> pathlib.Path:
        return self.folder / "runs" / name

    def write_config(self, name: str, host: int, seed: int = 1) -> pathlib.Path:
        path = self.folder / f"{name}.{host}.textproto"
        text = CONFIG.format(
            run_dir=self.run_dir(name),
            text=self.text,
            cache=self.cache,
            steps=STEPS,
            saved_every=SAVED_EVERY,
            micro_batch=self.micro_batch,
        )
        path.write_text(f"seed: {seed}{text}")
        return path

    def bits(self, name: str) -> str:
        """The hash of a run's last checkpoint; "" when there is none."""
        saved = self.run_dir(name) / "checkpoints" / f"step-{STEPS:08}"
        digest = hashlib.sha256()
        for part in ("model.safetensors", "optimizer.safetensors"):
            if not (saved / part).exists():
                return ""
            digest.update((saved / part).read_bytes())
        return digest.hexdigest()

    def train_alone(self, name: str) -> str:
        """Trains as one process; what it says."""
        config = self.write_config(name, 0)
        done = subprocess.run(
            [self.binary, "train", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not self.bits(name):
            raise Failure(f"the run of one rank failed:\n{done.stdout}")
        return done.stdout


Line = collections.namedtuple("Line", "time host text")


class Job:
    """A launcher on each host, and what they say."""

    def __init__(self, files: Files, name: str, nproc: int):
        self.files = files
        self.name = name
        self.nproc = nproc
        self.victim = nproc  # The first rank of host 1.
        self.configs = [files.write_config(name, host) for host in HOSTS]
        self.launchers: list[subprocess.Popen[str]] = []
        self.lines: list[Line] = []
        self.changed = threading.Condition()
        self.started_at = 0.0

    def start(self) -> None:
        self.started_at = time.monotonic()
        for host in HOSTS:
            launch = [
                *f"launch --nnodes 2 --nproc {self.nproc}".split(),
                *f"--node-rank {host} --run-id {self.name}".split(),
                *f"--coordinator {ADDRESSES[0]}:29400".split(),
                *("--token-file", str(self.files.token)),
                *("--", "train", "--config", str(self.configs[host])),
            ]
            launcher = subprocess.Popen(
                [
                    *f"ip netns exec node{host} unshare --mount --uts".split(),
                    *("sh", "-e", "-c", ON_HOST, "sh", f"node{host}"),
                    *(str(self.files.disk(host)), str(self.files.cache)),
                    *(self.files.binary, *launch),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
            )
            self.launchers.append(launcher)
            threading.Thread(
                target=self._listen, args=(host, launcher.stdout), daemon=True
            ).start()

    def _listen(self, host: int, output) -> None:
        for text in output:
            line = Line(time.monotonic(), host, text.rstrip("\n"))
            with self.changed:
                self.lines.append(line)
                self.changed.notify_all()

    def wait_for(
        self, host: int, pattern: str, since: float, patience: float
    ) -> Line:
        """The first line of a host, after `since`, with `pattern` in it."""
        deadline = time.monotonic() + patience
        with self.changed:
            while True:
                for line in list(self.lines):
                    if line.host != host or line.time < since:
                        continue
                    if re.search(pattern, line.text):
                        return line
                left = deadline - time.monotonic()
                ended = all(l.poll() is not None for l in self.launchers)
                if left <= 0 or ended:
                    raise Failure(
                        f"node{host} did not say within {patience:g} s: "
                        f"{pattern}"
                    )
                self.changed.wait(min(left, 0.1))

    def wait_for_step(self, step: int) -> None:
        """Until that step, or one after it, is done."""
        steps = "|".join(str(s) for s in range(step, STEPS + 1))
        self.wait_for(0, rf"step ({steps})/", 0, 60)

    def step_seconds(self, since: float, until: float) -> list[float]:
        """How long each step took that ended between these times."""
        times = [
            line.time
            for line in self.lines
            if line.host == 0 and re.search(r" step \d+/", line.text)
        ]
        return [
            end - start
            for start, end in zip(times, times[1:])
            if since < end <= until
        ]

    def wait_for_end(self, patience: float) -> None:
        """Until both launchers have ended well."""
        deadline = time.monotonic() + patience
        for host, launcher in enumerate(self.launchers):
            try:
                code = launcher.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                raise Failure(
                    f"the launcher of node{host} has not ended after "
                    f"{patience:g} s"
                ) from None
            if code != 0:
                raise Failure(f"the launcher of node{host} ended with {code}")

    def restarts(self) -> list[int]:
        """How often each launcher started its ranks again."""
        return [
            sum(
                line.host == host and "[launcher] starting again" in line.text
                for line in self.lines
            )
            for host in HOSTS
        ]

    def process(self, role: str, rank: int | None = None) -> int:
        """The pid of a rank (`train`) or of the `coordinator`."""
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue  # It has just ended.
            if len(arguments) < 2 or arguments[1].decode() != role:
                continue
            if rank is None or f"RANK={rank}".encode() in variables:
                return int(folder.name)
        raise Failure(f"no process is a {role} {'' if rank is None else rank}")

    def kill(self) -> None:
        """Ranks and coordinator go with their launchers."""
        for launcher in self.launchers:
            if launcher.poll() is None:
                launcher.send_signal(signal.SIGKILL)
                launcher.wait()

    def transcript(self) -> str:
        return "\n".join(
            f"{line.time - self.started_at:7.2f} node{line.host} {line.text}"
            for line in self.lines
        )
