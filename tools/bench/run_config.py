"""nextword's training configs, read by Python: just enough to build in PyTorch
the model that nextword runs.

Fields and defaults come from configs/train_config.proto, values from the config
file and its overrides, so that neither is written down twice.
"""

import dataclasses
import pathlib
import re
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "configs" / "train_config.proto"

# A message's fields by name: type, whether repeated, default.
Fields = dict[str, tuple[str, bool, Any]]


class ConfigError(ValueError):
    """What is wrong with a config, and where."""


def parse_schema(text: str) -> dict[str, Fields]:
    """The messages of a proto2 file without nested messages, by name."""
    text = re.sub(r"//[^\n]*", "", text)
    messages: dict[str, Fields] = {}
    for name, body in re.findall(r"\bmessage\s+(\w+)\s*{([^}]*)}", text):
        messages[name] = {
            field: (kind, label == "repeated", parse_scalar(default or "0"))
            for label, kind, field, default in re.findall(
                r"(optional|repeated)\s+(\w+)\s+(\w+)\s*=\s*\d+"
                r"\s*(?:\[\s*default\s*=\s*([^\]\s]+)\s*\])?\s*;",
                body,
            )
        }
    return messages


def parse_scalar(text: str) -> Any:
    """A number, a truth value, a string, or the name of an enum's value."""
    if text in ("true", "false"):
        return text == "true"
    if text[:1] in ("'", '"'):
        return text[1:-1]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def parse_text_proto(text: str) -> list[tuple[str, Any]]:
    """Fields in order; a message's value is a list of its fields."""
    tokens = re.findall(
        r"""\#[^\n]* | "[^"\n]*" | '[^'\n]*' | [^\s:{}\[\],;\#]+ | [:{}\[\],;]
        """,
        text,
        re.VERBOSE,
    )
    tokens = [t for t in tokens if t[0] not in "#,;"]
    fields, rest = _parse_fields(tokens)
    if rest:
        raise ConfigError(f"unexpected {rest[0]}")
    return fields


def _parse_fields(tokens: list[str]) -> tuple[list[tuple[str, Any]], list[str]]:
    fields: list[tuple[str, Any]] = []
    while tokens and tokens[0] != "}":
        name, *tokens = tokens
        if tokens[:1] == [":"]:
            tokens = tokens[1:]
        if not tokens:
            raise ConfigError(f"{name} has no value")
        if tokens[0] == "{":
            value, tokens = _parse_fields(tokens[1:])
            if not tokens:
                raise ConfigError(f"{name} {{ is not closed")
            fields.append((name, value))
        elif tokens[0] == "[":
            if "]" not in tokens:
                raise ConfigError(f"{name} [ is not closed")
            end = tokens.index("]")
            fields += [(name, parse_scalar(t)) for t in tokens[1:end]]
            tokens = tokens[end:]
        else:
            fields.append((name, parse_scalar(tokens[0])))
        tokens = tokens[1:]
    return fields, tokens


class Message:
    """A message with every field of its schema as an attribute."""

    def __init__(self, schema: dict[str, Fields], kind: str, path: str = ""):
        self._schema, self._kind, self._path = schema, kind, path
        for name, (field, repeated, default) in schema[kind].items():
            value = default
            if repeated:
                value = []
            elif field in schema:
                value = Message(schema, field, f"{path}{name}.")
            elif field == "string":
                value = ""
            setattr(self, name, value)

    def merge(self, fields: list[tuple[str, Any]]) -> None:
        """Takes what parse_text_proto gave."""
        for name, value in fields:
            known = self._schema[self._kind].get(name)
            if known is None:
                raise ConfigError(f"{SCHEMA.name} has no {self._path}{name}")
            if known[1]:
                getattr(self, name).append(value)
            elif isinstance(getattr(self, name), Message):
                getattr(self, name).merge(value)
            else:
                setattr(self, name, value)

    def override(self, path: str, value: str) -> None:
        """Sets a scalar field: override("model.layers", "6")."""
        *parents, name = path.split(".")
        nested: Any = parse_scalar(value)
        for parent in [name, *reversed(parents)]:
            nested = [(parent, nested)]
        self.merge(nested)


def load_config(path: pathlib.Path, overrides: list[str]) -> Message:
    """The config of a file with overrides, "model.layers=6", on top."""
    config = Message(parse_schema(SCHEMA.read_text()), "TrainConfig")
    config.merge(parse_text_proto(path.read_text()))
    for override in overrides:
        field, _, value = override.partition("=")
        config.override(field, value)
    return config


@dataclasses.dataclass(frozen=True)
class Run:
    """A training step in plain numbers, every 0 of the config resolved."""

    layers: int
    hidden_size: int
    num_heads: int
    kv_heads: int
    head_dim: int
    mlp_size: int
    context_length: int
    vocab_size: int
    rope_theta: float | None  # None: learned positions.
    rms_norm: bool
    norm_epsilon: float
    activation: str
    bias: bool
    tied_embeddings: bool
    init_std: float
    micro_batch: int
    micro_batches: int  # Forward passes in a step.
    sequence_length: int
    learning_rate: float
    betas: tuple[float, float]
    epsilon: float
    weight_decay: float
    clip_norm: float

    @property
    def tokens_per_step(self) -> int:
        return self.micro_batch * self.micro_batches * self.sequence_length


def resolve(config: Any) -> Run:
    """What configs/model_config.cc and configs/batch_config.h make of it.

    Raises ConfigError for what the PyTorch side does not have.
    """
    model, batch, optimizer = config.model, config.batch, config.optimizer
    for path, seen, wanted in (
        ("model.dropout", model.dropout, 0),
        ("model.sliding_window", model.sliding_window, 0),
        ("model.recompute", model.recompute, "NONE"),
        ("data.document_mask", config.data.document_mask, False),
        ("optimizer.kind", optimizer.kind, "ADAMW"),
    ):
        if seen != wanted:
            raise ConfigError(f"{path} is {seen}, this needs {wanted}")
    swiglu_size = -(-8 * model.hidden_size // 192) * 64
    mlp_size = (
        swiglu_size if model.activation == "SWIGLU" else 4 * model.hidden_size
    )
    return Run(
        layers=model.layers,
        hidden_size=model.hidden_size,
        num_heads=model.num_heads,
        kv_heads=model.kv_heads or model.num_heads,
        head_dim=model.head_dim or model.hidden_size // model.num_heads,
        mlp_size=model.mlp_size or mlp_size,
        context_length=model.context_length,
        vocab_size=model.vocab_size or config.data.tokenizer_vocab_size,
        rope_theta=model.rope_theta if model.position == "ROPE" else None,
        rms_norm=model.norm == "RMS_NORM",
        norm_epsilon=model.norm_epsilon,
        activation=model.activation,
        bias=model.bias,
        tied_embeddings=model.tied_embeddings,
        init_std=model.init_std,
        micro_batch=batch.micro_batch,
        micro_batches=batch.micro_batches * batch.lanes,
        sequence_length=batch.sequence_length or model.context_length,
        learning_rate=optimizer.learning_rate,
        betas=(optimizer.beta1, optimizer.beta2),
        epsilon=optimizer.epsilon,
        weight_decay=optimizer.weight_decay,
        clip_norm=optimizer.clip_norm,
    )
