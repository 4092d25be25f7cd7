// Every row of the op table: gradients against central differences, then f32
// against f64 and bf16 against f32, values and gradients, and sums of
// gradients.
#include <filesystem>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "autograd/base/parallel.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "tests/op_table.h"
#include "tests/testing.h"

namespace nextword {
namespace {

class OpTest : public ::testing::TestWithParam<OpRow> {
 protected:
  // Bits do not depend on the number of threads (see determinism_test), and
  // small loops are faster on one.
  void SetUp() override { SetNumThreads(1); }
};

// Values and gradients at `low` precision against those at `high`.
void ExpectAgreement(const OpRow& row, const Shapes& shapes, DType low,
                     DType high, double tolerance) {
  const Differentiated got =
      ForwardBackward(row.function, row.Inputs(shapes, low));
  const Differentiated wanted =
      ForwardBackward(row.function, row.Inputs(shapes, high));
  EXPECT_THAT(got.value, IsNear(wanted.value, tolerance));
  for (size_t i = 0; i < shapes.size(); ++i) {
    SCOPED_TRACE("gradient of input " + std::to_string(i));
    EXPECT_EQ(got.gradients[i].dtype(), low);
    EXPECT_THAT(got.gradients[i], IsNear(wanted.gradients[i], tolerance));
  }
}

std::vector<Shapes> AllCases(const OpRow& row) {
  std::vector<Shapes> cases = row.cases;
  cases.push_back(row.large);
  return cases;
}

TEST_P(OpTest, GradientsAreCentralDifferences) {
  const OpRow& row = GetParam();
  for (const Shapes& shapes : row.cases) {
    SCOPED_TRACE(::testing::PrintToString(shapes));
    EXPECT_TRUE(CheckGradients(row.function, row.Inputs(shapes, DType::kF64)));
  }
}

TEST_P(OpTest, F32MatchesF64) {
  for (const Shapes& shapes : AllCases(GetParam())) {
    SCOPED_TRACE(::testing::PrintToString(shapes));
    ExpectAgreement(GetParam(), shapes, DType::kF32, DType::kF64, 1e-5);
  }
}

TEST_P(OpTest, Bf16MatchesF32) {
  for (const Shapes& shapes : AllCases(GetParam())) {
    SCOPED_TRACE(::testing::PrintToString(shapes));
    ExpectAgreement(GetParam(), shapes, DType::kBF16, DType::kF32, 1e-2);
  }
}

// A second pass adds as much again, be it by the engine or by the op itself.
TEST_P(OpTest, GradientsAddUpInLeaves) {
  const OpRow& row = GetParam();
  for (const Shapes& shapes : row.cases) {
    SCOPED_TRACE(::testing::PrintToString(shapes));
    std::vector<Variable> leaves;
    for (const Tensor& value : row.Inputs(shapes, DType::kF32)) {
      leaves.emplace_back(value, true);
    }
    Backward(row.function(leaves));
    std::vector<Tensor> wanted;
    for (const Variable& leaf : leaves) {
      wanted.push_back(EmptyLike(leaf.value()));
      kernels::scale(leaf.gradient(), 2, &wanted.back());
    }
    Backward(row.function(leaves));
    for (size_t i = 0; i < leaves.size(); ++i) {
      SCOPED_TRACE("gradient of input " + std::to_string(i));
      EXPECT_THAT(leaves[i].gradient(), IsNear(wanted[i], 1e-6));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, OpTest, ::testing::ValuesIn(OpTable()),
                         [](const auto& info) { return info.param.Name(); });

// The names of functions that return a Variable, from a header.
std::set<std::string> OpsDeclaredIn(const std::filesystem::path& header) {
  const std::string result = "Variable ";
  std::set<std::string> names;
  std::ifstream file(header);
  for (std::string line; std::getline(file, line);) {
    const size_t end = line.find('(');
    if (line.starts_with(result) && end != std::string::npos) {
      names.insert(line.substr(result.size(), end - result.size()));
    }
  }
  return names;
}

TEST(OpTableTest, EveryOpHasARow) {
  std::set<std::string> declared, tested;
  for (const auto& entry :
       std::filesystem::directory_iterator("autograd/ops")) {
    if (entry.path().extension() == ".h") {
      declared.merge(OpsDeclaredIn(entry.path()));
    }
  }
  for (const OpRow& row : OpTable()) tested.insert(row.op);
  // Rounds too coarsely for central differences: see quantized_linear_test.
  tested.insert("QuantizedLinear");
  tested.insert("QuantizedGeluTanhFeedForward");
  EXPECT_GT(declared.size(), 30u);
  EXPECT_EQ(tested, declared);
}

}  // namespace
}  // namespace nextword
