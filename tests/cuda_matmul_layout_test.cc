// What cuBLASLt is told of a product: a column-major product as the library
// defines it, in plain loops over the same memory, gives what the contract's
// matmul gives.
#include "autograd/kernels/cuda/matmul_layout.h"

#include <string>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using kernels::cuda::LayoutMatmul;
using kernels::cuda::MatmulLayout;
using kernels::cuda::StoredMatrix;

// Of a library call: the elements of one operand, with the bounds of the memory
// that it was given.
class Operand {
 public:
  Operand(const StoredMatrix& matrix, const Tensor& memory)
      : matrix_(matrix), memory_(memory) {}

  int64_t Rows() const {
    return matrix_.transposed ? matrix_.columns : matrix_.rows;
  }
  int64_t Columns() const {
    return matrix_.transposed ? matrix_.rows : matrix_.columns;
  }

  double& At(int64_t batch, int64_t row, int64_t column) const {
    const int64_t i = matrix_.transposed ? column : row;
    const int64_t j = matrix_.transposed ? row : column;
    const int64_t at = batch * matrix_.batch_stride + j * matrix_.rows + i;
    NW_CHECK(0 <= i && i < matrix_.rows && 0 <= j && j < matrix_.columns &&
             at < memory_.numel())
        << "element " << at << " of " << memory_;
    return memory_.data<double>()[at];
  }

 private:
  const StoredMatrix matrix_;
  const Tensor memory_;
};

// The library's product: y = op(first) op(second) + beta y.
void ColumnMajorProduct(const MatmulLayout& layout, const Tensor& first,
                        const Tensor& second, double beta, Tensor* y) {
  const Operand a(layout.first, first), b(layout.second, second);
  const Operand c(layout.result, *y);
  ASSERT_EQ(a.Rows(), c.Rows());
  ASSERT_EQ(b.Columns(), c.Columns());
  ASSERT_EQ(a.Columns(), layout.depth);
  ASSERT_EQ(b.Rows(), layout.depth);
  ASSERT_EQ(c.Rows() * c.Columns() * layout.batch, y->numel());
  for (int64_t batch = 0; batch < layout.batch; ++batch) {
    for (int64_t i = 0; i < c.Rows(); ++i) {
      for (int64_t j = 0; j < c.Columns(); ++j) {
        double sum = beta == 0 ? 0 : beta * c.At(batch, i, j);
        for (int64_t k = 0; k < layout.depth; ++k) {
          sum += a.At(batch, i, k) * b.At(batch, k, j);
        }
        c.At(batch, i, j) = sum;
      }
    }
  }
}

// Leading dimensions, then a matrix, stored as its transpose if asked to be.
Shape Stored(std::vector<int64_t> leading, int64_t rows, int64_t columns,
             bool transposed) {
  leading.push_back(transposed ? columns : rows);
  leading.push_back(transposed ? rows : columns);
  return Shape(leading);
}

void ExpectContract(const std::vector<int64_t>& leading, bool shared_b,
                    int64_t m, int64_t n, int64_t k) {
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      for (const bool add : {false, true}) {
        const Tensor a = RandomNormal(Stored(leading, m, k, ta), 1);
        const Tensor b = RandomNormal(
            Stored(shared_b ? std::vector<int64_t>() : leading, k, n, tb), 2);
        Tensor y = RandomNormal(Stored(leading, m, n, false), 3);
        Tensor expected = Clone(y);
        kernels::matmul(a, ta, b, tb, add, &expected);
        ColumnMajorProduct(LayoutMatmul("matmul", a, ta, b, tb, y), b, a, add,
                           &y);
        EXPECT_THAT(y, IsNear(expected, 1e-12))
            << a.shape() << (ta ? "'" : "") << " times " << b.shape()
            << (tb ? "'" : "") << (add ? ", added" : "");
      }
    }
  }
}

TEST(CudaMatmulLayoutTest, OneMatrix) {
  for (const int64_t m : {1, 2, 7, 16, 33}) {
    for (const int64_t n : {1, 3, 8, 31}) {
      for (const int64_t k : {1, 5, 16, 17}) ExpectContract({}, true, m, n, k);
    }
  }
}

TEST(CudaMatmulLayoutTest, OneMatrixEach) {
  ExpectContract({1}, false, 5, 3, 7);
  ExpectContract({4}, false, 5, 3, 7);
  ExpectContract({2, 3}, false, 1, 9, 2);
  ExpectContract({3, 2}, false, 8, 1, 4);
  ExpectContract({2, 1, 3}, false, 6, 6, 1);
}

TEST(CudaMatmulLayoutTest, OneMatrixForAll) {
  ExpectContract({1}, true, 5, 3, 7);
  ExpectContract({4}, true, 5, 3, 7);
  ExpectContract({2, 3}, true, 7, 2, 9);
  ExpectContract({3, 2}, true, 1, 1, 5);
}

TEST(CudaMatmulLayoutTest, LeadingDimensionsBecomeRows) {
  const Tensor a = Empty({4, 6, 5}, DType::kF32), b = Empty({5, 3}, a.dtype());
  const Tensor y = Empty({4, 6, 3}, a.dtype());
  const MatmulLayout layout = LayoutMatmul("matmul", a, false, b, false, y);
  EXPECT_EQ(layout.batch, 1);
  EXPECT_EQ(layout.second, (StoredMatrix{.rows = 5, .columns = 24}));
  EXPECT_EQ(layout.result, (StoredMatrix{.rows = 3, .columns = 24}));
}

TEST(CudaMatmulLayoutTest, SumsOfNothing) {
  ExpectContract({}, true, 4, 3, 0);
  ExpectContract({2}, false, 4, 3, 0);
}

// More than 2^31 elements: strides and offsets need 64 bits.
TEST(CudaMatmulLayoutTest, ManyElements) {
  const int64_t tokens = int64_t{1} << 17, words = 50304;
  const auto declared = [](const Shape& shape) {
    return Tensor::Declared(shape, DType::kBF16);
  };
  const MatmulLayout layout =
      LayoutMatmul("matmul", declared({3, tokens, 8}), false,
                   declared({3, words, 8}), true, declared({3, tokens, words}));
  EXPECT_EQ(layout.result.batch_stride, tokens * words);
}

TEST(CudaMatmulLayoutDeathTest, NamesOpAndShapes) {
  const auto declared = [](const Shape& shape) {
    return Tensor::Declared(shape, DType::kF32);
  };
  EXPECT_DEATH(LayoutMatmul("linear", declared({2, 3}), false, declared({4, 5}),
                            true, declared({2, 4})),
               "linear: f32.2, 3. times f32.4, 5. transposed into f32.2, 4.");
  EXPECT_DEATH(
      LayoutMatmul("matmul", declared({int64_t{1} << 31, 1}), false,
                   declared({1, 1}), false, declared({int64_t{1} << 31, 1})),
      "more than 2.31 - 1 rows");
}

}  // namespace
}  // namespace nextword
