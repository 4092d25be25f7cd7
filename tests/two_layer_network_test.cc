// The example of docs/autograd.md, which quotes TrainXor as it stands here.
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/reduction.h"
#include "autograd/parameters.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

float TrainXor() {
  const Variable x(FromVector<float>({0, 0, 0, 1, 1, 0, 1, 1}, {4, 2}));
  const Variable wanted(FromVector<float>({0, 1, 1, 0}, {4, 1}));
  const Variable w1(Tensor::Declared({8, 2}, DType::kF32), true);
  const Variable b1(Tensor::Declared({8}, DType::kF32), true);
  const Variable w2(Tensor::Declared({1, 8}, DType::kF32), true);
  const Variable b2(Tensor::Declared({1}, DType::kF32), true);
  Parameters parameters({{"w1", w1}, {"b1", b1}, {"w2", w2}, {"b2", b2}},
                        DType::kF32, Device::Cpu());
  Tensor values = parameters.values(), gradients = parameters.gradients();
  Tensor momentum = ZerosLike(values), no_copies;
  kernels::normal(&values, {.seed = 1}, 0.7);
  float loss = 0;
  for (int step = 0; step < 400; ++step) {
    const Variable hidden = Tanh(Linear(x, w1, b1));
    const Variable error = Sub(Linear(hidden, w2, b2), wanted);
    const Variable mean_square = Mean(Mul(error, error));
    Backward(mean_square);
    kernels::sgd(&values, &gradients, &momentum, &no_copies,
                 /*learning_rate=*/0.1, /*beta=*/0.9, /*weight_decay=*/0,
                 /*grad_scale=*/1);
    loss = *mean_square.value().data<float>();
  }
  return loss;
}

TEST(TwoLayerNetworkTest, LearnsXor) { EXPECT_LT(TrainXor(), 1e-4f); }

TEST(TwoLayerNetworkTest, GivesTheSameBitsEveryTime) {
  EXPECT_EQ(TrainXor(), TrainXor());
}

}  // namespace
}  // namespace nextword
