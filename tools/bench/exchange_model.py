"""How long GPUs take to add up what each of them has: the arithmetic.

A bucket of gradients is added up and given to all in two halves, see
docs/scaling.md. Seconds and bytes throughout, unless a name says otherwise.
"""

import dataclasses
import math
from typing import Any


def given(default: float, what: str, source: str) -> Any:
    """A field with a default, what it is and where the default comes from."""
    return dataclasses.field(
        default=default, metadata={"what": what, "source": source}
    )


_TUNING = "NCCL's own estimates: src/graph/tuning.cc, protocol Simple"
_ASSUMED = "assumed"


@dataclasses.dataclass(frozen=True)
class Machine:
    """Nodes of GPUs, and what a GPU and the links between them can do."""

    peak_tflops: float = given(
        989,
        "bf16 peak of a GPU, TFLOP/s",
        "NVIDIA's data sheet, H100 SXM, dense",
    )
    mfu: float = given(
        0.45, "share of it that forward and backward reach", _ASSUMED
    )
    memory_gb: float = given(
        80, "memory of a GPU, GB", "NVIDIA's data sheet, H100 SXM"
    )
    memory_gbs: float = given(
        3350, "its bandwidth, GB/s", "NVIDIA's data sheet, H100 SXM"
    )
    memory_share: float = given(
        0.9, "share of it that element-wise kernels reach", _ASSUMED
    )
    node: int = given(8, "GPUs of a node", "DGX and HGX H100")
    nvlink_gbs: float = given(
        450,
        "NVLink 4, GB/s a GPU and direction",
        "NVIDIA's data sheet, 900 both",
    )
    nvlink_share: float = given(
        0.82,
        "share of it that is reachable",
        "370 GB/s: NVIDIA/nccl-tests #212",
    )
    network_gbs: float = given(
        50,
        "InfiniBand, GB/s a GPU and direction",
        "400 Gb/s, an adapter per GPU",
    )
    network_share: float = given(
        0.94,
        "share of it that is reachable",
        "46 to 48 GB/s: NVIDIA/nccl-tests #290",
    )
    nvlink_hop_us: float = given(3.4, "a ring's hop over NVLink, us", _TUNING)
    nvlink_tree_hop_us: float = given(
        4.0, "a tree's hop over NVLink, us", _TUNING
    )
    network_hop_us: float = given(14.0, "a hop over the network, us", _TUNING)
    message_us: float = given(
        1.0, "sending one more message to another rank, us", _ASSUMED
    )
    launch_us: float = given(3.0, "starting a kernel, us", _ASSUMED)

    def __post_init__(self) -> None:
        for field in ("mfu", "memory_share", "nvlink_share", "network_share"):
            if not 0 < getattr(self, field) <= 1:
                raise ValueError(
                    f"{field} is {getattr(self, field):g}; wanted a share: "
                    "more than 0, at most 1"
                )

    @property
    def flops(self) -> float:
        return self.peak_tflops * 1e12 * self.mfu

    @property
    def memory(self) -> float:
        return self.memory_gbs * 1e9 * self.memory_share

    @property
    def nvlink(self) -> float:
        return self.nvlink_gbs * 1e9 * self.nvlink_share

    @property
    def network(self) -> float:
        return self.network_gbs * 1e9 * self.network_share

    def hop(self, nodes: int) -> float:
        return (self.network_hop_us if nodes > 1 else self.nvlink_hop_us) * 1e-6

    def split(self, ranks: int) -> tuple[int, int]:
        """How many ranks share a node, and the number of nodes."""
        local = min(self.node, ranks)
        if ranks % local:
            raise ValueError(
                f"{ranks} GPUs are not whole nodes of {self.node} GPUs"
            )
        return local, ranks // local


@dataclasses.dataclass(frozen=True)
class Plan:
    """How the gradients are added up."""

    # direct: pieces go straight to the rank that adds them up, and back from
    # it, as distributed/collectives does. hybrid: the same within nodes, then
    # between them. ring, tree: NCCL's, for comparison.
    exchange: str = "direct"
    gather: str = "direct"  # The second half of `direct`: direct or ring.
    fused_sum: bool = False  # One kernel adds all ranks' pieces, not pairs.
    gradient_bytes: int = 4
    bucket_mib: float = 25
    sharded: bool = False  # distributed.sharding: OPTIMIZER.
    overlap: bool = True  # Send buckets during backward.


@dataclasses.dataclass(frozen=True)
class Exchange:
    """Time of half an all-reduce, by cause."""

    wire: float = 0.0  # Bytes on the busiest link.
    latency: float = 0.0  # Hops and messages.
    sum: float = 0.0  # Adding up what has come.

    @property
    def total(self) -> float:
        return self.wire + self.latency + self.sum


def sum_time(m: Machine, plan: Plan, rows: int, row_bytes: float) -> float:
    """To add `rows` rows into one."""
    if rows < 2:
        return 0.0
    if plan.fused_sum:
        return m.launch_us * 1e-6 + (rows + 1) * row_bytes / m.memory
    pairs = rows - 1  # Each reads two rows and writes one.
    return pairs * (m.launch_us * 1e-6 + 3 * row_bytes / m.memory)


def direct_half(
    m: Machine, plan: Plan, ranks: int, size: float, adds: bool
) -> Exchange:
    """A message to each other rank, with its piece of `size` bytes."""
    local, nodes = m.split(ranks)
    piece = size / ranks
    # The two kinds of links work at the same time.
    wire = max(
        (local - 1) * piece / m.nvlink, (ranks - local) * piece / m.network
    )
    latency = m.hop(nodes) + (ranks - 1) * m.message_us * 1e-6
    return Exchange(
        wire, latency, sum_time(m, plan, ranks, piece) if adds else 0.0
    )


def hybrid_half(
    m: Machine, plan: Plan, ranks: int, size: float, adds: bool
) -> Exchange:
    """Within each node, then each rank's share with its peers in others."""
    local, nodes = m.split(ranks)
    inside = size / local
    piece = size / ranks
    wire = (local - 1) * inside / m.nvlink + (nodes - 1) * piece / m.network
    latency = m.hop(1) + (local - 1) * m.message_us * 1e-6
    if nodes > 1:
        latency += m.hop(nodes) + (nodes - 1) * m.message_us * 1e-6
    sums = 0.0
    if adds:
        sums = sum_time(m, plan, local, inside)
        sums += sum_time(m, plan, nodes, piece)
    return Exchange(wire, latency, sums)


def ring_half(m: Machine, ranks: int, size: float) -> Exchange:
    """NCCL's rings, one per adapter: each crosses between nodes once, so that
    all adapters of a node share its traffic."""
    local, nodes = m.split(ranks)
    rate = min(m.nvlink, local * m.network) if nodes > 1 else m.nvlink
    hops = (ranks - nodes) * m.hop(1)
    if nodes > 1:
        hops += (nodes - 1) * m.hop(nodes)
    return Exchange((ranks - 1) / ranks * size / rate, hops)


def tree_half(m: Machine, ranks: int, size: float) -> Exchange:
    """NCCL's double tree, up or down: all of the data, in few hops."""
    local, nodes = m.split(ranks)
    rate = min(m.nvlink, local * m.network) if nodes > 1 else m.nvlink
    hops = (local - 1) * m.nvlink_tree_hop_us * 1e-6
    if nodes > 1:
        hops += math.ceil(math.log2(nodes)) * m.hop(nodes)
    return Exchange(size / (0.92 * rate), hops)


def half(
    m: Machine, plan: Plan, ranks: int, size: float, adds: bool
) -> Exchange:
    """The first half of an all-reduce of `size` bytes, which adds, or the
    second."""
    if ranks == 1:
        return Exchange()
    if plan.exchange == "hybrid":
        return hybrid_half(m, plan, ranks, size, adds)
    if plan.exchange == "tree":
        return tree_half(m, ranks, size)
    if plan.exchange == "ring" or (plan.gather == "ring" and not adds):
        return ring_half(m, ranks, size)
    return direct_half(m, plan, ranks, size, adds)
