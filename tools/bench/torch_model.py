"""The decoder of layers/*.cc as a PyTorch user would write it: GPT-2 and the
Llama family."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from run_config import Run

ACTIVATIONS = {
    "GELU_TANH": lambda x: F.gelu(x, approximate="tanh"),
    "GELU": F.gelu,
    "SILU": F.silu,
}


def make_norm(run: Run) -> nn.Module:
    if run.rms_norm:
        return nn.RMSNorm(run.hidden_size, eps=run.norm_epsilon)
    return nn.LayerNorm(run.hidden_size, eps=run.norm_epsilon, bias=run.bias)


class Rotary(nn.Module):
    """Turns the pairs (i, i + head_dim / 2) of [batch, heads, time, head_dim]
    by angles that grow with time (Su et al. 2021)."""

    def __init__(self, run: Run):
        super().__init__()
        exponents = torch.arange(0, run.head_dim, 2).double() / run.head_dim
        times = torch.arange(run.context_length).double()
        angles = torch.outer(times, run.rope_theta**-exponents)
        self.register_buffer("cos", angles.cos().float(), persistent=False)
        self.register_buffer("sin", angles.sin().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        time = x.shape[2]
        cos, sin = self.cos[:time].to(x.dtype), self.sin[:time].to(x.dtype)
        first, second = x.chunk(2, dim=-1)
        return torch.cat(
            (first * cos - second * sin, second * cos + first * sin), dim=-1
        )


class Attention(nn.Module):
    def __init__(self, run: Run):
        super().__init__()
        heads = (run.num_heads, run.kv_heads, run.kv_heads)
        self.sizes = [n * run.head_dim for n in heads]
        self.head_dim = run.head_dim
        self.grouped = run.kv_heads != run.num_heads
        self.rotary = Rotary(run) if run.rope_theta else nn.Identity()
        self.qkv = nn.Linear(run.hidden_size, sum(self.sizes), run.bias)
        self.out = nn.Linear(self.sizes[0], run.hidden_size, run.bias)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for part in self.qkv(x).split(self.sizes, dim=-1)
        )
        z = F.scaled_dot_product_attention(
            self.rotary(q),
            self.rotary(k),
            v,
            is_causal=True,
            enable_gqa=self.grouped,
        )
        return self.out(z.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, run: Run):
        super().__init__()
        self.gated = run.activation == "SWIGLU"
        rows = run.mlp_size * (2 if self.gated else 1)
        self.activate = None if self.gated else ACTIVATIONS[run.activation]
        self.up = nn.Linear(run.hidden_size, rows, run.bias)
        self.down = nn.Linear(run.mlp_size, run.hidden_size, run.bias)

    def forward(self, x: Tensor) -> Tensor:
        if not self.gated:
            return self.down(self.activate(self.up(x)))
        gate, up = self.up(x).chunk(2, dim=-1)
        return self.down(F.silu(gate) * up)


class Block(nn.Module):
    def __init__(self, run: Run):
        super().__init__()
        self.attn_norm, self.attn = make_norm(run), Attention(run)
        self.mlp_norm, self.mlp = make_norm(run), Mlp(run)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.attn_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class Decoder(nn.Module):
    def __init__(self, run: Run):
        super().__init__()
        self.embed = nn.Embedding(run.vocab_size, run.hidden_size)
        self.pos_embed = None
        if run.rope_theta is None:
            self.pos_embed = nn.Embedding(run.context_length, run.hidden_size)
        self.blocks = nn.ModuleList(Block(run) for _ in range(run.layers))
        self.final_norm = make_norm(run)
        self.head = nn.Linear(run.hidden_size, run.vocab_size, bias=False)
        if run.tied_embeddings:
            self.head.weight = self.embed.weight
        self._initialize(run)

    def _initialize(self, run: Run) -> None:
        residual_std = run.init_std / math.sqrt(2 * run.layers)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                is_residual = name.endswith((".out.weight", ".down.weight"))
                std = residual_std if is_residual else run.init_std
                nn.init.normal_(parameter, std=std)
            elif name.endswith(".bias"):
                nn.init.zeros_(parameter)

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of targets [batch, time] after ids."""
        x = self.embed(ids)
        if self.pos_embed is not None:
            x = x + self.pos_embed.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        logits = self.head(self.final_norm(x)).flatten(0, 1)
        return F.cross_entropy(logits.float(), targets.flatten())


def make_optimizer(model: nn.Module, run: Run) -> torch.optim.Optimizer:
    """Fused AdamW; weight decay for matrices alone."""
    parameters = list(model.parameters())
    matrices = [p for p in parameters if p.ndim >= 2]
    vectors = [p for p in parameters if p.ndim < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": run.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=run.learning_rate,
        betas=run.betas,
        eps=run.epsilon,
        fused=True,
    )
