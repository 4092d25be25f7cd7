#!/usr/bin/env python3
"""Reference values that the tests compare our models with, from PyTorch.

Each file beside this script holds one tiny decoder in float64:

  init.NAME    initial parameters, exactly representable in float32
  tokens       int32 [3, 10]
  targets      int32 [3, 10]; -1 is ignored by the loss
  logits       [3, 10, vocabulary]
  loss         [1], mean cross-entropy over the targets that are not ignored
  grad.NAME    gradient of that loss
  after5.NAME  parameters after five AdamW steps on this batch

The committed files came from torch 2.9.1 and safetensors 0.8.0 on a CPU:

  python3 -m venv /tmp/venv
  /tmp/venv/bin/pip install torch==2.9.1 safetensors==0.8.0 numpy
  /tmp/venv/bin/python tests/reference/make_reference.py
"""

import dataclasses
import pathlib

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

BATCH, SEQUENCE = 3, 10
IGNORED = -1


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int
    num_heads: int
    kv_heads: int
    head_dim: int
    mlp_size: int
    llama: bool  # RoPE, RMSNorm, SwiGLU, untied; else GPT-2.
    sliding_window: int = 0  # Keys that a query sees, itself included.
    layers: int = 2
    hidden_size: int = 16
    context_length: int = 12
    rope_theta: float = 10000.0
    norm_epsilon: float = 1e-5


def initial_parameters(config, generator):
    """Random in every entry, so that no bias or norm weight hides a mistake."""
    parameters = {}

    def add(name, *shape, mean=0.0, std):
        values = torch.randn(shape, generator=generator, dtype=torch.float64)
        parameters[name] = (mean + std * values).float().double()

    def add_affine(name, rows, columns):
        add(f"{name}.weight", rows, columns, std=0.3)
        if not config.llama:
            add(f"{name}.bias", rows, std=0.1)

    def add_norm(name):
        add(f"{name}.weight", config.hidden_size, mean=1.0, std=0.2)
        if not config.llama:
            add(f"{name}.bias", config.hidden_size, std=0.1)

    width = config.hidden_size
    qkv_rows = (config.num_heads + 2 * config.kv_heads) * config.head_dim
    add("embed.weight", config.vocab_size, width, std=0.5)
    if not config.llama:
        add("pos_embed.weight", config.context_length, width, std=0.5)
    for i in range(config.layers):
        block = f"blocks.{i}"
        add_norm(f"{block}.attn_norm")
        add_affine(f"{block}.attn.qkv", qkv_rows, width)
        add_affine(
            f"{block}.attn.out", width, config.num_heads * config.head_dim
        )
        add_norm(f"{block}.mlp_norm")
        if config.llama:
            add_affine(f"{block}.mlp.gate_up", 2 * config.mlp_size, width)
        else:
            add_affine(f"{block}.mlp.up", config.mlp_size, width)
        add_affine(f"{block}.mlp.down", width, config.mlp_size)
    add_norm("final_norm")
    if config.llama:
        add("head.weight", config.vocab_size, width, std=0.3)
    return parameters


def rotate(x, theta):
    """RoPE on [batch, heads, time, dim]; i is paired with i + dim / 2."""
    time, dim = x.shape[-2:]
    frequencies = theta ** (
        -torch.arange(0, dim, 2, dtype=torch.float64) / dim
    )
    angles = torch.outer(torch.arange(time, dtype=torch.float64), frequencies)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.chunk(2, dim=-1)
    return torch.cat(
        (first * cos - second * sin, second * cos + first * sin), dim=-1
    )


def forward(config, parameters, tokens):
    """Logits [batch, time, vocabulary]."""
    batch, time = tokens.shape

    def linear(name, x):
        return F.linear(
            x, parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
        )

    def norm(name, x):
        weight = parameters[f"{name}.weight"]
        if config.llama:
            return F.rms_norm(x, weight.shape, weight, config.norm_epsilon)
        bias = parameters[f"{name}.bias"]
        return F.layer_norm(x, weight.shape, weight, bias, config.norm_epsilon)

    def attention(name, x):
        heads, kv_heads = config.num_heads, config.kv_heads
        qkv = linear(f"{name}.qkv", x)
        qkv = qkv.view(batch, time, -1, config.head_dim).transpose(1, 2)
        q, k, v = qkv.split((heads, kv_heads, kv_heads), dim=1)
        if config.llama:
            q, k = rotate(q, config.rope_theta), rotate(k, config.rope_theta)
        k = k.repeat_interleave(heads // kv_heads, dim=1)
        v = v.repeat_interleave(heads // kv_heads, dim=1)
        positions = torch.arange(time)
        distance = positions[:, None] - positions[None, :]
        seen = distance >= 0
        if config.sliding_window:
            seen &= distance < config.sliding_window
        z = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        return linear(f"{name}.out", z.transpose(1, 2).flatten(2))

    def mlp(name, x):
        if config.llama:
            gate, up = linear(f"{name}.gate_up", x).chunk(2, dim=-1)
            hidden = F.silu(gate) * up
        else:
            hidden = F.gelu(linear(f"{name}.up", x), approximate="tanh")
        return linear(f"{name}.down", hidden)

    x = F.embedding(tokens, parameters["embed.weight"])
    if not config.llama:
        x = x + parameters["pos_embed.weight"][:time]
    for i in range(config.layers):
        block = f"blocks.{i}"
        x = x + attention(f"{block}.attn", norm(f"{block}.attn_norm", x))
        x = x + mlp(f"{block}.mlp", norm(f"{block}.mlp_norm", x))
    x = norm("final_norm", x)
    return linear("head" if config.llama else "embed", x)


def mean_loss(logits, targets):
    return F.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED
    )


def make_adamw(parameters):
    # The keys' bias has a gradient of zero (softmax ignores a shift), so what
    # arrives is rounding noise. With the usual epsilon Adam would scale that
    # noise up to full steps and no two programs could agree; 1e-5 leaves it
    # noise.
    tensors = parameters.values()
    return torch.optim.AdamW(
        [
            {"params": [p for p in tensors if p.ndim >= 2]},
            {"params": [p for p in tensors if p.ndim < 2], "weight_decay": 0},
        ],
        lr=1e-3,
        betas=(0.9, 0.95),
        eps=1e-5,
        weight_decay=0.1,
    )


def reference(config, seed):
    """Everything that one file holds, by name."""
    generator = torch.Generator().manual_seed(seed)
    parameters = initial_parameters(config, generator)
    shape = (BATCH, SEQUENCE)
    tokens = torch.randint(config.vocab_size, shape, generator=generator)
    targets = torch.randint(config.vocab_size, shape, generator=generator)
    targets[0, 3] = targets[2, SEQUENCE - 1] = IGNORED

    values = {f"init.{n}": p.clone() for n, p in parameters.items()}
    values["tokens"] = tokens.int()
    values["targets"] = targets.int()

    for p in parameters.values():
        p.requires_grad_()
    adamw = make_adamw(parameters)
    for step in range(5):
        adamw.zero_grad()
        logits = forward(config, parameters, tokens)
        loss = mean_loss(logits, targets)
        loss.backward()
        if step == 0:
            values["logits"] = logits.detach()
            values["loss"] = loss.detach().reshape(1)
            for n, p in parameters.items():
                values[f"grad.{n}"] = p.grad.clone()
        adamw.step()
    for n, p in parameters.items():
        values[f"after5.{n}"] = p.detach().clone()
    return values


GPT2 = Config(
    vocab_size=31,
    num_heads=2,
    kv_heads=2,
    head_dim=8,
    mlp_size=64,
    llama=False,
)
LLAMA = Config(
    vocab_size=29,
    num_heads=4,
    kv_heads=2,
    head_dim=4,
    mlp_size=24,
    llama=True,
)
LLAMA_WINDOW = dataclasses.replace(LLAMA, sliding_window=4)


def main():
    folder = pathlib.Path(__file__).parent
    for name, config, seed in (
        ("tiny_gpt2", GPT2, 1),
        ("tiny_llama", LLAMA, 2),
        ("tiny_llama_window", LLAMA_WINDOW, 3),
    ):
        path = folder / f"{name}.safetensors"
        values = reference(config, seed)
        save_file(values, path)
        print(f"{path}: loss {values['loss'].item():.9f}")


if __name__ == "__main__":
    main()
