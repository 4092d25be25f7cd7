// The table of differentiable ops: every op has one row, or one per variant.
//
// A new op is tested by adding its row to op_table.cc: op_test checks gradients
// and the agreement of dtypes, determinism_test the bits, over all rows.
#ifndef NEXTWORD_TESTS_OP_TABLE_H_
#define NEXTWORD_TESTS_OP_TABLE_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "autograd/tensor/shape.h"
#include "autograd/tensor/tensor.h"
#include "tests/testing.h"

namespace nextword {

// Where an op's inputs are drawn from.
enum class Domain {
  kReal,      // Standard normal.
  kPositive,  // From 0.5 upwards.
};

// Shapes of all inputs of one call.
using Shapes = std::vector<Shape>;

struct OpRow {
  std::string op;       // The function's name, as in autograd/ops/*.h.
  std::string variant;  // Which optional arguments; "" for the plain call.
  TensorFunction function;
  std::vector<Shapes> cases;  // Small: their gradients are checked.
  Shapes large;               // Enough work for several threads.
  Domain domain = Domain::kReal;

  // "LayerNorm_without_bias".
  std::string Name() const;

  // Random inputs of these shapes.
  std::vector<Tensor> Inputs(const Shapes& shapes, DType dtype) const;
};

std::ostream& operator<<(std::ostream& out, const OpRow& row);

const std::vector<OpRow>& OpTable();

}  // namespace nextword

#endif  // NEXTWORD_TESTS_OP_TABLE_H_
