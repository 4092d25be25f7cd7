"""A cable between two network namespaces that can stall and be slow.

  packet_forwarder.py NAMESPACE NAMESPACE

Makes a TUN device `cable` in each and passes packets on between them. Takes
lines on standard input: `stall SECONDS` holds all packets back for so long,
`rate BYTES` passes on so many a second in each direction (0: as many as come).
Says `ready` on standard output. Ends with its standard input.
"""

import collections
import ctypes
import fcntl
import os
import select
import struct
import sys
import time

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
CLONE_NEWNET = 0x40000000

LIBC = ctypes.CDLL(None, use_errno=True)

# Like a router's, which is not to hold seconds of traffic.
MAX_QUEUED_BYTES = 128 << 10


def open_device(namespace: str) -> int:
    """A TUN device in a network namespace; its descriptor works from any."""
    with open(f"/run/netns/{namespace}", "rb") as file:
        if LIBC.setns(file.fileno(), CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), file.name)
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(
        device, TUNSETIFF, struct.pack("16sH22x", b"cable", IFF_TUN | IFF_NO_PI)
    )
    return device


class Direction:
    """Packets on their way from one device to the other."""

    def __init__(self, source: int, sink: int):
        self.source = source
        self.sink = sink
        self.queue: collections.deque[bytes] = collections.deque()
        self.queued_bytes = 0
        self.next_at = 0.0  # When the next packet may leave.

    def has_room(self) -> bool:
        return self.queued_bytes < MAX_QUEUED_BYTES

    def receive(self) -> None:
        while self.has_room():
            try:
                packet = os.read(self.source, 65536)
            except OSError:  # None left, or the device is down.
                return
            self.queue.append(packet)
            self.queued_bytes += len(packet)

    def send(self, now: float, rate: float) -> None:
        self.next_at = max(self.next_at, now - 0.01)
        while self.queue and self.next_at <= now:
            packet = self.queue.popleft()
            self.queued_bytes -= len(packet)
            if rate > 0:
                self.next_at += len(packet) / rate
            try:
                os.write(self.sink, packet)
            except OSError:
                pass  # Lost, as on any network.


def forward(first: int, second: int) -> None:
    directions = [Direction(first, second), Direction(second, first)]
    stalled_until = 0.0
    rate = 0.0
    commands = b""
    while True:
        now = time.monotonic()
        poll = select.poll()
        poll.register(0, select.POLLIN)
        wake_at = now + 60
        for direction in directions:
            if direction.has_room():
                poll.register(direction.source, select.POLLIN)
            if direction.queue:
                wake_at = min(wake_at, max(direction.next_at, stalled_until))
        events = poll.poll(max(0, (wake_at - now) * 1000))
        if any(descriptor == 0 for descriptor, _ in events):
            said = os.read(0, 4096)
            if not said:
                return
            *lines, commands = (commands + said).split(b"\n")
            for line in lines:
                command, value = line.split()
                if command == b"stall":
                    stalled_until = time.monotonic() + float(value)
                elif command == b"rate":
                    rate = float(value)
                else:
                    raise ValueError(f"unknown command {line!r}")
        now = time.monotonic()
        for direction in directions:
            direction.receive()
            if now >= stalled_until:
                direction.send(now, rate)


if __name__ == "__main__":
    devices = [open_device(namespace) for namespace in sys.argv[1:3]]
    print("ready", flush=True)
    forward(*devices)
