#!/usr/bin/env python3
"""The arithmetic of the scaling model, and of measure_scaling.py:

tools/bench/scaling_model_test.py
"""

import contextlib
import dataclasses
import io
import json
import math
import pathlib
import re
import unittest

import data_parallel_model as dp
import exchange_model
import measure_scaling
import scaling_model
from data_parallel_model import MODELS
from exchange_model import Machine, Plan

ROOT = pathlib.Path(scaling_model.__file__).resolve().parents[2]

# Numbers that are easy to calculate with.
EASY = Machine(
    peak_tflops=100,
    mfu=1,
    memory_gbs=1000,
    memory_share=1,
    nvlink_gbs=100,
    nvlink_share=1,
    network_gbs=10,
    network_share=1,
    nvlink_hop_us=2,
    network_hop_us=10,
    message_us=1,
    launch_us=5,
)
# Without latencies, kernel starts and the update.
BANDWIDTH = dataclasses.replace(
    EASY,
    memory_gbs=1e12,
    nvlink_hop_us=1e-9,
    network_hop_us=1e-9,
    message_us=1e-9,
    launch_us=1e-9,
)


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = scaling_model.main(list(arguments))
        except SystemExit as stop:
            code = stop.code
    return code, out.getvalue(), err.getvalue()


class ModelTest(unittest.TestCase):
    def test_counts_what_nextword_check_prints(self):
        self.assertEqual(MODELS["124M"].parameters, 124_439_808)
        self.assertEqual(MODELS["1.5B"].parameters, 1_557_611_200)
        self.assertEqual(MODELS["7B"].parameters, 6_738_415_616)
        self.assertAlmostEqual(MODELS["124M"].flops_per_token, 797.87e6, -4)
        self.assertAlmostEqual(MODELS["1.5B"].flops_per_token, 9.80e9, -7)

    def test_gradients_are_ready_from_the_end_of_the_buffer(self):
        for shape in MODELS.values():
            begins = range(0, shape.parameters, shape.parameters // 50)
            ready = [shape.ready(begin) for begin in begins]
            self.assertEqual(ready, sorted(ready, reverse=True))
            self.assertEqual(shape.ready(0), 1)
            self.assertEqual(shape.ready(shape.embedding - 1), 1)
            self.assertGreater(ready[-1], 0)

    def test_buckets_cover_the_buffer_once(self):
        for bytes_each in (2, 4):
            sent = dp.buckets(MODELS["124M"], Plan(gradient_bytes=bytes_each))
            self.assertEqual(sent[0].end, 124_439_808)
            self.assertEqual(sent[-1].begin, 0)
            for later, earlier in zip(sent, sent[1:]):
                self.assertEqual(later.begin, earlier.end)
            size = (sent[1].end - sent[1].begin) * bytes_each
            self.assertEqual(size, 25 * 2**20)


class ExchangeTest(unittest.TestCase):
    def test_direct_within_a_node_is_bound_by_nvlink(self):
        got = exchange_model.direct_half(EASY, Plan(), 8, 8e6, adds=True)
        self.assertAlmostEqual(got.wire, 7e6 / 100e9)
        self.assertAlmostEqual(got.latency, 2e-6 + 7e-6)
        # Seven pairs of 1 MB: two reads, one write, a start each.
        self.assertAlmostEqual(got.sum, 7 * (5e-6 + 3e6 / 1e12))

    def test_direct_between_nodes_is_bound_by_the_network(self):
        got = exchange_model.direct_half(EASY, Plan(), 64, 64e6, adds=False)
        self.assertAlmostEqual(got.wire, 56e6 / 10e9)
        self.assertAlmostEqual(got.latency, 10e-6 + 63e-6)
        self.assertEqual(got.sum, 0)

    def test_a_fused_sum_starts_one_kernel(self):
        got = exchange_model.direct_half(
            EASY, Plan(fused_sum=True), 64, 64e6, adds=True
        )
        self.assertAlmostEqual(got.sum, 5e-6 + 65e6 / 1e12)

    def test_hybrid_sends_an_eighth_between_nodes(self):
        got = exchange_model.hybrid_half(EASY, Plan(), 64, 64e6, adds=False)
        self.assertAlmostEqual(got.wire, 56e6 / 100e9 + 7e6 / 10e9)
        self.assertAlmostEqual(got.latency, 2e-6 + 7e-6 + 10e-6 + 7e-6)

    def test_hybrid_is_direct_on_one_node(self):
        for adds in (True, False):
            self.assertEqual(
                exchange_model.hybrid_half(EASY, Plan(), 8, 8e6, adds),
                exchange_model.direct_half(EASY, Plan(), 8, 8e6, adds),
            )

    def test_a_ring_shares_the_adapters_and_has_a_hop_per_rank(self):
        got = exchange_model.ring_half(EASY, 64, 64e6)
        self.assertAlmostEqual(got.wire, 63e6 / 80e9)
        self.assertAlmostEqual(got.latency, 56 * 2e-6 + 7 * 10e-6)

    def test_a_tree_has_few_hops(self):
        got = exchange_model.tree_half(EASY, 64, 64e6)
        self.assertAlmostEqual(got.latency, 7 * 4e-6 + 3 * 10e-6)

    def test_messages_outweigh_bytes_where_docs_say(self):
        m = Machine()
        ranks = 25 * 2**20 / m.network / (m.message_us * 1e-6)
        self.assertAlmostEqual(ranks, 558, delta=1)
        for count, more in ((512, False), (640, True)):
            got = exchange_model.direct_half(
                m, Plan(), count, 25 * 2**20, adds=False
            )
            self.assertEqual(got.latency - m.hop(2) > got.wire, more)

    def test_refuses_torn_nodes(self):
        with self.assertRaisesRegex(ValueError, "12 GPUs"):
            EASY.split(12)


class StepTest(unittest.TestCase):
    def exposed(self, plan: Plan, backward: float) -> float:
        return dp.exposed_time(EASY, MODELS["1.5B"], plan, 16, backward)

    def all_of_it(self, plan: Plan) -> float:
        return sum(
            dp.bucket_time(EASY, plan, 16, bucket)
            for bucket in dp.buckets(MODELS["1.5B"], plan)
        )

    def test_without_overlap_all_is_exposed(self):
        plan = Plan(overlap=False)
        for backward in (0.0, 10.0):
            self.assertAlmostEqual(
                self.exposed(plan, backward), self.all_of_it(plan)
            )

    def test_a_long_backward_hides_all_but_the_embedding(self):
        late = [
            dp.bucket_time(EASY, Plan(), 16, bucket)
            for bucket in dp.buckets(MODELS["1.5B"], Plan())
            if bucket.begin < MODELS["1.5B"].embedding
        ]
        self.assertAlmostEqual(self.exposed(Plan(), 1000.0), sum(late))

    def test_a_short_backward_hides_itself_from_the_first_bucket_on(self):
        first = dp.buckets(MODELS["1.5B"], Plan())[0]
        ready = MODELS["1.5B"].ready(first.begin)
        self.assertAlmostEqual(
            self.exposed(Plan(), 0.1),
            self.all_of_it(Plan()) - 0.1 * (1 - ready),
        )

    def test_backward_is_two_thirds_of_computing(self):
        shape, batch = MODELS["1.5B"], 64 * 4096
        got = dp.step(BANDWIDTH, shape, Plan(), batch, 64)
        bare = dp.step(BANDWIDTH, shape, Plan(overlap=False), batch, 64)
        first = dp.buckets(shape, Plan())[0]
        self.assertAlmostEqual(
            bare.exposed - got.exposed,
            got.compute * 2 / 3 * (1 - shape.ready(first.begin)),
        )

    def test_sharding_sends_as_much_but_half_of_it_in_sight(self):
        shape = MODELS["124M"]
        whole, sharded = Plan(), Plan(sharded=True)
        sent = sum(
            dp.bucket_time(EASY, whole, 16, b) for b in dp.buckets(shape, whole)
        )
        halves = sum(
            dp.bucket_time(EASY, sharded, 16, b)
            for b in dp.buckets(shape, sharded)
        )
        gathered = dp.weights_time(EASY, shape, sharded, 16)
        self.assertAlmostEqual(halves + gathered, sent)
        batch = 2**22
        self.assertGreater(
            dp.step(EASY, shape, sharded, batch, 16).exposed,
            dp.step(EASY, shape, whole, batch, 16).exposed,
        )
        self.assertLess(
            dp.update_time(EASY, shape, sharded, 16),
            dp.update_time(EASY, shape, whole, 16),
        )
        # 18 bytes a parameter, of which 8 are shared.
        saved = dp.state_bytes(shape, whole, 16)
        saved -= dp.state_bytes(shape, sharded, 16)
        self.assertAlmostEqual(saved, 8 * shape.parameters * 15 / 16)

    def test_only_the_last_micro_batch_hides_anything(self):
        shape = MODELS["124M"]
        one = dp.step(EASY, shape, Plan(), 16 * 1024 * 64, 64)
        four = dp.step(EASY, shape, Plan(), 4 * 16 * 1024 * 64, 64)
        self.assertEqual((one.micro_batches, four.micro_batches), (1, 4))
        self.assertAlmostEqual(four.compute, 4 * one.compute)
        self.assertAlmostEqual(four.exposed, one.exposed)

    def test_a_gpu_waits_for_a_host_that_starts_kernels_slowly(self):
        slow = dataclasses.replace(EASY, launch_us=1e6)
        shape = MODELS["124M"]
        got = dp.step(slow, shape, Plan(), 1024, 1)
        self.assertAlmostEqual(got.compute, 44 * 12 + 24)

    def test_one_gpu_is_fully_efficient(self):
        for shape in MODELS.values():
            self.assertEqual(
                dp.strong_efficiency(EASY, shape, Plan(), 2**20, 1), 1
            )

    def test_weak_and_strong_agree_where_there_is_no_update(self):
        shape = MODELS["1.5B"]
        weak = dp.weak_efficiency(BANDWIDTH, shape, Plan(), 4096, 64)
        strong = dp.strong_efficiency(BANDWIDTH, shape, Plan(), 64 * 4096, 64)
        self.assertAlmostEqual(weak, strong)

    def test_a_gpu_needs_a_sequence(self):
        with self.assertRaisesRegex(ValueError, "512 sequences of 1024"):
            dp.step(EASY, MODELS["124M"], Plan(), 2**19, 1024)
        self.assertIsNone(
            dp.falls_under(EASY, MODELS["124M"], Plan(), 2**14, 0.01)
        )


class FormulaTest(unittest.TestCase):
    def test_finds_the_terms(self):
        got = dp.three_terms(lambda p: 3 + 0.5 * p - 7 / p, 8)
        for value, wanted in zip(got, (3, 0.5, -7)):
            self.assertAlmostEqual(value, wanted)

    def test_the_step_has_that_efficiency_there(self):
        """The formula against the simulation of every bucket."""
        plans = [
            Plan(),
            Plan(sharded=True),
            Plan(overlap=False),
            Plan(gradient_bytes=2, fused_sum=True),
            Plan(exchange="hybrid", fused_sum=True),
        ]
        checked = 0
        for shape in MODELS.values():
            for plan in plans:
                for wanted in (0.5, 0.8):
                    at = dp.crossing(Machine(), shape, plan, 2**22, wanted)
                    ranks = 8 * round(at / 8)
                    if not 16 <= ranks <= dp.most_ranks(shape, 2**22):
                        continue
                    got = dp.strong_efficiency(
                        Machine(), shape, plan, 2**22, ranks
                    )
                    self.assertAlmostEqual(
                        got, wanted, delta=0.05, msg=f"{shape.name} {plan}"
                    )
                    checked += 1
        self.assertGreater(checked, 20)

    def test_counts_the_update_of_one_gpu(self):
        slow = dataclasses.replace(Machine(), memory_gbs=80, node=1)
        shape = MODELS["1.5B"]
        plan = Plan(overlap=False, sharded=True)
        at = dp.crossing(slow, shape, plan, 2**20, 0.5)
        self.assertGreater(at, 20)
        for ranks, more in ((math.floor(at), True), (math.ceil(at), False)):
            got = dp.strong_efficiency(slow, shape, plan, 2**20, ranks)
            self.assertEqual(got > 0.5, more)

    def test_is_the_short_formula_where_only_bytes_count(self):
        """3 B beta / (b R) (1 / E - 1) GPUs, but for what is exact in the long
        one: traffic within nodes, and attention and embedding in the FLOPs."""
        batch = 2**22
        for shape in MODELS.values():
            rough = 3 * batch * 10e9 / (4 * 100e12)
            work = shape.flops_per_token / (6 * shape.parameters)
            for efficiency in (0.5, 0.8):
                wanted = rough * work * (1 / efficiency - 1) + EASY.node
                got = dp.crossing(
                    BANDWIDTH, shape, Plan(overlap=False), batch, efficiency
                )
                self.assertAlmostEqual(got / wanted, 1, delta=0.01)

    def test_falls_under_brackets_the_crossing(self):
        plan = Plan()
        for shape in MODELS.values():
            found = dp.falls_under(Machine(), shape, plan, 2**22, 0.5)
            at = dp.crossing(Machine(), shape, plan, 2**22, 0.5)
            self.assertTrue(found / 2 <= at * 1.05 and at <= found * 1.05)


class CommandTest(unittest.TestCase):
    def test_help_opens_with_an_example(self):
        code, out, _ = run("--help")
        self.assertEqual(code, 0)
        self.assertLess(out.index("Example:"), out.index("usage:"))

    def test_json_has_the_numbers_of_the_table(self):
        _, table, _ = run("strong", "--model", "7B", "--gpus", "64")
        _, text, _ = run("strong", "--model", "7B", "--gpus", "64", "--json")
        (row,) = json.loads(text)
        self.assertEqual(row["gpus"], 64)
        self.assertIn(f"| {row['efficiency']:.0%} |", table)
        total = row["compute_seconds"] + row["exposed_seconds"]
        total += row["update_seconds"]
        self.assertAlmostEqual(row["step_seconds"], total)

    def test_options_reach_the_model(self):
        def efficiency(*options: str) -> float:
            code, out, _ = run(
                "strong", "--gpus", "64", "--model", "1.5B", "--json", *options
            )
            self.assertEqual(code, 0)
            return json.loads(out)[0]["efficiency"]

        plain = efficiency()
        self.assertGreater(efficiency("--gradients", "bf16"), plain)
        self.assertGreater(efficiency("--exchange", "hybrid"), plain)
        self.assertGreater(efficiency("--fused-sum"), plain)
        self.assertGreater(efficiency("--gather", "ring"), plain)
        self.assertGreater(efficiency("--batch", "4M"), plain)
        self.assertGreater(efficiency("--mfu", "0.2"), plain)
        self.assertGreater(efficiency("--network-gbs", "100"), plain)
        self.assertLess(efficiency("--no-overlap"), plain)
        self.assertNotEqual(efficiency("--sharding", "optimizer"), plain)
        self.assertNotEqual(efficiency("--bucket-mib", "100"), plain)

    def test_shards_what_does_not_fit(self):
        _, out, _ = run("limits", "--json")
        self.assertEqual(
            {row["model"]: row["sharded"] for row in json.loads(out)},
            {"124M": False, "1.5B": False, "7B": True},
        )

    def test_refuses_with_a_sentence(self):
        for arguments, wanted in (
            (["strong", "--gpus", "12"], "12 GPUs"),
            (["strong", "--gpus", "1024"], "fewer than 1024 GPUs"),
            (["strong", "--mfu", "1.5"], "mfu is 1.5"),
            (["strong", "--mfu", "nan"], "no positive number"),
            (["strong", "--batch", "many"], "no number of tokens"),
            (["weak", "--tokens-per-gpu", "1000"], "no multiple"),
            (["table"], "invalid choice"),
        ):
            code, out, err = run(*arguments)
            self.assertEqual((code, out), (2, ""), arguments)
            self.assertIn(wanted, err)

    def test_the_page_has_what_its_commands_print(self):
        page = (ROOT / "docs" / "scaling.md").read_text()
        found = re.findall(
            r"```sh\ntools/bench/scaling_model\.py ([^`]*)```\n\n((?:\|.*\n)+)",
            page,
        )
        self.assertGreater(len(found), 4)
        for command, table in found:
            code, out, _ = run(*command.replace("\\\n", " ").split())
            self.assertEqual((code, out), (0, table), command)


class MeasureTest(unittest.TestCase):
    def report(self, ranks: int, seconds: list[float], loss: float = 8.5):
        report = {
            "tokens_per_step": 4096,
            "step_seconds": seconds,
            "last_loss": loss,
            "max_resident_bytes": 400_000_000,
            "predicted_bytes": 420_000_000,
        }
        if ranks > 1:
            report |= {
                "bytes_sent_per_step": 49e6,
                "ring_bytes_per_step": 49e6,
                "exchange_seconds_per_step": 0.2,
                "waited_seconds_per_step": 0.1,
            }
        return report

    def test_finds_rank_0s_report_among_others_lines(self):
        text = json.dumps(self.report(1, [1.0]), indent=2)
        lines = [f"[rank 0] {line}" for line in text.splitlines()]
        output = "\n".join(["[rank 1] a line", *lines, "[rank 1] another"])
        for given in (text, output):
            got = measure_scaling.parse_report(given)
            self.assertEqual(got["step_seconds"], [1.0])
        with self.assertRaisesRegex(measure_scaling.Failure, "no JSON"):
            measure_scaling.parse_report("[rank 0] Segmentation fault")

    def test_compares_with_one_rank_and_counts_cores(self):
        table = measure_scaling.rows(
            {
                1: [self.report(1, [4.0, 4.2]), self.report(1, [3.9, 4.0])],
                2: [self.report(2, [2.0, 2.2]), self.report(2, [2.5, 2.5])],
                8: [self.report(8, [2.5])],
            },
            cores=2,
        )
        one, two, eight = table
        self.assertEqual(one["seconds"], 4.0)
        self.assertEqual((one["speed_up"], one["sent"]), (1, 0))
        self.assertAlmostEqual(two["seconds"], 2.35)
        self.assertAlmostEqual(two["fastest"], 2.1)
        self.assertAlmostEqual(two["slowest"], 2.5)
        self.assertAlmostEqual(two["efficiency"], 4.0 / 2.35 / 2)
        self.assertAlmostEqual(eight["speed_up"], 1.6)
        self.assertAlmostEqual(eight["efficiency"], 0.8)
        self.assertEqual(measure_scaling.markdown(table).count("\n"), 5)

    def test_refuses_other_losses(self):
        same = {1: [self.report(1, [1.0])], 2: [self.report(2, [1.0])]}
        measure_scaling.check_same_loss(same)
        other = math.nextafter(8.5, 9)
        same[2].append(self.report(2, [1.0], loss=other))
        with self.assertRaisesRegex(measure_scaling.Failure, "losses differ"):
            measure_scaling.check_same_loss(same)


if __name__ == "__main__":
    unittest.main()
