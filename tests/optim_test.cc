// Optimizers and clipping against the same maths in plain loops of doubles.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "autograd/parameters.h"
#include "autograd/tensor/allocator.h"
#include "optim/clip.h"
#include "optim/muon.h"
#include "optim/optimizer.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;
using ::testing::Not;

constexpr int kSteps = 7;
constexpr double kGradScale = 0.25;

// Matrices and vectors in turn; one longer than a chunk of a parallel loop.
const std::vector<Shape> kShapes = {{3, 5}, {7}, {300, 301}, {1, 1},
                                    {1},    {2}, {4, 2, 3}};

std::vector<NamedVariable> Leaves() {
  std::vector<NamedVariable> leaves;
  for (size_t i = 0; i < kShapes.size(); ++i) {
    leaves.push_back(
        {absl::StrCat("p", i),
         Variable(Tensor::Declared(kShapes[i], DType::kF32), true)});
  }
  return leaves;
}

OptimizerConfig Config(OptimizerKind kind) {
  OptimizerConfig config;
  config.set_kind(kind);
  config.set_beta1(0.8);
  config.set_beta2(0.9);
  config.set_epsilon(1e-6);
  config.set_weight_decay(0.3);
  config.set_momentum(0.7);
  return config;
}

double LearningRate(int step) { return 0.01 * (step + 1); }

// Gradients of a step, a few of them zero.
Tensor GradientsOf(int step, int64_t numel, DType dtype) {
  Tensor gradients = RandomNormal({numel}, 100 + step);
  for (int64_t i = step; i < numel; i += 11) gradients.data<double>()[i] = 0;
  return Cast(gradients, dtype);
}

// One parameter by the formulas of the papers, in double.
struct Scalar {
  double value, decay;
  double m = 0, v = 0, momentum = 0;

  void AdamW(const OptimizerConfig& c, int step, double gradient) {
    const double g = gradient * kGradScale;
    m = c.beta1() * m + (1 - c.beta1()) * g;
    v = c.beta2() * v + (1 - c.beta2()) * g * g;
    const double m_hat = m / (1 - std::pow(c.beta1(), step + 1));
    const double v_hat = v / (1 - std::pow(c.beta2(), step + 1));
    value -= LearningRate(step) *
             (m_hat / (std::sqrt(v_hat) + c.epsilon()) + decay * value);
  }
  void Sgd(const OptimizerConfig& c, int step, double gradient) {
    momentum = c.momentum() * momentum + gradient * kGradScale;
    value -= LearningRate(step) * (momentum + decay * value);
  }
};

class OptimTest : public testing::TestWithParam<OptimizerKind> {
 protected:
  // A random start, the same in each dtype.
  static std::unique_ptr<Parameters> Start(DType dtype) {
    auto parameters =
        std::make_unique<Parameters>(Leaves(), dtype, Device::Cpu());
    Tensor values = parameters->values();
    kernels::copy(RandomNormal(values.shape(), 1), &values);
    return parameters;
  }

  static void Run(Optimizer* optimizer, Parameters* parameters, int steps) {
    for (int step = 0; step < steps; ++step) {
      Tensor gradients = parameters->gradients();
      kernels::copy(
          GradientsOf(step, parameters->numel(), parameters->values().dtype()),
          &gradients);
      optimizer->Step(step, LearningRate(step), kGradScale);
    }
  }

  const OptimizerConfig config_ = Config(GetParam());
};

TEST_P(OptimTest, StepsAreThoseOfTheFormula) {
  for (const DType dtype : {DType::kF32, DType::kF64}) {
    const auto parameters = Start(dtype);
    std::vector<Scalar> scalars;
    for (const Parameters::Entry& entry : parameters->entries()) {
      const double decay = entry.is_matrix() ? config_.weight_decay() : 0;
      for (double value : ToDoubles(entry.variable.value())) {
        scalars.push_back({value, decay});
      }
    }
    for (int step = 0; step < kSteps; ++step) {
      const auto gradients =
          ToDoubles(GradientsOf(step, parameters->numel(), DType::kF64));
      for (size_t i = 0; i < scalars.size(); ++i) {
        GetParam() == ADAMW ? scalars[i].AdamW(config_, step, gradients[i])
                            : scalars[i].Sgd(config_, step, gradients[i]);
      }
    }
    const auto optimizer = MakeOptimizer(config_, parameters.get());
    Run(optimizer.get(), parameters.get(), kSteps);

    std::vector<double> values;
    for (const Scalar& scalar : scalars) values.push_back(scalar.value);
    EXPECT_THAT(parameters->values(),
                IsNear(FromVector(values, parameters->values().shape()),
                       dtype == DType::kF64 ? 1e-13 : 1e-6));
  }
}

TEST_P(OptimTest, OnlyMatricesDecay) {
  const auto parameters = Start(DType::kF32);
  const Tensor before = Clone(parameters->values());
  const auto optimizer = MakeOptimizer(config_, parameters.get());
  // Without gradients, decay is all that moves a parameter.
  optimizer->Step(0, 0.01, 1.0);
  for (const Parameters::Entry& entry : parameters->entries()) {
    Tensor wanted = before.View(entry.offset, entry.variable.shape());
    if (entry.is_matrix()) kernels::scale(Clone(wanted), 1 - 0.003, &wanted);
    EXPECT_THAT(entry.variable.value(), IsNear(wanted, 1e-7)) << entry.name;
    EXPECT_EQ(entry.is_matrix(), entry.variable.shape().rank() > 1);
  }
}

// One launch for each on a GPU, however many parameters there are.
TEST_P(OptimTest, UpdatesVectorsAtOnceAndMatricesAtOnce) {
  const auto parameters = Start(DType::kF32);
  const auto optimizer = MakeOptimizer(config_, parameters.get());
  const std::vector<Moment::Part> parts = optimizer->Moments()[0].parts;
  ASSERT_EQ(parts.size(), 2u);
  EXPECT_EQ(parts[0].begin, 0);
  EXPECT_EQ(parts[0].values.numel(), parameters->vectors().size());
  EXPECT_EQ(parts[1].begin, parameters->vectors().end);
  EXPECT_EQ(parts[1].values.numel(),
            parameters->numel() - parameters->vectors().size());
}

TEST_P(OptimTest, StateNamesEveryMomentAndRestoresIt) {
  const auto parameters = Start(DType::kF32);
  const auto optimizer = MakeOptimizer(config_, parameters.get());
  Run(optimizer.get(), parameters.get(), 3);
  const std::vector<NamedTensor> state = optimizer->State();
  const std::vector<std::string> prefixes =
      GetParam() == ADAMW ? std::vector<std::string>{"m.", "v."}
                          : std::vector<std::string>{"momentum."};
  ASSERT_EQ(state.size(), prefixes.size() * kShapes.size());
  for (size_t i = 0; i < state.size(); ++i) {
    const Parameters::Entry& entry = parameters->entries()[i % kShapes.size()];
    EXPECT_EQ(state[i].name, prefixes[i / kShapes.size()] + entry.name);
    EXPECT_EQ(state[i].tensor.shape(), entry.variable.shape());
  }

  // Another optimizer goes on from values and state as this one does.
  const auto copy = Start(DType::kF32);
  Tensor values = copy->values();
  kernels::copy(parameters->values(), &values);
  const auto resumed = MakeOptimizer(config_, copy.get());
  const std::vector<NamedTensor> restored = resumed->State();
  for (size_t i = 0; i < state.size(); ++i) {
    Tensor moment = restored[i].tensor;
    kernels::copy(state[i].tensor, &moment);
  }
  for (Parameters* each : {parameters.get(), copy.get()}) {
    Tensor gradients = each->gradients();
    kernels::copy(GradientsOf(3, each->numel(), DType::kF32), &gradients);
  }
  optimizer->Step(3, LearningRate(3), kGradScale);
  resumed->Step(3, LearningRate(3), kGradScale);
  EXPECT_THAT(copy->values(), HasBitsOf(parameters->values()));
}

TEST_P(OptimTest, ThreadsLeaveTheSameBits) {
  const auto one = Start(DType::kF32), two = Start(DType::kF32);
  SetNumThreads(1);
  Run(MakeOptimizer(config_, one.get()).get(), one.get(), 3);
  SetNumThreads(2);
  Run(MakeOptimizer(config_, two.get()).get(), two.get(), 3);
  SetNumThreads(0);
  EXPECT_THAT(one->values(), HasBitsOf(two->values()));
  EXPECT_THAT(one->values(), Not(HasBitsOf(Start(DType::kF32)->values())));
}

TEST_P(OptimTest, HoldsItsMomentsAndNoMore) {
  const auto parameters = Start(DType::kF32);
  const auto live = [] {
    return AllocatorFor(Device::Cpu()).stats().live_bytes;
  };
  const int64_t before = live();
  const auto optimizer = MakeOptimizer(config_, parameters.get());
  EXPECT_EQ(live() - before, parameters->numel() * int64_t{sizeof(float)} *
                                 (GetParam() == ADAMW ? 2 : 1));
}

INSTANTIATE_TEST_SUITE_P(, OptimTest, testing::Values(ADAMW, SGD),
                         [](const auto& info) {
                           return OptimizerKind_Name(info.param);
                         });

// The largest eigenvalue of a symmetric matrix without negative ones, by power
// iteration.
double LargestEigenvalue(const Tensor& a) {
  Tensor v = RandomNormal({a.dim(0), 1}, 7);
  double norm = 0;
  for (int i = 0; i < 300; ++i) {
    Tensor next = EmptyLike(v);
    kernels::matmul(a, false, v, false, false, &next);
    norm = GlobalNorm(next);
    if (norm == 0) return 0;
    kernels::scale(next, 1 / norm, &v);
  }
  return norm;
}

void ExpectNearlyOrthogonal(const Tensor& x) {
  constexpr double kLeast = 0.65, kMost = 1.25;  // Singular values.
  const bool tall = x.dim(0) > x.dim(1);
  const int64_t size = std::min(x.dim(0), x.dim(1));
  const Tensor wide = Cast(x, DType::kF64);
  Tensor gram = Empty({size, size}, DType::kF64);
  kernels::matmul(wide, tall, wide, !tall, false, &gram);
  const double largest = LargestEigenvalue(gram);
  EXPECT_LT(std::sqrt(largest), kMost);
  // largest - gram has the smallest one's distance as its largest.
  for (int64_t i = 0; i < size * size; ++i) {
    double& entry = gram.data<double>()[i];
    entry = (i % (size + 1) == 0 ? largest : 0) - entry;
  }
  EXPECT_GT(std::sqrt(largest - LargestEigenvalue(gram)), kLeast);
}

TEST(MuonTest, OrthogonalizesAnyShapeAndScale) {
  for (const Shape& shape : {Shape{64, 200}, Shape{200, 64}, Shape{96, 33},
                             Shape{1, 7}, Shape{40, 1}}) {
    for (const double scale : {1e-8, 1.0, 1e8}) {
      Tensor g = EmptyLike(RandomNormal(shape, 3, DType::kF32));
      kernels::scale(RandomNormal(shape, 3, DType::kF32), scale, &g);
      ExpectNearlyOrthogonal(Orthogonalize(g, DType::kF32));
      ExpectNearlyOrthogonal(Orthogonalize(g, DType::kBF16));
    }
  }
  EXPECT_THAT(Orthogonalize(Zeros({5, 9}, DType::kF32), DType::kF32),
              HasBitsOf(Zeros({5, 9}, DType::kF32)));
}

// The orthogonal factor keeps the directions: of U S V' it is about U V'.
TEST(MuonTest, OrthogonalFactorOfADiagonal) {
  std::vector<double> diagonal(4 * 6), signs(4 * 6);
  const double values[] = {3, -1, 0.5, -2};
  for (int i = 0; i < 4; ++i) {
    diagonal[i * 6 + i] = values[i];
    signs[i * 6 + i] = values[i] < 0 ? -1 : 1;
  }
  EXPECT_THAT(Orthogonalize(FromVector(diagonal, {4, 6}), DType::kF64),
              IsNear(FromVector(signs, {4, 6}), 0.35));
}

std::vector<NamedVariable> NamedLeaves(
    const std::vector<std::pair<std::string, Shape>>& leaves) {
  std::vector<NamedVariable> variables;
  for (const auto& [name, shape] : leaves) {
    variables.push_back(
        {name, Variable(Tensor::Declared(shape, DType::kF64), true)});
  }
  return variables;
}

// A block's matrix by the formula, everything else as AdamW has it.
TEST(MuonTest, MatricesOfBlocksAloneAreOrthogonalized) {
  const std::vector<std::pair<std::string, Shape>> shapes = {
      {"embed.weight", {6, 4}},       {"blocks.0.norm.weight", {4}},
      {"blocks.0.up.weight", {8, 4}}, {"blocks.0.up.bias", {8}},
      {"blocks.1.up.weight", {8, 4}}, {"head.weight", {6, 4}}};
  const OptimizerConfig config = Config(MUON);
  Parameters muon(NamedLeaves(shapes), DType::kF64, Device::Cpu());
  Parameters adamw(NamedLeaves(shapes), DType::kF64, Device::Cpu());
  for (Parameters* parameters : {&muon, &adamw}) {
    Tensor values = parameters->values();
    kernels::copy(RandomNormal(values.shape(), 1), &values);
  }
  const Tensor start = Clone(muon.values());
  const auto by_muon = MakeOptimizer(config, &muon);
  const auto by_adamw = MakeOptimizer(Config(ADAMW), &adamw);
  std::vector<Tensor> momenta, values;
  for (const Parameters::Entry& entry : muon.entries()) {
    momenta.push_back(Zeros(entry.shape(), DType::kF64));
    values.push_back(Clone(start.View(entry.offset, entry.shape())));
  }
  const auto combine = [](double a, const Tensor& x, double b,
                          const Tensor& y) {
    Tensor ax = EmptyLike(x), by = EmptyLike(x), sum = EmptyLike(x);
    kernels::scale(x, a, &ax);
    kernels::scale(y, b, &by);
    kernels::add(ax, by, &sum);
    return sum;
  };
  for (int step = 0; step < 3; ++step) {
    const Tensor g = GradientsOf(step, muon.numel(), DType::kF64);
    for (Parameters* parameters : {&muon, &adamw}) {
      Tensor gradients = parameters->gradients();
      kernels::copy(g, &gradients);
    }
    const double rate = LearningRate(step);
    by_muon->Step(step, rate, kGradScale);
    by_adamw->Step(step, rate, kGradScale);
    for (size_t i = 0; i < shapes.size(); ++i) {
      const Parameters::Entry& entry = muon.entries()[i];
      const Tensor gradient = g.View(entry.offset, entry.shape());
      const double beta = config.muon_momentum();
      momenta[i] = combine(beta, momenta[i], kGradScale, gradient);
      const Tensor update = combine(beta, momenta[i], kGradScale, gradient);
      if (entry.shape().rank() != 2) continue;
      values[i] = combine(1 - rate * config.weight_decay(), values[i],
                          -rate * 0.2 * std::sqrt(8.0),
                          Orthogonalize(update, DType::kF64));
    }
  }
  for (size_t i = 0; i < shapes.size(); ++i) {
    const Parameters::Entry& entry = adamw.entries()[i];
    const bool hidden = entry.name == "blocks.0.up.weight" ||
                        entry.name == "blocks.1.up.weight";
    EXPECT_THAT(muon.entries()[i].variable.value(),
                IsNear(hidden ? values[i] : entry.variable.value(), 1e-13))
        << entry.name;
  }
  EXPECT_THAT(muon.gradients(), HasBitsOf(ZerosLike(muon.gradients())));

  // Hidden matrices have one moment.
  std::vector<std::string> names;
  for (const NamedTensor& named : by_muon->State()) names.push_back(named.name);
  EXPECT_THAT(names, ElementsAre("m.blocks.0.norm.weight", "m.blocks.0.up.bias",
                                 "m.embed.weight", "m.blocks.0.up.weight",
                                 "m.blocks.1.up.weight", "m.head.weight",
                                 "v.blocks.0.norm.weight", "v.blocks.0.up.bias",
                                 "v.embed.weight", "v.head.weight"));
}

TEST(ClipTest, NormIsThatOfAllElements) {
  EXPECT_EQ(GlobalNorm(FromVector<float>({3, -4}, {2})), 5);
  EXPECT_EQ(GlobalNorm(Zeros({5}, DType::kF32)), 0);
  EXPECT_EQ(GlobalNorm(Zeros({0}, DType::kF32)), 0);
  // Squares that no float holds, and more elements than a float counts.
  EXPECT_NEAR(GlobalNorm(FromVector<float>({3e30f, 4e30f}, {2})), 5e30, 1e24);
  EXPECT_NEAR(GlobalNorm(FromVector<float>({3e-30f, 4e-30f}, {2})), 5e-30,
              1e-36);
  constexpr int64_t kMany = int64_t{1} << 25;
  Tensor ones = Empty({kMany}, DType::kF32);
  kernels::fill(&ones, 1.0);
  EXPECT_EQ(GlobalNorm(ones), std::sqrt(static_cast<double>(kMany)));
}

TEST(ClipTest, NormDoesNotDependOnThreads) {
  const Tensor gradients = Cast(RandomNormal({1000003}, 5), DType::kF32);
  SetNumThreads(1);
  const double one = GlobalNorm(gradients);
  SetNumThreads(2);
  EXPECT_EQ(GlobalNorm(gradients), one);
  SetNumThreads(0);
  EXPECT_NEAR(one, 1000, 5);
}

TEST(ClipTest, FactorBringsTheNormDown) {
  EXPECT_EQ(ClipFactor(4, 1), 0.25);
  EXPECT_EQ(ClipFactor(4, 8), 1);
  EXPECT_EQ(ClipFactor(4, 4), 1);
  EXPECT_EQ(ClipFactor(4, 0), 1) << "0 is no clipping";
  EXPECT_EQ(ClipFactor(0, 1), 1);
}

}  // namespace
}  // namespace nextword
