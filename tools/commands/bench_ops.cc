#include "tools/commands/bench_ops.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "optim/clip.h"
#include "tools/commands/bandwidth.h"
#include "tools/commands/bench_gemm.h"
#include "tools/commands/quantity.h"
#include "tools/commands/random_tensor.h"
#include "tools/commands/table.h"
#include "tools/commands/timing.h"

namespace nextword {
namespace {

using Json = nlohmann::ordered_json;

// The sizes of a model and of the micro-batch that it is trained on.
struct Sizes {
  const char* name;
  bool llama;  // Rotary positions, RMS norms and SwiGLU.
  int64_t tokens, sequence, hidden, heads, mlp, vocab;

  int64_t head_dim() const { return hidden / heads; }
};

std::vector<Sizes> Models(int64_t tokens) {
  std::vector<Sizes> models = {
      {"gpt2_124m", false, 1024, 1024, 768, 12, 3072, 50257},
      {"quickstart", true, 2048, 256, 256, 4, 704, 4096}};
  for (Sizes& sizes : models) {
    if (tokens > 0) sizes.tokens = tokens;
    sizes.sequence = std::min(sizes.sequence, sizes.tokens);
    sizes.tokens -= sizes.tokens % sizes.sequence;
  }
  return models;
}

// Measures kernels and keeps the rows.
class OpBench {
 public:
  OpBench(DType dtype, double bandwidth, double seconds)
      : dtype_(dtype),
        seconds_(seconds),
        bandwidth_(bandwidth),
        peak_(MeasureGemmPeak(dtype, 3 * seconds)) {}

  DType dtype() const { return dtype_; }

  void SetModel(const char* model) { model_ = model; }

  // A kernel that passes once over `tensors`; those that it reads and writes
  // are listed twice.
  void Pass(const char* kernel, const std::vector<Tensor>& tensors,
            const std::function<void()>& body) {
    double bytes = 0;
    for (const Tensor& tensor : tensors) {
      bytes += static_cast<double>(tensor.size_bytes());
    }
    const Timing timing = Measure(seconds_, body);
    Add(kernel, tensors[0], timing, bytes, "bytes", bandwidth_);
  }

  // A kernel whose work is `flops` operations in matrix products.
  void Compute(const char* kernel, const Tensor& tensor, double flops,
               const std::function<void()>& body) {
    const Timing timing = Measure(seconds_, body);
    Add(kernel, tensor, timing, flops, "flops", peak_);
  }

  void AppendTo(BenchReport* report) {
    absl::StrAppendFormat(&report->text,
                          "%s: matmul peak %s, memory bandwidth %s\n%s",
                          DTypeName(dtype_), Scaled(peak_, "FLOP/s"),
                          Scaled(bandwidth_, "B/s"), table_.Text());
    report->json["dtypes"].push_back({{"dtype", DTypeName(dtype_)},
                                      {"matmul_peak_flops_per_second", peak_},
                                      {"kernels", std::move(rows_)}});
  }

 private:
  // `tensor` stands for the size; `work`, in `unit`, is what `limit` a second
  // would be the most of.
  void Add(const char* kernel, const Tensor& tensor, const Timing& timing,
           double work, const std::string& unit, double limit) {
    const double rate = work / timing.best;
    const std::string shape = absl::StrJoin(tensor.shape().dims(), " x ");
    table_.Add({kernel, model_, shape, Seconds(timing.best),
                Seconds(timing.median),
                Scaled(rate, unit == "bytes" ? "B/s" : "FLOP/s"),
                Percent(rate / limit)});
    rows_.push_back({{"name", kernel},
                     {"model", model_},
                     {"shape", tensor.shape().dims()},
                     {"best_seconds", timing.best},
                     {"median_seconds", timing.median},
                     {"calls", timing.calls},
                     {unit, work},
                     {absl::StrCat(unit, "_per_second"), rate},
                     {"limit_share", rate / limit}});
  }

  const DType dtype_;
  const double seconds_;
  const double bandwidth_, peak_;
  const char* model_ = "";
  Table table_{
      {"kernel", "model", "size", "best", "median", "rate", "of limit"}};
  Json rows_ = Json::array();
};

using kernels::AttentionMask;

void BenchElementwise(const Sizes& s, OpBench* bench) {
  const DType dtype = bench->dtype();
  const Shape hidden = {s.tokens, s.hidden};
  const Tensor a = RandomNormal(hidden, dtype, 1);
  const Tensor b = RandomNormal(hidden, dtype, 2);
  Tensor y = Empty(hidden, dtype);
  bench->Pass("add", {y, a, b}, [&] { kernels::add(a, b, &y); });
  bench->Pass("accumulate", {y, y, a}, [&] { kernels::accumulate(a, &y); });
  bench->Pass("dropout", {y, a},
              [&] { kernels::dropout(a, 0.1, {.seed = 3}, &y); });
  const Tensor bias = RandomNormal({s.hidden}, dtype, 3);
  Tensor sum = Empty({s.hidden}, dtype);
  bench->Pass("add, a bias", {y, a, bias}, [&] { kernels::add(a, bias, &y); });
  bench->Pass("sum_to, a bias", {a, sum}, [&] { kernels::sum_to(a, &sum); });
  const Tensor qkv = RandomNormal({s.tokens, 3 * s.hidden}, dtype, 4);
  bench->Pass("copy_range, q of qkv", {y, y},
              [&] { kernels::copy_range(qkv, 1, 0, &y, 0, s.hidden); });
}

void BenchActivation(const Sizes& s, OpBench* bench) {
  const DType dtype = bench->dtype();
  const int64_t columns = (s.llama ? 2 : 1) * s.mlp;
  const Tensor x = RandomNormal({s.tokens, columns}, dtype, 1);
  const Tensor dy = RandomNormal({s.tokens, s.mlp}, dtype, 2);
  Tensor y = EmptyLike(dy), dx = EmptyLike(x);
  if (s.llama) {
    bench->Pass("swiglu", {y, x}, [&] { kernels::swiglu(x, &y); });
    bench->Pass("swiglu_grad", {dx, dy, x},
                [&] { kernels::swiglu_grad(x, dy, &dx); });
  } else {
    bench->Pass("gelu_tanh", {y, x}, [&] { kernels::gelu_tanh(x, &y); });
    bench->Pass("gelu_tanh_grad", {dx, dy, x},
                [&] { kernels::gelu_tanh_grad(x, dy, &dx); });
  }
}

void BenchNorm(const Sizes& s, OpBench* bench) {
  const DType dtype = bench->dtype();
  constexpr double kEpsilon = 1e-5;
  const Tensor x = RandomNormal({s.tokens, s.hidden}, dtype, 1);
  const Tensor dy = RandomNormal({s.tokens, s.hidden}, dtype, 2);
  const Tensor weight = RandomNormal({s.hidden}, dtype, 3);
  const Tensor bias = RandomNormal({s.hidden}, dtype, 4);
  Tensor y = EmptyLike(x), dx = EmptyLike(x);
  Tensor mean = Empty({s.tokens}, DType::kF32), rstd = EmptyLike(mean);
  Tensor dparameters = Empty({s.llama ? 1 : 2, s.hidden}, dtype), none;
  if (s.llama) {
    bench->Pass("rms_norm", {y, x},
                [&] { kernels::rms_norm(x, weight, kEpsilon, &y, &rstd); });
    bench->Pass("rms_norm_grad", {dx, x, dy}, [&] {
      kernels::rms_norm_grad(x, weight, rstd, dy, false, &dx, &none,
                             &dparameters);
    });
  } else {
    bench->Pass("layer_norm", {y, x}, [&] {
      kernels::layer_norm(x, weight, bias, kEpsilon, &y, &mean, &rstd);
    });
    bench->Pass("layer_norm_grad", {dx, x, dy}, [&] {
      kernels::layer_norm_grad(x, weight, mean, rstd, dy, false, &dx, &none,
                               &dparameters);
    });
  }
}

void BenchAttention(const Sizes& s, OpBench* bench) {
  const DType dtype = bench->dtype();
  const int64_t batch = s.tokens / s.sequence;
  const Tensor qkv =
      RandomNormal({batch, s.sequence, 3 * s.heads, s.head_dim()}, dtype, 1);
  Tensor dqkv = EmptyLike(qkv);
  const auto part = [&](const Tensor& x, int i) {
    return kernels::Heads{x, i * s.heads, s.heads};
  };
  const Tensor dy =
      RandomNormal({batch, s.sequence, s.heads, s.head_dim()}, dtype, 4);
  Tensor y = EmptyLike(dy);
  Tensor lse = Empty({batch, s.heads, s.sequence}, DType::kF32);
  if (s.llama) {
    bench->Pass("rope", {dqkv, qkv}, [&] {
      kernels::rope(qkv, 2 * s.heads, 10000, 0, false, &dqkv);
    });
  }
  const double scale = 1 / std::sqrt(static_cast<double>(s.head_dim()));
  // Pairs of a query and a key that it sees, times the size of a head.
  const double pairs = static_cast<double>(batch * s.heads * s.head_dim()) *
                       static_cast<double>(s.sequence) *
                       static_cast<double>(s.sequence + 1) / 2;
  // Forward q k' and p v; backward these two scores again, and dv, dp, dq, dk.
  bench->Compute("attention", y, 4 * pairs, [&] {
    kernels::attention(part(qkv, 0), part(qkv, 1), part(qkv, 2), scale,
                       AttentionMask{}, &y, &lse);
  });
  bench->Compute("attention_grad", y, 10 * pairs, [&] {
    kernels::attention_grad(part(qkv, 0), part(qkv, 1), part(qkv, 2), y, lse,
                            dy, scale, AttentionMask{}, part(dqkv, 0),
                            part(dqkv, 1), part(dqkv, 2));
  });
}

void BenchVocabulary(const Sizes& s, OpBench* bench) {
  const DType dtype = bench->dtype();
  const Tensor ids = RandomIds({s.tokens}, s.vocab, 1);
  {
    const Tensor w = RandomNormal({s.vocab, s.hidden}, dtype, 2);
    Tensor y = RandomNormal({s.tokens, s.hidden}, dtype, 3);
    Tensor dw = ZerosLike(w);
    bench->Pass("embedding", {y, y}, [&] { kernels::embedding(w, ids, &y); });
    bench->Pass("embedding_grad", {y, y, y},
                [&] { kernels::embedding_grad(ids, y, &dw); });
  }
  const Tensor logits = RandomNormal({s.tokens, s.vocab}, dtype, 4);
  Tensor dlogits = EmptyLike(logits);
  Tensor losses = Empty({s.tokens}, DType::kF32), lse = EmptyLike(losses);
  const Tensor ones = Empty({s.tokens}, DType::kF32);
  std::fill_n(ones.data<float>(), s.tokens, 1.0f);
  bench->Pass("cross_entropy", {logits},
              [&] { kernels::cross_entropy(logits, ids, &losses, &lse); });
  bench->Pass("cross_entropy_grad", {dlogits, logits}, [&] {
    kernels::cross_entropy_grad(logits, ids, lse, ones, &dlogits);
  });
  Tensor scores = RandomNormal({s.tokens, s.vocab}, DType::kF32, 4);
  const Tensor last = Clone(scores.Rows(0, 1));
  Tensor id = Empty({1}, DType::kI32);
  bench->Pass("sample, of all", {last},
              [&] { kernels::sample(last, {.temperature = 0.8}, &id); });
  bench->Pass("sample, top_p", {last}, [&] {
    kernels::sample(last, {.temperature = 0.8, .top_p = 0.95}, &id);
  });
  bench->Pass("sample, top_k", {last}, [&] {
    kernels::sample(last, {.temperature = 0.8, .top_k = 40}, &id);
  });
  bench->Pass("cross_entropy_with_grad", {scores, dlogits}, [&] {
    kernels::cross_entropy_with_grad(&scores, ids, &losses, &dlogits);
  });
}

// Of the feed-forward layer.
void BenchMatmul(const Sizes& s, OpBench* bench) {
  const int64_t columns = (s.llama ? 2 : 1) * s.mlp;
  const Tensor x = RandomNormal({s.tokens, s.hidden}, bench->dtype(), 1);
  const Tensor w = RandomNormal({columns, s.hidden}, bench->dtype(), 2);
  Tensor y = Empty({s.tokens, columns}, bench->dtype());
  bench->Compute("linear, up", y,
                 2.0 * static_cast<double>(s.hidden * y.numel()),
                 [&] { kernels::linear(x, w, Tensor(), Tensor(), &y); });
}

// Over the weights of one block's matrices, which are f32.
void BenchUpdate(const Sizes& s, OpBench* bench) {
  const int64_t numel =
      4 * s.hidden * s.hidden + (s.llama ? 3 : 2) * s.hidden * s.mlp;
  Tensor grad = RandomNormal({numel}, DType::kF32, 1, 1e-3);
  Tensor param = RandomNormal({numel}, DType::kF32, 2, 0.02);
  Tensor m = ZerosLike(param), v = ZerosLike(param);
  const kernels::AdamWParams params = {.learning_rate = 1e-4,
                                       .beta1 = 0.9,
                                       .beta2 = 0.95,
                                       .epsilon = 1e-8,
                                       .weight_decay = 0.1,
                                       .grad_scale = 1,
                                       .step = 1};
  Tensor none;
  bench->Pass("adamw", {param, param, grad, grad, m, m, v, v},
              [&] { kernels::adamw(&param, &grad, &m, &v, &none, params); });
  bench->Pass("sum_squares", {grad}, [&] { GlobalNorm(grad); });
  bench->Pass("fill", {m}, [&] { kernels::fill(&m, 0); });
}

}  // namespace

BenchReport BenchOps(const std::vector<DType>& dtypes, int64_t tokens,
                     double seconds) {
  const double bandwidth = MeasureBandwidth(Device::Cpu(), 5 * seconds);
  BenchReport report;
  report.json["bandwidth_bytes_per_second"] = bandwidth;
  report.json["dtypes"] = Json::array();
  for (const DType dtype : dtypes) {
    OpBench bench(dtype, bandwidth, seconds);
    for (const Sizes& sizes : Models(tokens)) {
      bench.SetModel(sizes.name);
      BenchMatmul(sizes, &bench);
      BenchAttention(sizes, &bench);
      BenchNorm(sizes, &bench);
      BenchActivation(sizes, &bench);
      BenchElementwise(sizes, &bench);
      BenchVocabulary(sizes, &bench);
      if (dtype == DType::kF32) BenchUpdate(sizes, &bench);
    }
    if (!report.text.empty()) absl::StrAppend(&report.text, "\n");
    bench.AppendTo(&report);
  }
  return report;
}

}  // namespace nextword
