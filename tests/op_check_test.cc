// Ops refuse shapes and dtypes that do not fit, and name both.
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "autograd/ops/activation.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/attention.h"
#include "autograd/ops/layout.h"
#include "autograd/ops/loss.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/norm.h"
#include "autograd/ops/reduction.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

Variable Of(const Shape& shape, DType dtype = DType::kF32) {
  return Variable(Zeros(shape, dtype));
}

Tensor Ids(const Shape& shape, int value = 0) {
  Tensor ids = Empty(shape, DType::kI32);
  kernels::fill(&ids, value);
  return ids;
}

struct Mistake {
  std::string name;
  std::function<void()> call;
  std::string message;  // A regular expression.
};

std::ostream& operator<<(std::ostream& out, const Mistake& mistake) {
  return out << mistake.name;
}

const std::vector<Mistake>& Mistakes() {
  static const auto* const mistakes = new std::vector<Mistake>{
      {"Broadcast",
       [] {
         Add(Of({2, 3}), Of({2}));
       },
       R"(add: shapes \[2, 3\] and \[2\] do not broadcast)"},
      {"MixedDTypes", [] { Mul(Of({2}), Of({2}, DType::kBF16)); },
       R"(mul: f32\[2\], bf16\[2\])"},
      {"IntegerArithmetic", [] { Exp(Variable(Ids({2}))); },
       "wants a floating-point dtype, got i32(.|\n)*"
       R"(in exp of i32\[2\] i32\[2\])"},
      {"MatmulInner",
       [] {
         Matmul(Of({2, 3}), Of({4, 5}));
       },
       R"(matmul of f32\[2, 3\] and f32\[4, 5\])"},
      {"MatmulTransposed",
       [] {
         Matmul(Of({2, 3}), Of({3, 5}), true);
       },
       R"(matmul of f32\[2, 3\] and f32\[3, 5\] transposed)"},
      {"MatmulBatch",
       [] {
         Matmul(Of({2, 2, 3}), Of({3, 3, 5}));
       },
       R"(matmul: leading dimensions of f32\[2, 2, 3\] and f32\[3, 3, 5\])"},
      {"MatmulVector",
       [] {
         Matmul(Of({3}), Of({3, 5}));
       },
       R"(matmul of f32\[3\] and f32\[3, 5\])"},
      {"LinearWeight",
       [] {
         Linear(Of({2, 3}), Of({5, 4}));
       },
       R"(linear of f32\[2, 3\] with weight f32\[5, 4\])"},
      {"LinearBias",
       [] {
         Linear(Of({2, 3}), Of({5, 3}), Of({1}));
       },
       R"(linear with weight f32\[5, 3\] and bias f32\[1\])"},
      {"LayerNormWeight",
       [] {
         LayerNorm(Of({2, 3}), Of({2}), Of({3}), 1e-5);
       },
       R"(layer_norm of f32\[2, 3\] with weight f32\[2\])"},
      {"LayerNormBias",
       [] {
         LayerNorm(Of({2, 3}), Of({3}), Of({2}), 1e-5);
       },
       R"(layer_norm of f32\[2, 3\] with bias f32\[2\])"},
      {"RmsNormWeight",
       [] {
         RmsNorm(Of({2, 3}), Of({1}), 1e-5);
       },
       R"(rms_norm of f32\[2, 3\] with weight f32\[1\])"},
      {"SwigluOdd",
       [] {
         Swiglu(Of({2, 3}));
       },
       R"(swiglu of f32\[2, 3\])"},
      {"DropoutOfAll", [] { Dropout(Of({2}), 1, {}); }, "dropout with p = 1"},
      {"AddRowsBeyond",
       [] {
         AddRows(Of({2, 3, 2}), Of({4, 2}), 2);
       },
       R"(add_rows: f32\[2, 3, 2\] and rows from 2 of f32\[4, 2\])"},
      {"EmbeddingId",
       [] {
         Embedding(Of({4, 2}), Ids({3}, 4));
       },
       R"(embedding: id 4 outside of weight f32\[4, 2\])"},
      {"EmbeddingNegativeId",
       [] {
         Embedding(Of({4, 2}), Ids({3}, -1));
       },
       R"(embedding: id -1 outside of weight f32\[4, 2\])"},
      {"EmbeddingDType",
       [] {
         Embedding(Of({4, 2}), Zeros({3}, DType::kF32));
       },
       R"(embedding of f32\[3\] in f32\[4, 2\])"},
      {"Reshape",
       [] {
         Reshape(Of({2, 3}), {4});
       },
       R"(reshape of f32\[2, 3\] to \[4\])"},
      {"PermuteTwice",
       [] {
         Permute(Of({2, 3}), {0, 0});
       },
       "permute: an axis twice"},
      {"PermuteRank",
       [] {
         Permute(Of({2, 3}), {0});
       },
       R"(permute of f32\[2, 3\])"},
      {"SliceEnd",
       [] {
         Slice(Of({2, 3}), 1, 2, 4);
       },
       R"(slice \[2, 4\) of axis 1 of f32\[2, 3\])"},
      {"SliceAxis",
       [] {
         Slice(Of({2, 3}), 2, 0, 1);
       },
       R"(axis 2 of shape \[2, 3\])"},
      {"ConcatSizes",
       [] {
         Concat({Of({2, 3}), Of({3, 3})}, 1);
       },
       R"(concat of f32\[2, 3\] and f32\[3, 3\] along axis 1)"},
      {"ConcatOfNothing", [] { Concat({}, 0); }, "concat of nothing"},
      {"MeanOfNothing",
       [] {
         Mean(Of({0, 3}));
       },
       R"(mean of f32\[0, 3\])"},
      {"MaxOfNothing",
       [] {
         Max(Of({3, 0}));
       },
       R"(max over no elements of f32\[3, 0\])"},
      {"CrossEntropyTargets",
       [] {
         CrossEntropy(Of({2, 3}), Ids({3}));
       },
       R"(cross_entropy of f32\[2, 3\] with targets i32\[3\])"},
      {"RopeOdd",
       [] {
         Rope(Of({1, 2, 1, 3}), 1e4);
       },
       R"(rope of f32\[1, 2, 1, 3\])"},
      {"RopeBeforeTheStart",
       [] {
         Rope(Of({1, 2, 1, 4}), 1e4, -1);
       },
       "first_position.*-1 against 0"},
      {"RopeHeads",
       [] {
         Rope(Of({1, 2, 3, 4}), 1e4, 0, 4);
       },
       R"(rope of 4 heads of f32\[1, 2, 3, 4\])"},
      {"SelfAttentionHeads",
       [] {
         SelfAttention(Of({1, 2, 7, 4}), 4, 2);
       },
       R"(f32\[1, 2, 7, 4\] with 4 heads and 2 of keys)"},
      {"SelfAttentionKeys",
       [] {
         SelfAttention(Of({1, 2, 8, 4}), 4, 2, {.keys = 1});
       },
       "attention: 2 queries, 1 valid keys of 2"},
      {"AttentionHeads",
       [] {
         Attention(Of({1, 2, 3, 4}), Of({1, 2, 2, 4}), Of({1, 2, 2, 4}));
       },
       R"(attention of queries f32\[1, 2, 3, 4\] to keys f32\[1, 2, 2, 4\])"},
      {"AttentionValues",
       [] {
         Attention(Of({1, 2, 2, 4}), Of({1, 2, 2, 4}), Of({1, 3, 2, 4}));
       },
       R"(attention: keys f32\[1, 2, 2, 4\], values f32\[1, 3, 2, 4\])"},
      {"AttentionKeys",
       [] {
         Attention(Of({1, 3, 2, 4}), Of({1, 2, 2, 4}), Of({1, 2, 2, 4}));
       },
       "attention: 3 queries, 2 valid keys of 2"},
      {"AttentionDocuments",
       [] {
         const Variable x = Of({1, 2, 2, 4});
         Attention(x, x, x, {.keys = 0, .window = 0, .documents = Ids({2, 2})});
       },
       R"(documents i32\[2, 2\] for keys f32\[1, 2, 2, 4\])"},
      {"AttendWithHeads",
       [] {
         AttendWith(Of({1, 3, 2, 2}), Of({1, 2, 2, 4}));
       },
       R"(attention pattern f32\[1, 3, 2, 2\] with values)"},
  };
  return *mistakes;
}

class OpCheckTest : public ::testing::TestWithParam<Mistake> {
 protected:
  void SetUp() override {
    ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  }
};

TEST_P(OpCheckTest, NamesTheMistake) {
  EXPECT_DEATH(GetParam().call(), GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(Ops, OpCheckTest, ::testing::ValuesIn(Mistakes()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nextword
