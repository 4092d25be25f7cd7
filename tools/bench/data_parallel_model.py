"""How long a step of data-parallel training takes on H100s: the arithmetic.

Every GPU computes the gradient of its share of the batch; then all add their
gradients up. docs/scaling.md has the formulas, scaling_model.py prints the
tables. Seconds, bytes and tokens throughout, unless a name says otherwise.
"""

import dataclasses
import math

from exchange_model import Machine, Plan, half

# Elements, as in distributed/collectives/pieces.h.
PIECE_UNIT = 8192


@dataclasses.dataclass(frozen=True)
class Model:
    """A transformer, as far as its cost goes. Parameters lie in this order:
    embeddings, blocks, final norm, head; backward goes from the end."""

    name: str
    layers: int
    hidden: int
    vocab: int
    context: int
    block_matrices: int  # Elements of a block.
    block_vectors: int
    final_vectors: int
    learned_positions: bool
    tied: bool
    micro_batch: int  # Sequences that a GPU computes at once.

    @property
    def embedding(self) -> int:
        positions = self.context if self.learned_positions else 0
        return (self.vocab + positions) * self.hidden

    @property
    def head(self) -> int:
        """Elements that multiply, which a tied head shares."""
        return self.vocab * self.hidden

    @property
    def blocks(self) -> int:
        return self.layers * (self.block_matrices + self.block_vectors)

    @property
    def parameters(self) -> int:
        own_head = 0 if self.tied else self.head
        return self.embedding + self.blocks + self.final_vectors + own_head

    @property
    def flops_per_token(self) -> float:
        """TrainFlopsPerToken of layers/model_cost.h."""
        keys = (self.context + 1) / 2
        matrices = self.layers * self.block_matrices + self.head
        return 6 * matrices + 12 * self.layers * self.hidden * keys

    @property
    def kernels(self) -> int:
        """Of the forward and backward pass of a micro-batch, as the calls that
        `nextword bench --what step --json` lists grow with the layers."""
        return 44 * self.layers + 24

    def ready(self, begin: int) -> float:
        """The share of the backward pass after which all gradients from
        element `begin` on are complete."""
        if begin < self.embedding:
            return 1.0
        head_time = 6 * self.head / self.flops_per_token
        before = self.embedding + self.blocks
        if begin >= before:
            return head_time
        done = (before - begin) / self.blocks
        return head_time + (1 - head_time) * done


def gpt2(name: str, layers: int, hidden: int, micro_batch: int) -> Model:
    return Model(
        name=name,
        layers=layers,
        hidden=hidden,
        vocab=50257,
        context=1024,
        block_matrices=12 * hidden**2,
        block_vectors=13 * hidden,
        final_vectors=2 * hidden,
        learned_positions=True,
        tied=True,
        micro_batch=micro_batch,
    )


def llama(name: str, layers: int, hidden: int, mlp: int) -> Model:
    return Model(
        name=name,
        layers=layers,
        hidden=hidden,
        vocab=32000,
        context=4096,
        block_matrices=4 * hidden**2 + 3 * hidden * mlp,
        block_vectors=2 * hidden,
        final_vectors=hidden,
        learned_positions=False,
        tied=False,
        micro_batch=1,
    )


# GPT-2 small and XL as in configs/, Llama 2 7B; micro-batches of the configs.
MODELS = {
    "124M": gpt2("124M", 12, 768, 16),
    "1.5B": gpt2("1.5B", 48, 1600, 4),
    "7B": llama("7B", 32, 4096, 11008),
}


@dataclasses.dataclass(frozen=True)
class Bucket:
    begin: int
    end: int


def buckets(model: Model, plan: Plan) -> list[Bucket]:
    """In the order in which they are sent, from the end of the buffer."""
    elements = plan.bucket_mib * 2**20 / plan.gradient_bytes
    size = max(1, int(elements) // PIECE_UNIT) * PIECE_UNIT
    begins = range(0, model.parameters, size)
    ends = [min(begin + size, model.parameters) for begin in begins]
    return [Bucket(*ends) for ends in reversed(list(zip(begins, ends)))]


def bucket_time(m: Machine, plan: Plan, ranks: int, bucket: Bucket) -> float:
    """Of what goes on behind backward."""
    size = (bucket.end - bucket.begin) * plan.gradient_bytes
    reduce = half(m, plan, ranks, size, adds=True).total
    if plan.sharded:
        return reduce
    return reduce + half(m, plan, ranks, size, adds=False).total


def weights_time(m: Machine, model: Model, plan: Plan, ranks: int) -> float:
    """With sharding: the all-gather of the updated weights, which are f32."""
    if not plan.sharded:
        return 0.0
    return sum(
        half(m, plan, ranks, 4 * (b.end - b.begin), adds=False).total
        for b in buckets(model, plan)
    )


def small_time(m: Machine, model: Model, plan: Plan, ranks: int) -> float:
    """The sum of the losses and, with sharding, the norm of the gradient."""
    time = half(m, plan, ranks, 16 * ranks, adds=False).total
    if plan.sharded:
        size = 8 * math.ceil(model.parameters / PIECE_UNIT)
        time += half(m, plan, ranks, size, adds=True).total
        time += half(m, plan, ranks, size, adds=False).total
    return time


def update_time(m: Machine, model: Model, plan: Plan, ranks: int) -> float:
    """The norm reads gradients; AdamW reads them, weights and two moments,
    writes the latter three, the bf16 copy, and zeroes. With sharding a rank
    does so with its share, then copies and zeroes all."""
    each = 4 + 16 + 12 + 2 + 4
    bytes_moved = each / ranks + 4 + 2 + 4 if plan.sharded else each
    return model.parameters * bytes_moved / m.memory


def state_bytes(model: Model, plan: Plan, ranks: int) -> float:
    """Weights and their bf16 copy, gradients, moments, a bucket of pieces."""
    moments = 8 / ranks if plan.sharded else 8
    bucket = plan.bucket_mib * 2**20 if ranks > 1 else 0
    return model.parameters * (4 + 2 + 4 + moments) + bucket


def exposed_time(
    m: Machine, model: Model, plan: Plan, ranks: int, backward: float
) -> float:
    """How much longer than the last backward pass the exchange takes: buckets
    are sent one after the other, each when it is complete."""
    if ranks == 1:
        return 0.0
    end = 0.0
    for bucket in buckets(model, plan):
        ready = model.ready(bucket.begin) if plan.overlap else 1.0
        start = max(end, ready * backward)
        end = start + bucket_time(m, plan, ranks, bucket)
    return end - backward


@dataclasses.dataclass(frozen=True)
class Step:
    """A training step on `ranks` GPUs."""

    ranks: int
    batch: int
    micro_batches: int  # Of each GPU.
    compute: float  # Forward and backward.
    exposed: float  # Exchanges behind which nothing is computed.
    update: float
    state: float  # Bytes.

    @property
    def seconds(self) -> float:
        return self.compute + self.exposed + self.update

    @property
    def tokens_per_second(self) -> float:
        return self.batch / self.seconds


def most_ranks(model: Model, batch: int) -> int:
    """A GPU has a sequence at least."""
    return batch // model.context


def micro_batches(model: Model, batch: int, ranks: float) -> int:
    return max(1, math.ceil(batch / model.context / ranks / model.micro_batch))


def step(m: Machine, model: Model, plan: Plan, batch: int, ranks: int) -> Step:
    if ranks > most_ranks(model, batch):
        raise ValueError(
            f"{batch} tokens are {most_ranks(model, batch)} sequences of "
            f"{model.context}, fewer than {ranks} GPUs"
        )
    count = micro_batches(model, batch, ranks)
    tokens = batch / ranks / count
    # A GPU that computes faster than its host starts kernels waits for it.
    one = max(
        tokens * model.flops_per_token / m.flops,
        model.kernels * m.launch_us * 1e-6,
    )
    exposed = exposed_time(m, model, plan, ranks, backward=one * 2 / 3)
    if ranks > 1:
        exposed += weights_time(m, model, plan, ranks)
        exposed += small_time(m, model, plan, ranks)
    return Step(
        ranks=ranks,
        batch=batch,
        micro_batches=count,
        compute=count * one,
        exposed=exposed,
        update=update_time(m, model, plan, ranks),
        state=state_bytes(model, plan, ranks),
    )


def one_gpu(m: Machine, model: Model, batch: int) -> Step:
    """What efficiency is measured by: no exchange, whether or not it fits."""
    return step(m, model, Plan(), batch, 1)


def strong_efficiency(
    m: Machine, model: Model, plan: Plan, batch: int, ranks: int
) -> float:
    """The speed-up over one GPU with the same batch, per GPU."""
    alone = one_gpu(m, model, batch).seconds
    return alone / ranks / step(m, model, plan, batch, ranks).seconds


def weak_efficiency(
    m: Machine, model: Model, plan: Plan, tokens_per_gpu: int, ranks: int
) -> float:
    """One GPU's step with its own tokens, over that with all others'."""
    alone = one_gpu(m, model, tokens_per_gpu).seconds
    return alone / step(m, model, plan, tokens_per_gpu * ranks, ranks).seconds


def falls_under(
    m: Machine, model: Model, plan: Plan, batch: int, efficiency: float
) -> int | None:
    """The first power of two of GPUs at which strong scaling is less efficient;
    None when the batch has too few sequences to get there."""
    ranks = 2
    while ranks <= most_ranks(model, batch):
        if strong_efficiency(m, model, plan, batch, ranks) < efficiency:
            return ranks
        ranks *= 2
    return None


def three_terms(cost, node: int) -> tuple[float, float, float]:
    """a, b, c of cost(P) = a + b P + c / P, which holds above a node."""
    p, q, r = 4 * node, 16 * node, 64 * node
    fp, fq, fr = cost(p), cost(q), cost(r)
    # Divided differences: those of a + b P + c / P are b - c / (P Q).
    pq, qr = (fq - fp) / (q - p), (fr - fq) / (r - q)
    c = (qr - pq) / (1 / (p * q) - 1 / (q * r))
    b = pq + c / (p * q)
    return fp - b * p - c / p, b, c


def crossing(
    m: Machine, model: Model, plan: Plan, batch: int, efficiency: float
) -> float:
    """The closed formula of docs/scaling.md: at how many GPUs, more than a
    node, strong scaling has this efficiency."""
    compute = batch * model.flops_per_token / m.flops
    alone = one_gpu(m, model, batch)
    sent = buckets(model, plan)
    late = [b for b in sent if b.begin < model.embedding]

    def solve(hidden: float, sent_in_sight: list[Bucket]) -> float:
        def in_sight(ranks: int) -> float:
            return (
                sum(bucket_time(m, plan, ranks, b) for b in sent_in_sight)
                + weights_time(m, model, plan, ranks)
                + small_time(m, model, plan, ranks)
                + update_time(m, model, plan, ranks)
            )

        a, b, c = three_terms(in_sight, m.node)
        budget = alone.seconds / efficiency - compute * (1 - hidden) - c
        if budget <= 0:
            return 0.0
        # b P^2 + a P = budget, in a form that also holds for b = 0.
        return 2 * budget / (a + math.sqrt(a * a + 4 * b * budget))

    count, ranks = 0, math.inf
    while True:
        now = micro_batches(model, batch, ranks)
        if now <= count:
            return ranks
        count = now
        # Hidden is what is left of the last backward pass after the first
        # bucket; but never the buckets that are complete at its end.
        left = 1 - model.ready(sent[0].begin) if plan.overlap else 0.0
        ranks = min(solve(2 / 3 / count * left, sent), solve(0.0, late))
