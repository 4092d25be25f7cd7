#!/usr/bin/env python3
"""Of the comparison with PyTorch, the parts that need no PyTorch:

  tools/bench/compare_torch_test.py
"""

import math
import subprocess
import unittest

import compare_torch
from run_config import (
    ROOT,
    SCHEMA,
    ConfigError,
    Message,
    load_config,
    parse_schema,
    parse_text_proto,
    resolve,
)


def config_of(text: str) -> Message:
    config = Message(parse_schema(SCHEMA.read_text()), "TrainConfig")
    config.merge(parse_text_proto(text))
    return config


def run_of(case: str):
    name, overrides = compare_torch.CASES[case]
    path = ROOT / "configs" / f"{name}.textproto"
    return resolve(load_config(path, overrides))


class RunConfigTest(unittest.TestCase):
    def test_reads_text_protos(self):
        self.assertEqual(
            parse_text_proto(
                """# A comment: { ignored }
                run_dir: "runs/# kept" steps: 3;
                model { layers: 2, bias: false activation: SWIGLU }
                data { source: ["a", 'b'] source: "c" }
                optimizer: { learning_rate: 3e-3 }  # Another."""
            ),
            [
                ("run_dir", "runs/# kept"),
                ("steps", 3),
                (
                    "model",
                    [("layers", 2), ("bias", False), ("activation", "SWIGLU")],
                ),
                ("data", [("source", "a"), ("source", "b"), ("source", "c")]),
                ("optimizer", [("learning_rate", 0.003)]),
            ],
        )

    def test_refuses_torn_text_protos(self):
        for text in ("model { layers: 2", "}", "steps:", "data { source: [1"):
            with self.assertRaises(ConfigError, msg=text):
                parse_text_proto(text)

    def test_takes_defaults_from_the_schema(self):
        config = config_of("")
        self.assertEqual(config.model.hidden_size, 768)
        self.assertEqual(config.model.norm_epsilon, 1e-5)
        self.assertEqual(config.model.activation, "GELU_TANH")
        self.assertIs(config.model.tied_embeddings, True)
        self.assertEqual(config.optimizer.kind, "ADAMW")
        self.assertEqual(config.data.source, [])

    def test_refuses_unknown_fields(self):
        with self.assertRaisesRegex(ConfigError, "no model.layerz"):
            config_of("model { layerz: 3 }")
        with self.assertRaisesRegex(ConfigError, "no modell"):
            config_of("").override("modell.layers", "3")

    def test_reads_every_config(self):
        paths = list((ROOT / "configs").glob("*.textproto"))
        self.assertGreater(len(paths), 3)
        for path in paths:
            config = load_config(path, ["model.recompute=NONE"])
            run = resolve(config)
            self.assertEqual(run.hidden_size, run.num_heads * run.head_dim)

    def test_resolves_zeros(self):
        run = run_of("quickstart")
        self.assertEqual(run.mlp_size, 704)
        self.assertEqual((run.kv_heads, run.head_dim), (4, 64))
        self.assertEqual((run.rms_norm, run.rope_theta), (True, 10000))
        self.assertEqual(run.tokens_per_step, 8 * 256)
        run = run_of("gpt2_4x64")
        self.assertEqual((run.mlp_size, run.rope_theta), (3072, None))
        self.assertEqual((run.context_length, run.sequence_length), (1024, 64))

    def test_refuses_what_the_other_side_lacks(self):
        with self.assertRaisesRegex(ConfigError, "dropout is 0.1"):
            resolve(config_of("model { dropout: 0.1 }"))
        with self.assertRaisesRegex(ConfigError, "kind is SGD"):
            resolve(config_of("optimizer { kind: SGD }"))


class CasesTest(unittest.TestCase):
    def test_nextword_takes_every_case(self):
        binary = ROOT / "bazel-bin/tools/nextword"
        if not binary.exists():
            self.skipTest("wants `bazel build //tools:nextword` first")
        for device, case in (
            (device, case)
            for device in ("cpu", "cuda")
            for case in compare_torch.cases_of(device)
        ):
            name, overrides = compare_torch.cases_of(device)[case]
            command = [binary, "check", "--config", f"configs/{name}.textproto"]
            options = [*overrides, f"device={device.upper()}"]
            if device == "cuda":
                options += compare_torch.DTYPES["fp8"][0]
            for option in options:
                command += ["--set", option]
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True
            )
            self.assertEqual(done.returncode, 0, f"{case}: {done.stderr}")


    def test_pytorch_takes_every_case(self):
        for device in ("cpu", "cuda"):
            for name, overrides in compare_torch.cases_of(device).values():
                path = ROOT / "configs" / f"{name}.textproto"
                resolve(load_config(path, overrides))


class FairnessTest(unittest.TestCase):
    def sides(self, **second):
        guess = math.log(run_of("small").vocab_size)
        facts = {"parameters": 5, "initial_loss": guess + 0.1}
        sides = [compare_torch.Side("one"), compare_torch.Side("two")]
        sides[0].facts = facts
        sides[1].facts = {**facts, **second}
        return sides

    def check(self, **second):
        compare_torch.check_fair(self.sides(**second), run_of("small"))

    def test_accepts_equals(self):
        self.check()

    def test_refuses_another_model(self):
        with self.assertRaisesRegex(compare_torch.Unfair, "'two': 6"):
            self.check(parameters=6)

    def test_refuses_another_start(self):
        for loss in (10.8, 2.0, math.nan):
            with self.assertRaisesRegex(compare_torch.Unfair, "two starts"):
                self.check(initial_loss=loss)


if __name__ == "__main__":
    unittest.main()
