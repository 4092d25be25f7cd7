#include "tools/commands/bench_step.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "autograd/base/trace.h"
#include "autograd/base/trace_report.h"
#include "autograd/tensor/allocator.h"
#include "autograd/tensor/cpu_allocator.h"
#include "configs/batch_config.h"
#include "configs/model_config.h"
#include "distributed/learner.h"
#include "distributed/matmul_peak.h"
#include "distributed/train_memory.h"
#include "layers/model_cost.h"
#include "tools/commands/bandwidth.h"
#include "tools/commands/bench_gemm.h"
#include "tools/commands/quantity.h"
#include "tools/commands/random_tensor.h"
#include "tools/commands/table.h"
#include "tools/commands/timing.h"

namespace nextword {
namespace {

using Json = nlohmann::ordered_json;

// GPT-2's, for configs that leave the vocabulary to a tokenizer.
constexpr int64_t kVocabSize = 50257;

absl::StatusOr<ModelConfig> ModelOf(const TrainConfig& config) {
  if (config.model().vocab_size() > 0) return ResolveModel(config.model(), 0);
  return ResolveModel(config.model(), config.data().has_tokenizer_vocab_size()
                                          ? config.data().tokenizer_vocab_size()
                                          : kVocabSize);
}

// Random ids and, with a document mask, four documents a row.
void FillBatch(uint64_t first, int64_t vocab_size, Batch* batch) {
  const Shape& shape = batch->inputs.shape();
  const Tensor inputs = RandomIds(shape, vocab_size, 2 * first);
  const Tensor targets = RandomIds(shape, vocab_size, 2 * first + 1);
  std::copy_n(inputs.data<int32_t>(), shape.numel(), batch->input_row(0));
  std::copy_n(targets.data<int32_t>(), shape.numel(), batch->target_row(0));
  if (!batch->documents.defined()) return;
  int32_t* const documents = batch->document_row(0);
  const int64_t length = shape[1];
  for (int64_t i = 0; i < shape.numel(); ++i) {
    documents[i] = static_cast<int32_t>(4 * (i % length) / length);
  }
}

// What the timed steps showed.
struct Measured {
  std::vector<double> seconds;  // Of each.
  // Of those that the spans are of: the same, but on a GPU, where a trace costs
  // time and keeps graphs from being replayed.
  std::vector<double> traced_seconds;
  double loss = 0;             // Of the last.
  double system_calls = 0;     // Of the allocator, per step.
  int64_t allocator_peak = 0;  // Bytes, since the start.
  std::vector<trace::SpanSum> spans;
  int64_t dropped_spans = 0;  // More than a trace has room for.
  // Of this rank's exchanges with others, per step.
  double bytes_sent = 0;
  double exchange_seconds = 0;  // While they were under way.
  double waited_seconds = 0;    // In which nothing else was done.

  double traced_sum() const {
    return std::accumulate(traced_seconds.begin(), traced_seconds.end(), 0.0);
  }
};

absl::StatusOr<double> TimedStep(Learner* learner, double* loss) {
  using Clock = std::chrono::steady_clock;
  const int64_t vocab_size = learner->model().config().vocab_size();
  const Clock::time_point start = Clock::now();
  NW_ASSIGN_OR_RETURN(const Learner::StepResult result,
                      learner->Step([&](uint64_t first, Batch* batch) {
                        FillBatch(first, vocab_size, batch);
                      }));
  *loss = result.loss;
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t BytesSent(const RankGroups& groups) {
  return groups.all->bytes_sent() +
         (groups.shards == groups.all ? 0 : groups.shards->bytes_sent());
}

absl::Duration Busy(const RankGroups& groups) {
  return groups.all->busy() + (groups.shards == groups.all
                                   ? absl::ZeroDuration()
                                   : groups.shards->busy());
}

absl::Duration Waited(const RankGroups& groups) {
  return groups.all->waited() + (groups.shards == groups.all
                                     ? absl::ZeroDuration()
                                     : groups.shards->waited());
}

absl::StatusOr<Measured> RunSteps(const StepBenchOptions& options,
                                  const RankGroups& groups, Learner* learner) {
  const Device device = learner->parameters().values().device();
  const Allocator& allocator = AllocatorFor(device);
  Measured measured;
  const auto run = [&](int64_t steps,
                       std::vector<double>* seconds) -> absl::Status {
    for (int64_t i = 0; i < steps; ++i) {
      NW_ASSIGN_OR_RETURN(const double taken,
                          TimedStep(learner, &measured.loss));
      seconds->push_back(taken);
    }
    return absl::OkStatus();
  };
  for (int64_t i = 0; i < options.warmup; ++i) {
    NW_RETURN_IF_ERROR(TimedStep(learner, &measured.loss).status());
  }
  const int64_t calls_before = allocator.stats().system_calls;
  const int64_t sent_before = BytesSent(groups);
  const absl::Duration busy_before = Busy(groups);
  const absl::Duration waited_before = Waited(groups);
  const bool traced_apart = device != Device::Cpu();
  if (traced_apart) {
    NW_RETURN_IF_ERROR(run(options.steps, &measured.seconds));
  }
  trace::Start();
  NW_RETURN_IF_ERROR(run(options.steps, &measured.traced_seconds));
  trace::Stop();
  if (!traced_apart) measured.seconds = measured.traced_seconds;
  const auto steps =
      static_cast<double>(traced_apart ? 2 * options.steps : options.steps);
  const AllocatorStats stats = allocator.stats();
  measured.allocator_peak = stats.peak_bytes;
  measured.system_calls =
      static_cast<double>(stats.system_calls - calls_before) / steps;
  measured.spans = trace::Summarize();
  measured.dropped_spans = trace::NumDropped();
  measured.bytes_sent =
      static_cast<double>(BytesSent(groups) - sent_before) / steps;
  measured.exchange_seconds =
      absl::ToDoubleSeconds(Busy(groups) - busy_before) / steps;
  measured.waited_seconds =
      absl::ToDoubleSeconds(Waited(groups) - waited_before) / steps;
  return measured;
}

// The most memory that the process had, as the system counts it.
int64_t MaxResidentBytes() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{usage.ru_maxrss} * 1024;
}

std::vector<trace::SpanSum> LongestFirst(std::vector<trace::SpanSum> spans) {
  std::stable_sort(spans.begin(), spans.end(),
                   [](const trace::SpanSum& a, const trace::SpanSum& b) {
                     return a.seconds > b.seconds;
                   });
  return spans;
}

// What a rank's device can do in a second.
struct Limits {
  double flops;  // Of matrix products.
  double bytes;  // Read and written.

  // Seconds that some work takes at least.
  double Floor(const trace::Work& work) const {
    return std::max(work.flops / flops, work.bytes / bytes);
  }
};

// Where the time of the steps goes, from their spans.
class Breakdown {
 public:
  Breakdown(const Measured& measured, const Limits& limits)
      : measured_(measured),
        limits_(limits),
        steps_(static_cast<double>(measured.traced_seconds.size())) {
    for (const trace::SpanSum& sum : measured.spans) {
      if (sum.category == "worker") helpers_[sum.name] = sum.seconds;
      if (sum.category == "device") category_ = "device";
    }
  }

  // By kernel, without the time of nested ones: the device's, or on the CPU the
  // calling thread's.
  void AddKernels(BenchReport* report) const {
    Table table({"kernel", "per step", "share", "calls", "FLOP", "bytes",
                 "of its limit", "helpers busy"});
    Json rows = Json::array();
    double rest = measured_.traced_sum(), floor = 0;
    for (const trace::SpanSum& sum : measured_.spans) {
      if (sum.category != category_) continue;
      rest -= sum.self_seconds;
      const double limit = limits_.Floor(sum.work);
      floor += limit;
      table.Add({sum.name, Seconds(sum.self_seconds / steps_),
                 Percent(sum.self_seconds / measured_.traced_sum()),
                 absl::StrFormat("%g", sum.calls / steps_),
                 sum.work.flops > 0 ? Scaled(sum.work.flops / steps_, "") : "-",
                 Scaled(sum.work.bytes / steps_, "B"),
                 Percent(limit / sum.self_seconds),
                 NumThreads() > 1 ? Percent(HelpersBusy(sum)) : "-"});
      rows.push_back({{"name", sum.name},
                      {"self_seconds_per_step", sum.self_seconds / steps_},
                      {"share", sum.self_seconds / measured_.traced_sum()},
                      {"calls_per_step", sum.calls / steps_},
                      {"flops_per_step", sum.work.flops / steps_},
                      {"bytes_per_step", sum.work.bytes / steps_},
                      {"limit_share", limit / sum.self_seconds},
                      {"helpers_busy", HelpersBusy(sum)}});
    }
    table.Add({"outside of kernels", Seconds(rest / steps_),
               Percent(rest / measured_.traced_sum()), "", "", "", "", ""});
    table.Add({"all at their limits", Seconds(floor / steps_),
               Percent(floor / measured_.traced_sum()), "", "", "", "", ""});
    absl::StrAppend(&report->text, "\n", table.Text());
    report->json["kernels"] = std::move(rows);
    report->json["kernels_floor_seconds_per_step"] = floor / steps_;
    report->json["outside_kernels_share"] = rest / measured_.traced_sum();
  }

  // By phase of the step.
  void AddPhases(BenchReport* report) const {
    Table table({"phase", "per step", "share"});
    Json rows = Json::array();
    for (const trace::SpanSum& sum : LongestFirst(measured_.spans)) {
      if (sum.category != "step" || sum.name == "step") continue;
      table.Add({sum.name, Seconds(sum.seconds / steps_),
                 Percent(sum.seconds / measured_.traced_sum())});
      rows.push_back({{"name", sum.name},
                      {"seconds_per_step", sum.seconds / steps_},
                      {"share", sum.seconds / measured_.traced_sum()}});
    }
    absl::StrAppend(&report->text, "\n", table.Text());
    report->json["phases"] = std::move(rows);
  }

 private:
  // Share of a kernel's time for which the threads besides the calling one had
  // something to do in it.
  double HelpersBusy(const trace::SpanSum& kernel) const {
    const auto it = helpers_.find(kernel.name);
    const int helpers = NumThreads() - 1;
    return it == helpers_.end() || helpers < 1 || kernel.self_seconds <= 0
               ? 0
               : it->second / (helpers * kernel.self_seconds);
  }

  const Measured& measured_;
  const Limits limits_;
  const double steps_;
  std::string category_ = "kernel";        // Of spans that took the time.
  std::map<std::string, double> helpers_;  // Seconds by kernel.
};

// What rank 0 exchanged with the other ranks.
void AddExchange(const Measured& measured, const Learner& learner, int ranks,
                 BenchReport* report) {
  const double ring =
      2.0 * (ranks - 1) / ranks *
      static_cast<double>(learner.parameters().values().size_bytes());
  const double hidden =
      1 - measured.waited_seconds / std::max(measured.exchange_seconds, 1e-9);
  Table table({"exchange, rank 0 of " + std::to_string(ranks), "per step"});
  table.Add({"sent", Scaled(measured.bytes_sent, "B")});
  table.Add({"a ring would send", Scaled(ring, "B")});
  table.Add({"under way", Seconds(measured.exchange_seconds)});
  table.Add({"waited for", Seconds(measured.waited_seconds)});
  table.Add({"hidden behind backward", Percent(std::max(hidden, 0.0))});
  absl::StrAppend(&report->text, "\n", table.Text());
  report->json["ranks"] = ranks;
  report->json["bytes_sent_per_step"] = measured.bytes_sent;
  report->json["ring_bytes_per_step"] = ring;
  report->json["exchange_seconds_per_step"] = measured.exchange_seconds;
  report->json["waited_seconds_per_step"] = measured.waited_seconds;
}

}  // namespace

absl::StatusOr<BenchReport> BenchStep(const TrainConfig& config,
                                      const StepBenchOptions& options,
                                      const RankGroups& groups) {
  NW_ASSIGN_OR_RETURN(const ModelConfig model, ModelOf(config));
  NW_ASSIGN_OR_RETURN(const std::unique_ptr<Learner> learner,
                      Learner::Create(config, model, groups));
  const DType dtype = learner->compute_dtype();
  const Device device = learner->model().device();
  const int ranks = groups.all->world_size();
  // All ranks measure at once, as they will compute.
  NW_RETURN_IF_ERROR(groups.all->Barrier("peak"));
  const double peak =
      ranks * (device == Device::Cpu()
                   ? MeasureGemmPeak(dtype, options.peak_seconds)
                   : MeasureMatmulPeak(dtype, device, options.peak_seconds));
  CpuAllocator::Get().ReleaseCached();  // What that took is not the steps'.
  NW_RETURN_IF_ERROR(learner->Initialize());
  AllocatorFor(device).ResetPeak();
  NW_ASSIGN_OR_RETURN(const Measured measured,
                      RunSteps(options, groups, learner.get()));
  const int64_t resident = MaxResidentBytes();
  const double bandwidth = MeasureBandwidth(device, options.peak_seconds);
  if (groups.all->rank() != 0) return BenchReport();

  const Timing timing = TimingOf(measured.seconds);
  const auto tokens =
      static_cast<double>(TokensPerStep(config.batch(), config.model()));
  const double flops =
      tokens * layers::TrainFlopsPerToken(
                   model, SequenceLength(config.batch(), config.model()));
  const layers::TrainMemory memory = EstimateRankMemory(config, model, ranks);
  const int64_t predicted = memory.total() - memory.checkpoint;

  BenchReport report;
  Table table({"", "median", "best"});
  table.Add({"step time", Seconds(timing.median), Seconds(timing.best)});
  table.Add({"tokens per second",
             absl::StrFormat("%.1f", tokens / timing.median),
             absl::StrFormat("%.1f", tokens / timing.best)});
  table.Add({"FLOP/s", Scaled(flops / timing.median, ""),
             Scaled(flops / timing.best, "")});
  table.Add({absl::StrCat("share of the ", DTypeName(dtype), " matmul peak"),
             Percent(flops / timing.median / peak),
             Percent(flops / timing.best / peak)});
  report.text = absl::StrFormat(
      "%s parameters, %d tokens and %s a step, %d steps, %d threads\n"
      "matmul peak %s, memory bandwidth %s\n\n%s\n"
      "memory: process at most %s, tensors at most %s; predicted %s\n"
      "the system was asked for memory %g times a step\n",
      WithCommas(learner->parameters().numel()), static_cast<int64_t>(tokens),
      Scaled(flops, "FLOP"), options.steps, NumThreads(),
      Scaled(peak, "FLOP/s"), Scaled(bandwidth, "B/s"), table.Text(),
      Scaled(resident, "B"), Scaled(measured.allocator_peak, "B"),
      Scaled(predicted, "B"), measured.system_calls);
  if (measured.dropped_spans > 0) {
    absl::StrAppendFormat(&report.text,
                          "%d spans had no room in the trace and are missing "
                          "below; fewer --steps "
                          "have\n",
                          measured.dropped_spans);
  }
  report.json = {
      {"parameters", learner->parameters().numel()},
      {"dtype", DTypeName(dtype)},
      {"tokens_per_step", static_cast<int64_t>(tokens)},
      {"flops_per_step", flops},
      {"warmup", options.warmup},
      {"steps", options.steps},
      {"step_seconds", measured.seconds},
      {"median_step_seconds", timing.median},
      {"best_step_seconds", timing.best},
      {"median_tokens_per_second", tokens / timing.median},
      {"best_tokens_per_second", tokens / timing.best},
      {"matmul_peak_flops_per_second", peak},
      {"bandwidth_bytes_per_second", bandwidth},
      {"median_peak_share", flops / timing.median / peak},
      {"best_peak_share", flops / timing.best / peak},
      {"last_loss", measured.loss},
      {"max_resident_bytes", resident},
      {"predicted_bytes", predicted},
      {"allocator_peak_bytes", measured.allocator_peak},
      {"allocator_system_calls_per_step", measured.system_calls},
  };
  if (ranks > 1) AddExchange(measured, *learner, ranks, &report);
  const Breakdown breakdown(measured, {peak / ranks, bandwidth});
  breakdown.AddKernels(&report);
  breakdown.AddPhases(&report);
  return report;
}

}  // namespace nextword
