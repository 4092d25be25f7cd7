#include "tests/op_table.h"

#include <utility>

#include "autograd/ops/activation.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/layout.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/recompute.h"
#include "autograd/ops/reduction.h"

namespace nextword {
namespace {

using Inputs = std::vector<Variable>;

// Shapes of element-wise ops of one input.
const std::vector<Shapes> kUnary = {{{2, 3}}, {{}}, {{1}}, {{3, 0}}, {{33}}};
const Shapes kUnaryLarge = {{5, 7, 1025}};

// Shapes of element-wise ops of two inputs: every way to broadcast.
const std::vector<Shapes> kBinary = {
    {{2, 3}, {2, 3}},
    {{2, 3}, {3}},
    {{3}, {2, 3}},
    {{2, 1, 3}, {4, 1}},
    {{2, 3, 4}, {3, 1}},
    {{2, 3, 4}, {2, 1, 1}},
    {{1, 3, 1}, {2, 1, 2}},
    {{}, {2, 3}},
    {{2, 3}, {}},
    {{}, {}},
    {{1}, {1}},
    {{1, 1}, {3}},
    {{0, 3}, {3}},
    {{0, 3}, {1, 1}},
    {{2, 0}, {1}},
    {{2, 1, 2, 1, 2}, {3, 1}},
    {{2, 3, 2}, {2}},
};
const Shapes kBinaryLarge = {{37, 1, 129}, {65, 1}};

// Attention's q, k and v: T = S; grouped heads; one of all; strips of queries
// that are not full; nothing.
const std::vector<Shapes> kAttention = {
    {{2, 5, 3, 4}, {2, 5, 3, 4}, {2, 5, 3, 4}},
    {{1, 7, 6, 2}, {1, 7, 2, 2}, {1, 7, 2, 2}},
    {{2, 3, 4, 3}, {2, 3, 1, 3}, {2, 3, 1, 3}},
    {{1, 1, 1, 1}, {1, 1, 1, 1}, {1, 1, 1, 1}},
    {{1, 67, 1, 3}, {1, 67, 1, 3}, {1, 67, 1, 3}},
    {{0, 3, 2, 4}, {0, 3, 2, 4}, {0, 3, 2, 4}},
    {{2, 0, 2, 4}, {2, 0, 1, 4}, {2, 0, 1, 4}},
};
const Shapes kAttentionLarge = {
    {2, 150, 4, 24}, {2, 150, 2, 24}, {2, 150, 2, 24}};

// More keys than queries, some of them not valid: for KeysMask.
const std::vector<Shapes> kCached = {
    {{2, 3, 2, 4}, {2, 9, 2, 4}, {2, 9, 2, 4}},
    {{1, 1, 4, 3}, {1, 5, 2, 3}, {1, 5, 2, 3}},
    {{1, 66, 1, 2}, {1, 70, 1, 2}, {1, 70, 1, 2}},
};
const Shapes kCachedLarge = {{2, 70, 4, 24}, {2, 150, 2, 24}, {2, 150, 2, 24}};

// For queries and keys, without values.
std::vector<Shapes> FirstTwo(std::vector<Shapes> cases) {
  for (Shapes& shapes : cases) shapes.pop_back();
  return cases;
}

AttentionMask WindowMask() { return {.keys = 0, .window = 3, .documents = {}}; }

// The last two keys are not valid.
AttentionMask KeysMask(const Variable& k) {
  return {.keys = k.dim(1) - 2, .window = 0, .documents = {}};
}

// Documents of uneven length, cut elsewhere in every sequence.
AttentionMask DocumentsMask(const Variable& k) {
  const int64_t batch = k.dim(0), keys = k.dim(1);
  std::vector<int32_t> ids;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < keys; ++s) {
      ids.push_back(static_cast<int32_t>((s + b) / 3 + s / 7));
    }
  }
  return {.keys = 0,
          .window = 0,
          .documents = FromVector(ids, {batch, keys}, k.value().device())};
}

AttentionMask EveryMask(const Variable& k) {
  AttentionMask mask = DocumentsMask(k);
  mask.keys = k.dim(1) - 2;
  mask.window = 2;
  return mask;
}

// Ids below `limit`; with gaps, every third is -1.
Tensor Targets(const Shape& shape, int64_t limit, bool gaps, Device device) {
  const Tensor targets = RandomIds(shape, static_cast<int32_t>(limit), 7);
  int32_t* const ids = targets.data<int32_t>();
  for (int64_t i = 0; gaps && i < targets.numel(); i += 3) ids[i] = -1;
  return ToDevice(targets, device);
}

Tensor TargetsFor(const Variable& logits) {
  return Targets(logits.shape().Without(-1), logits.dim(-1), false,
                 logits.value().device());
}

Tensor TargetsWithGapsFor(const Variable& logits) {
  return Targets(logits.shape().Without(-1), logits.dim(-1), true,
                 logits.value().device());
}

// For LinearCrossEntropy of x and weight.
Tensor HeadTargetsFor(const Variable& x, const Variable& weight, bool gaps) {
  return Targets(x.shape().Without(-1), weight.dim(0), gaps,
                 x.value().device());
}

// A block with randomness, an input used twice, and a leaf of its own.
Variable RecomputedBlock(const Inputs& in) {
  return Recompute(
      [weight = in[1]](const Variable& x) {
        const Variable h = Dropout(Gelu(Linear(x, weight)), 0.25, {.seed = 5});
        return Add(Mul(x, x), h);
      },
      in[0]);
}

std::vector<OpRow> ArithmeticRows() {
  return {
      {"Add", "", [](const Inputs& in) { return Add(in[0], in[1]); }, kBinary,
       kBinaryLarge},
      {"Sub", "", [](const Inputs& in) { return Sub(in[0], in[1]); }, kBinary,
       kBinaryLarge},
      {"Mul", "", [](const Inputs& in) { return Mul(in[0], in[1]); }, kBinary,
       kBinaryLarge},
      {"Div", "", [](const Inputs& in) { return Div(in[0], in[1]); }, kBinary,
       kBinaryLarge, Domain::kPositive},
      {"Scale", "", [](const Inputs& in) { return Scale(in[0], -1.75); },
       kUnary, kUnaryLarge},
      {"Cast", "",
       [](const Inputs& in) {
         const bool on_cpu = in[0].value().device() == Device::Cpu();
         const DType wide = on_cpu ? DType::kF64 : DType::kF32;
         return Mul(Cast(in[0], wide), Cast(in[0], wide));
       },
       kUnary, kUnaryLarge},
      {"Exp", "", [](const Inputs& in) { return Exp(in[0]); }, kUnary,
       kUnaryLarge},
      {"Log", "", [](const Inputs& in) { return Log(in[0]); }, kUnary,
       kUnaryLarge, Domain::kPositive},
      {"Sqrt", "", [](const Inputs& in) { return Sqrt(in[0]); }, kUnary,
       kUnaryLarge, Domain::kPositive},
      {"Tanh", "", [](const Inputs& in) { return Tanh(in[0]); }, kUnary,
       kUnaryLarge},
  };
}

std::vector<OpRow> ActivationRows() {
  return {
      {"Silu", "", [](const Inputs& in) { return Silu(in[0]); }, kUnary,
       kUnaryLarge},
      {"Gelu", "", [](const Inputs& in) { return Gelu(in[0]); }, kUnary,
       kUnaryLarge},
      {"GeluTanh", "", [](const Inputs& in) { return GeluTanh(in[0]); }, kUnary,
       kUnaryLarge},
      {"Swiglu",
       "",
       [](const Inputs& in) { return Swiglu(in[0]); },
       {{{2, 6}}, {{2}}, {{3, 1, 10}}, {{0, 4}}, {{3, 0}}, {{2, 66}}},
       {{50, 514}}},
      {"Dropout",
       "",
       [](const Inputs& in) {
         return Dropout(in[0], 0.3, {.seed = 3, .step = 2, .site = 1});
       },
       {{{2, 3}}, {{1}}, {{5, 3, 3}}, {{0, 3}}, {{3, 0}}},
       {{7, 5, 1025}}},
      {"Dropout",
       "of_nothing",
       [](const Inputs& in) { return Dropout(in[0], 0, {}); },
       {{{2, 3}}},
       {{4, 5}}},
  };
}

std::vector<OpRow> AttentionRows() {
  const auto rows = [](const std::string& op, auto function,
                       std::vector<Shapes> cases, Shapes large,
                       std::vector<Shapes> cached, Shapes cached_large) {
    const auto with = [function](auto mask) {
      return [function, mask](const Inputs& in) {
        return function(in, mask(in[1]));
      };
    };
    return std::vector<OpRow>{
        {op, "", with([](const Variable&) { return AttentionMask{}; }), cases,
         large},
        {op, "window", with([](const Variable&) { return WindowMask(); }),
         cases, large},
        {op, "documents", with(DocumentsMask), cases, large},
        {op, "keys", with(KeysMask), cached, cached_large},
        {op, "keys_window_documents", with(EveryMask), cached, cached_large},
    };
  };
  std::vector<OpRow> result = rows(
      "Attention",
      [](const Inputs& in, const AttentionMask& mask) {
        return Attention(in[0], in[1], in[2], mask);
      },
      kAttention, kAttentionLarge, kCached, kCachedLarge);
  for (OpRow& row :
       rows("AttentionPattern",
            [](const Inputs&in, const AttentionMask&mask) {
              return AttentionPattern(in[0], in[1], mask);
            },
            FirstTwo(kAttention), {kAttentionLarge[0], kAttentionLarge[1]},
            FirstTwo(kCached), {kCachedLarge[0], kCachedLarge[1]})) {
    result.push_back(std::move(row));
  }
  result.push_back({"AttendWith",
                    "",
                    [](const Inputs& in) { return AttendWith(in[0], in[1]); },
                    {{{2, 3, 5, 5}, {2, 5, 3, 4}},
                     {{1, 4, 2, 7}, {1, 7, 2, 3}},
                     {{2, 4, 3, 3}, {2, 3, 1, 2}},
                     {{1, 1, 1, 1}, {1, 1, 1, 1}},
                     {{0, 2, 3, 3}, {0, 3, 2, 4}}},
                    {{2, 4, 70, 150}, {2, 150, 2, 24}}});
  const auto masked_self_attention = [](const AttentionMask& mask) {
    return
        [mask](const Inputs& in) { return SelfAttention(in[0], 4, 2, mask); };
  };
  const std::vector<Shapes> packed = {{{2, 5, 8, 4}},
                                      {{1, 1, 8, 3}},
                                      {{1, 67, 8, 2}},
                                      {{0, 3, 8, 4}},
                                      {{2, 0, 8, 4}}};
  const Shapes packed_large = {{2, 150, 8, 24}};
  result.push_back(
      {"SelfAttention", "", masked_self_attention({}), packed, packed_large});
  result.push_back({"SelfAttention", "window",
                    masked_self_attention(WindowMask()), packed, packed_large});
  result.push_back({"SelfAttention", "documents",
                    [](const Inputs& in) {
                      return SelfAttention(in[0], 4, 2, DocumentsMask(in[0]));
                    },
                    packed, packed_large});
  result.push_back({"Rope",
                    "some_heads",
                    [](const Inputs& in) { return Rope(in[0], 500, 3, 2); },
                    {{{2, 3, 3, 4}}, {{1, 1, 2, 2}}, {{0, 2, 2, 4}}},
                    {{2, 70, 4, 24}}});
  result.push_back({"Rope",
                    "",
                    [](const Inputs& in) { return Rope(in[0], 10000); },
                    {{{2, 3, 2, 4}},
                     {{1, 1, 1, 2}},
                     {{1, 5, 3, 6}},
                     {{0, 2, 2, 4}},
                     {{2, 0, 2, 4}}},
                    {{2, 70, 4, 24}}});
  result.push_back({"Rope",
                    "first_position",
                    [](const Inputs& in) { return Rope(in[0], 500, 13); },
                    {{{2, 3, 2, 4}}, {{1, 1, 1, 2}}},
                    {{2, 70, 4, 24}}});
  return result;
}

std::vector<OpRow> LayoutRows() {
  return {
      {"Reshape",
       "",
       [](const Inputs& in) {
         return Reshape(in[0], {3, 2});
       },
       {{{2, 3}}, {{6}}, {{1, 3, 2}}},
       {{2, 3}}},
      {"Permute",
       "",
       [](const Inputs& in) {
         return Permute(in[0], {2, 0, -2});
       },
       {{{2, 3, 4}}, {{1, 3, 1}}, {{2, 0, 3}}, {{5, 1, 7}}},
       {{31, 65, 33}}},
      {"Transpose",
       "",
       [](const Inputs& in) { return Transpose(in[0], 0, -1); },
       {{{2, 3}}, {{2, 3, 4}}, {{1, 5}}, {{5, 0}}, {{4}}},
       {{131, 5, 67}}},
      {"Slice",
       "",
       [](const Inputs& in) { return Slice(in[0], -1, 1, in[0].dim(-1)); },
       {{{2, 3}}, {{5}}, {{2, 1}}, {{0, 3}}, {{2, 3, 2}}},
       {{131, 257}}},
      {"Slice",
       "first_axis",
       [](const Inputs& in) { return Slice(in[0], 0, 1, 2); },
       {{{2, 3}}, {{5}}, {{3, 0}}, {{2, 3, 2}}},
       {{9, 4097}}},
      {"Slice",
       "of_nothing",
       [](const Inputs& in) { return Slice(in[0], 0, 1, 1); },
       {{{2, 3}}, {{1, 2}}},
       {{9, 4097}}},
      {"Concat",
       "",
       [](const Inputs& in) { return Concat(in, -1); },
       {{{2, 3}, {2, 1}, {2, 2}}, {{3}}, {{2, 0}, {2, 3}}, {{0, 2}, {0, 3}}},
       {{131, 257}, {131, 3}}},
      {"Concat",
       "first_axis",
       [](const Inputs& in) { return Concat(in, 0); },
       {{{2, 3}, {1, 3}}, {{0, 3}, {2, 3}}},
       {{131, 257}, {3, 257}}},
      {"Embedding",
       "",
       [](const Inputs& in) {
         const int32_t rows = static_cast<int32_t>(in[0].dim(0));
         return Embedding(in[0], ToDevice(RandomIds({2, 11}, rows, 1),
                                          in[0].value().device()));
       },
       {{{5, 3}}, {{1, 1}}, {{30, 2}}, {{4, 0}}},
       {{17, 515}}},
      {"AddRows",
       "",
       [](const Inputs& in) { return AddRows(in[0], in[1], 1); },
       {{{2, 3, 4}, {5, 4}},
        {{3, 2}, {4, 2}},
        {{2, 1, 1}, {2, 1}},
        {{0, 2, 3}, {3, 3}},
        {{2, 0, 3}, {1, 3}},
        {{2, 2, 0}, {3, 0}}},
       {{3, 37, 515}, {40, 515}}},
      {"Embedding",
       "of_nothing",
       [](const Inputs& in) {
         return Embedding(in[0],
                          Empty({3, 0}, DType::kI32, in[0].value().device()));
       },
       {{{5, 3}}},
       {{17, 515}}},
  };
}

std::vector<OpRow> MatmulRows() {
  const std::vector<Shapes> linear = {
      {{2, 3}, {4, 3}, {4}}, {{5}, {2, 5}, {2}},       {{2, 3, 5}, {7, 5}, {7}},
      {{1, 1}, {1, 1}, {1}}, {{0, 3}, {2, 3}, {2}},    {{2, 0}, {3, 0}, {3}},
      {{2, 3}, {0, 3}, {0}}, {{33, 9}, {17, 9}, {17}},
  };
  return {
      {"Matmul",
       "",
       [](const Inputs& in) { return Matmul(in[0], in[1]); },
       {{{2, 3}, {3, 4}},
        {{1, 5}, {5, 1}},
        {{1, 1}, {1, 1}},
        {{2, 3, 5}, {2, 5, 2}},
        {{2, 3, 5}, {5, 2}},
        {{2, 1, 3, 2}, {2, 1, 2, 3}},
        {{0, 3}, {3, 2}},
        {{3, 0}, {0, 2}},
        {{3, 2}, {2, 0}},
        {{0, 3, 2}, {0, 2, 4}},
        {{0, 3, 2}, {2, 4}},
        {{33, 17}, {17, 35}}},
       {{3, 130, 100}, {3, 100, 70}}},
      {"Matmul",
       "transpose_b",
       [](const Inputs& in) { return Matmul(in[0], in[1], true); },
       {{{2, 3}, {4, 3}},
        {{1, 5}, {1, 5}},
        {{2, 3, 5}, {2, 2, 5}},
        {{2, 3, 5}, {2, 5}},
        {{2, 1, 3, 2}, {2, 1, 4, 2}},
        {{0, 3}, {2, 3}},
        {{3, 0}, {2, 0}},
        {{3, 2}, {0, 2}},
        {{33, 17}, {35, 17}}},
       {{3, 130, 100}, {70, 100}}},
      {"Linear",
       "",
       [](const Inputs& in) { return Linear(in[0], in[1], in[2]); },
       linear,
       {{5, 30, 100}, {515, 100}, {515}}},
      {"Linear",
       "residual",
       [](const Inputs& in) { return Linear(in[0], in[1], in[2], in[3]); },
       {{{2, 3}, {4, 3}, {4}, {2, 4}},
        {{5}, {2, 5}, {2}, {2}},
        {{2, 3, 5}, {7, 5}, {7}, {2, 3, 7}},
        {{0, 3}, {2, 3}, {2}, {0, 2}},
        {{2, 0}, {3, 0}, {3}, {2, 3}}},
       {{5, 30, 100}, {515, 100}, {515}, {5, 30, 515}}},
      {"Linear",
       "residual_without_bias",
       [](const Inputs& in) { return Linear(in[0], in[1], Variable(), in[2]); },
       {{{2, 3}, {4, 3}, {2, 4}}, {{2, 0}, {3, 0}, {2, 3}}},
       {{5, 30, 100}, {515, 100}, {5, 30, 515}}},
      {"Linear",
       "without_bias",
       [](const Inputs& in) { return Linear(in[0], in[1]); },
       FirstTwo(linear),
       {{5, 30, 100}, {515, 100}}},
      {"GeluTanhFeedForward",
       "",
       [](const Inputs& in) {
         return GeluTanhFeedForward(in[0], in[1], in[2], in[3], in[4], in[5]);
       },
       {{{2, 3}, {4, 3}, {4}, {2, 4}, {2}, {2, 2}},
        {{2, 3, 5}, {7, 5}, {7}, {5, 7}, {5}, {2, 3, 5}},
        {{1, 1}, {1, 1}, {1}, {1, 1}, {1}, {1, 1}},
        {{0, 3}, {4, 3}, {4}, {3, 4}, {3}, {0, 3}}},
       {{5, 30, 104}, {320, 104}, {320}, {104, 320}, {104}, {5, 30, 104}}},
      {"GeluTanhFeedForward",
       "without_biases",
       [](const Inputs& in) {
         return GeluTanhFeedForward(in[0], in[1], {}, in[2], {}, {});
       },
       {{{2, 3}, {4, 3}, {2, 4}}, {{2, 0}, {3, 0}, {2, 3}}},
       {{5, 30, 100}, {315, 100}, {70, 315}}},
  };
}

// x + 2 norm(x) of an x within the graph: the norm's gradient meets the sum's.
template <typename F>
Variable BesideAStream(const Variable& input, const F& norm) {
  const Variable x = Scale(input, 0.5);
  return Add(x, Scale(norm(x), 2));
}

std::vector<OpRow> NormRows() {
  const std::vector<Shapes> norm = {
      {{2, 3}, {3}, {3}}, {{7}, {7}, {7}},       {{2, 3, 5}, {5}, {5}},
      {{3, 2}, {2}, {2}}, {{0, 3}, {3}, {3}},    {{2, 0}, {0}, {0}},
      {{2, 1}, {1}, {1}}, {{5, 33}, {33}, {33}}, {{130, 2}, {2}, {2}},
  };
  const Shapes large = {{300, 1032}, {1032}, {1032}};
  return {
      {"LayerNorm", "",
       [](const Inputs& in) { return LayerNorm(in[0], in[1], in[2], 1e-5); },
       norm, large},
      {"LayerNorm",
       "without_bias",
       [](const Inputs& in) {
         return LayerNorm(in[0], in[1], Variable(), 1e-5);
       },
       FirstTwo(norm),
       {large[0], large[1]}},
      {"RmsNorm",
       "",
       [](const Inputs& in) { return RmsNorm(in[0], in[1], 1e-5); },
       FirstTwo(norm),
       {large[0], large[1]}},
      {"LayerNorm", "beside_a_stream",
       [](const Inputs& in) {
         return BesideAStream(in[0], [&](const Variable& x) {
           return LayerNorm(x, in[1], in[2], 1e-5);
         });
       },
       norm, large},
      {"RmsNorm",
       "beside_a_stream",
       [](const Inputs& in) {
         return BesideAStream(
             in[0], [&](const Variable& x) { return RmsNorm(x, in[1], 1e-5); });
       },
       FirstTwo(norm),
       {large[0], large[1]}},
      {"Softmax",
       "",
       [](const Inputs& in) { return Softmax(in[0]); },
       {{{2, 3}}, {{7}}, {{3, 1}}, {{2, 3, 5}}, {{0, 3}}, {{3, 0}}, {{2, 40}}},
       {{300, 515}}},
  };
}

std::vector<OpRow> ReductionRows() {
  const std::vector<Shapes> any = {{{2, 3}}, {{}},     {{1}},         {{33}},
                                   {{3, 0}}, {{1, 1}}, {{2, 3, 2, 2}}};
  const std::vector<Shapes> middle = {
      {{2, 3, 4}}, {{1, 3, 1}}, {{2, 1, 2}}, {{0, 3, 2}}, {{3, 2, 0}}};
  const auto without_empty = [](std::vector<Shapes> cases) {
    std::erase_if(cases, [](const Shapes& s) { return s[0].numel() == 0; });
    return cases;
  };
  return {
      {"Sum", "", [](const Inputs& in) { return Sum(in[0]); }, any,
       kUnaryLarge},
      {"Sum", "axis", [](const Inputs& in) { return Sum(in[0], 1); }, middle,
       kUnaryLarge},
      {"Sum",
       "last_axis",
       [](const Inputs& in) { return Sum(in[0], -1); },
       {{{2, 3}}, {{5}}, {{3, 1}}, {{2, 0}}, {{0, 2}}},
       kUnaryLarge},
      {"Sum",
       "first_axis",
       [](const Inputs& in) { return Sum(in[0], 0); },
       {{{2, 3}}, {{5}}, {{1, 3}}, {{2, 0}}, {{0, 2}}, {{130, 2}}, {{1100, 2}}},
       {{300, 515}}},
      {"Mean", "", [](const Inputs& in) { return Mean(in[0]); },
       without_empty(any), kUnaryLarge},
      {"Mean", "axis", [](const Inputs& in) { return Mean(in[0], 1); }, middle,
       kUnaryLarge},
      {"Max",
       "",
       [](const Inputs& in) { return Max(in[0]); },
       {{{2, 3}}, {{5}}, {{3, 1}}, {{2, 2, 4}}, {{0, 2}}},
       {{300, 515}}},
  };
}

std::vector<OpRow> OtherRows() {
  return {
      {"CrossEntropy",
       "",
       [](const Inputs& in) { return CrossEntropy(in[0], TargetsFor(in[0])); },
       {{{2, 3}}, {{7}}, {{2, 3, 5}}, {{3, 1}}, {{0, 3}}, {{3, 40}}},
       {{300, 515}}},
      {"CrossEntropy",
       "ignored_targets",
       [](const Inputs& in) {
         return CrossEntropy(in[0], TargetsWithGapsFor(in[0]));
       },
       {{{4, 3}}, {{2, 3, 5}}, {{1, 5}}},
       {{300, 515}}},
      {"LinearCrossEntropy",
       "",
       [](const Inputs& in) {
         return LinearCrossEntropy(in[0], in[1],
                                   HeadTargetsFor(in[0], in[1], false));
       },
       {{{2, 3}, {5, 3}},
        {{3}, {4, 3}},
        {{2, 3, 2}, {7, 2}},
        {{1, 1}, {1, 1}},
        {{0, 3}, {5, 3}},
        {{2, 0}, {5, 0}}},
       {{130, 40}, {515, 40}}},
      {"LinearCrossEntropy",
       "chunks_and_ignored_targets",
       [](const Inputs& in) {
         return LinearCrossEntropy(in[0], in[1],
                                   HeadTargetsFor(in[0], in[1], true), 1);
       },
       {{{4, 3}, {5, 3}}, {{70, 2}, {3, 2}}, {{1, 2}, {3, 2}}},
       {{200, 40}, {515, 40}}},
      {"Recompute",
       "",
       RecomputedBlock,
       {{{2, 3}, {3, 3}}, {{1, 1}, {1, 1}}, {{0, 3}, {3, 3}}},
       {{300, 70}, {70, 70}}},
  };
}

}  // namespace

std::string OpRow::Name() const {
  return variant.empty() ? op : op + "_" + variant;
}

std::vector<Tensor> OpRow::Inputs(const Shapes& shapes, DType dtype) const {
  std::vector<Tensor> inputs;
  for (const Shape& shape : shapes) {
    const uint64_t seed = 100 + inputs.size();
    inputs.push_back(domain == Domain::kPositive
                         ? RandomPositive(shape, seed, dtype)
                         : RandomNormal(shape, seed, dtype));
  }
  return inputs;
}

std::ostream& operator<<(std::ostream& out, const OpRow& row) {
  return out << row.Name();
}

const std::vector<OpRow>& OpTable() {
  static const std::vector<OpRow>* const table = [] {
    auto* const rows = new std::vector<OpRow>;
    for (const auto& part :
         {ArithmeticRows(), ActivationRows(), AttentionRows(), LayoutRows(),
          MatmulRows(), NormRows(), ReductionRows(), OtherRows()}) {
      rows->insert(rows->end(), part.begin(), part.end());
    }
    return rows;
  }();
  return *table;
}

}  // namespace nextword
