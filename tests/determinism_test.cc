// The same bits, however many threads: every op of the table forward and
// backward, products of awkward shapes, and the kernels that are not ops. And
// the same bits for a range of an optimizer's buffers alone as within the
// whole.
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "tests/op_table.h"
#include "tests/testing.h"

namespace nextword {
namespace {

// Results of `compute` with 1 thread against those with 2 and 3.
void ExpectSameBitsWithMoreThreads(
    const std::function<std::vector<Tensor>()>& compute) {
  SetNumThreads(1);
  const std::vector<Tensor> wanted = compute();
  for (int threads : {2, 3}) {
    SCOPED_TRACE(std::to_string(threads) + " threads");
    SetNumThreads(threads);
    const std::vector<Tensor> got = compute();
    for (size_t i = 0; i < wanted.size(); ++i) {
      SCOPED_TRACE("result " + std::to_string(i));
      EXPECT_THAT(got[i], HasBitsOf(wanted[i]));
    }
  }
  SetNumThreads(0);
}

class OpDeterminismTest : public ::testing::TestWithParam<OpRow> {};

TEST_P(OpDeterminismTest, ThreadsDoNotShow) {
  const OpRow& row = GetParam();
  std::vector<Shapes> cases = row.cases;
  cases.push_back(row.large);
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Shapes& shapes : cases) {
      SCOPED_TRACE(::testing::PrintToString(shapes));
      ExpectSameBitsWithMoreThreads([&] {
        Differentiated result =
            ForwardBackward(row.function, row.Inputs(shapes, dtype));
        result.gradients.push_back(result.value);
        return result.gradients;
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, OpDeterminismTest, ::testing::ValuesIn(OpTable()),
                         [](const auto& info) { return info.param.Name(); });

struct Product {
  int64_t m, n, k;
};

class MatmulDeterminismTest : public ::testing::TestWithParam<Product> {};

// oneDNN alone splits the inner dimension of the first one over threads.
INSTANTIATE_TEST_SUITE_P(
    Shapes, MatmulDeterminismTest,
    ::testing::Values(Product{64, 64, 4096}, Product{1, 1000, 512},
                      Product{1, 1, 5000}, Product{1, 4096, 64},
                      Product{4096, 1, 64}, Product{300, 1, 700},
                      Product{2, 3000, 33}, Product{257, 513, 65},
                      Product{512, 768, 768}, Product{33, 50, 1}),
    [](const auto& info) {
      const Product& p = info.param;
      return std::to_string(p.m) + "x" + std::to_string(p.n) + "x" +
             std::to_string(p.k);
    });

TEST_P(MatmulDeterminismTest, ThreadsDoNotShow) {
  const auto [m, n, k] = GetParam();
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    for (const bool ta : {false, true}) {
      for (const bool tb : {false, true}) {
        const Tensor a = RandomNormal(ta ? Shape{k, m} : Shape{m, k}, 1, dtype);
        const Tensor b = RandomNormal(tb ? Shape{n, k} : Shape{k, n}, 2, dtype);
        ExpectSameBitsWithMoreThreads([&] {
          Tensor y = Empty({m, n}, dtype);
          kernels::matmul(a, ta, b, tb, false, &y);
          return std::vector<Tensor>{y};
        });
      }
    }
  }
}

TEST(KernelDeterminismTest, ThreadsDoNotShow) {
  const int64_t n = 100003;
  const Tensor x = RandomNormal({n}, 1, DType::kF32);
  ExpectSameBitsWithMoreThreads([&] {
    Tensor normal = Empty({n}, DType::kF32);
    kernels::normal(&normal, {.seed = 1}, 2);
    Tensor squares = Empty({13}, DType::kF64);
    kernels::sum_squares(x, &squares);
    Tensor sum = Clone(normal);
    kernels::accumulate(Cast(x, DType::kBF16), &sum);
    Tensor filled = Empty({n}, DType::kBF16);
    kernels::fill(&filled, 1.5);
    return std::vector<Tensor>{normal, squares, sum, filled,
                               Cast(x, DType::kF64)};
  });
}

// An optimizer's buffers.
struct State {
  Tensor param, grad, m, v;

  explicit State(int64_t n, DType dtype)
      : param(RandomNormal({n}, 1, dtype)),
        grad(RandomNormal({n}, 2, dtype)),
        m(RandomNormal({n}, 3, dtype)),
        v(RandomPositive({n}, 4, dtype)) {}

  std::vector<Tensor> All() const { return {param, m, v}; }
};

using Update =
    std::function<void(Tensor param, Tensor grad, Tensor m, Tensor v)>;

void AdamW(Tensor param, Tensor grad, Tensor m, Tensor v) {
  Tensor none;
  kernels::adamw(&param, &grad, &m, &v, &none,
                 {.learning_rate = 3e-4,
                  .beta1 = 0.9,
                  .beta2 = 0.95,
                  .epsilon = 1e-8,
                  .weight_decay = 0.1,
                  .grad_scale = 1.0 / 3,
                  .step = 7});
}

void Sgd(Tensor param, Tensor grad, Tensor m, Tensor) {
  Tensor none;
  kernels::sgd(&param, &grad, &m, &none, 3e-4, 0.9, 0.1, 1.0 / 3);
}

TEST(OptimizerDeterminismTest, ThreadsDoNotShow) {
  for (const Update& update : {Update(AdamW), Update(Sgd)}) {
    ExpectSameBitsWithMoreThreads([&] {
      const State state(100003, DType::kF32);
      update(state.param, state.grad, state.m, state.v);
      return state.All();
    });
  }
}

// Ranks that share out the buffers get what one rank gets.
TEST(OptimizerDeterminismTest, RangesDoNotShow) {
  const int64_t n = 40009;
  for (const Update& update : {Update(AdamW), Update(Sgd)}) {
    const State whole(n, DType::kF32);
    update(whole.param, whole.grad, whole.m, whole.v);
    for (int64_t k : {1, 7, 63, 8191, 8193, 20001, 40008}) {
      SCOPED_TRACE(k);
      const State parts(n, DType::kF32);
      for (const auto& [begin, end] : {std::pair(int64_t{0}, k), {k, n}}) {
        update(parts.param.Rows(begin, end), parts.grad.Rows(begin, end),
               parts.m.Rows(begin, end), parts.v.Rows(begin, end));
      }
      for (int i = 0; i < 3; ++i) {
        EXPECT_THAT(parts.All()[i], HasBitsOf(whole.All()[i]));
      }
    }
  }
}

}  // namespace
}  // namespace nextword
