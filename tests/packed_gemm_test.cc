// Our own matrix products where they are cut into blocks: sizes around the
// edges of panels, strips and blocks, for each of the machine's instruction
// sets, against plain loops in f64; and bits that do not depend on how many
// rows or threads there are.
#include "autograd/kernels/cpu/packed_gemm.h"

#include <string>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/kernels.h"
#include "hwy/targets.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using kernels::Addends;

struct Inputs {
  Tensor x, w, bias, residual;
};

Inputs Make(int64_t m, int64_t n, int64_t k, DType dtype) {
  return {RandomNormal({m, k}, 1, dtype), RandomNormal({n, k}, 2, dtype),
          RandomNormal({n}, 3, dtype), RandomNormal({m, n}, 4, dtype)};
}

Tensor Linear(const Inputs& in) {
  Tensor y = Empty({in.x.dim(0), in.w.dim(0)}, in.x.dtype());
  kernels::linear(in.x, in.w, in.bias, in.residual, &y);
  return y;
}

void ExpectBlocksDoNotShow(int64_t m, int64_t n, int64_t k) {
  SCOPED_TRACE(std::to_string(m) + " x " + std::to_string(n) + " x " +
               std::to_string(k));
  const Inputs wide = Make(m, n, k, DType::kF64);
  const Inputs in = {Cast(wide.x, DType::kF32), Cast(wide.w, DType::kF32),
                     Cast(wide.bias, DType::kF32),
                     Cast(wide.residual, DType::kF32)};
  for (const auto& [bias, residual] :
       {std::pair(true, true), std::pair(true, false), std::pair(false, true),
        std::pair(false, false)}) {
    SCOPED_TRACE("bias " + std::to_string(bias) + ", residual " +
                 std::to_string(residual));
    const auto pick = [&, bias = bias, residual = residual](const Inputs& all) {
      return Linear({all.x, all.w, bias ? all.bias : Tensor(),
                     residual ? all.residual : Tensor()});
    };
    EXPECT_THAT(pick(in), IsNear(pick(wide), 3e-6));
  }
}

TEST(LinearKernelTest, Rows) {
  for (int64_t m : {1, 63, 64, 65, 66, 67, 69, 70, 71, 128, 1023, 1025, 2050}) {
    ExpectBlocksDoNotShow(m, 66, 17);
  }
}

TEST(LinearKernelTest, Columns) {
  for (int64_t n :
       {1, 2, 15, 16, 17, 63, 64, 65, 127, 129, 191, 192, 193, 400}) {
    ExpectBlocksDoNotShow(70, n, 36);
  }
}

TEST(LinearKernelTest, Depths) {
  for (int64_t k :
       {0, 1, 2, 3, 4, 5, 63, 64, 65, 66, 127, 767, 768, 769, 1537, 3072}) {
    ExpectBlocksDoNotShow(66, 68, k);
  }
}

// A row's result is the same among 64 rows, among 1,500, on one thread, on
// three.
TEST(LinearKernelTest, BitsDependOnTheRowAlone) {
  const Inputs in = Make(1500, 200, 900, DType::kF32);
  const int threads = NumThreads();
  SetNumThreads(1);
  const Tensor y = Linear(in);
  SetNumThreads(3);
  EXPECT_THAT(Linear(in), HasBitsOf(y));
  for (const auto& [begin, end] :
       {std::pair<int64_t, int64_t>(0, 64), std::pair<int64_t, int64_t>(7, 200),
        std::pair<int64_t, int64_t>(1001, 1500)}) {
    EXPECT_THAT(Linear({in.x.Rows(begin, end), in.w, in.bias,
                        in.residual.Rows(begin, end)}),
                HasBitsOf(y.Rows(begin, end)));
  }
  SetNumThreads(threads);
}

// Shapes around the edges of tiles, panels and blocks of short and long
// vectors.
constexpr int64_t kShapes[][3] = {
    {1, 1, 1},    {5, 16, 3},     {6, 17, 4},     {7, 63, 64},    {48, 65, 66},
    {49, 384, 9}, {97, 400, 257}, {1025, 40, 12}, {130, 193, 769}};

// For each instruction set that the machine has.
class PackedGemmTest : public ::testing::TestWithParam<int64_t> {
 protected:
  void SetUp() override { Choose(GetParam()); }
  void TearDown() override { Choose(0); }

 private:
  static void Choose(int64_t target) {
    hwy::SetSupportedTargetsForTest(target);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

// a b + addends, of matrices that are stored as they are or transposed.
Tensor Reference(const Tensor& a, bool ta, const Tensor& b, bool tb,
                 const Tensor& start) {
  Tensor y = Clone(Cast(start, DType::kF64));
  kernels::matmul(Cast(a, DType::kF64), ta, Cast(b, DType::kF64), tb, true, &y);
  return y;
}

template <typename T, typename U>
void ExpectProduct(int64_t m, int64_t n, int64_t k, bool ta, bool tb) {
  SCOPED_TRACE(absl::StrCat(m, " x ", n, " x ", k, ta ? " a'" : " a",
                            tb ? " b'" : " b"));
  constexpr bool kNarrow = std::is_same_v<U, BFloat16>;
  constexpr DType kIn = DTypeOf<T>::value, kOut = DTypeOf<U>::value;
  const Tensor a = RandomNormal(ta ? Shape{k, m} : Shape{m, k}, 1, kIn);
  const Tensor b = RandomNormal(tb ? Shape{n, k} : Shape{k, n}, 2, kIn);
  const Tensor bias = RandomNormal({n}, 3, DType::kF32);
  const Tensor residual = RandomNormal({m, n}, 4, kOut);
  const Tensor former = RandomNormal({m, n}, 5, kOut);
  for (int addends = 0; addends < (kNarrow ? 4 : 8); ++addends) {
    SCOPED_TRACE(absl::StrCat("addends ", addends));
    Addends<U> ends;
    Tensor start = Empty({m, n}, DType::kF64);
    kernels::fill(&start, 0);
    const auto add = [&](const Tensor& x) {
      Tensor sum = Empty({m, n}, DType::kF64);
      kernels::add(start, Cast(x, DType::kF64), &sum);
      start = sum;
    };
    if (addends & 1) {
      ends.bias = bias.data<float>();
      add(bias);
    }
    if (addends & 2) {
      ends.residual = residual.data<U>();
      add(residual);
    }
    Tensor c = Clone(former);
    if (addends & 4) {
      ends.itself = true;
      add(former);
    }
    kernels::PackedGemm(
        kernels::PackedProduct<T, U>{m,
                                     n,
                                     k,
                                     {a.data<T>(), a.dim(1), ta},
                                     {b.data<T>(), b.dim(1), tb},
                                     ends,
                                     c.data<U>()});
    EXPECT_THAT(c,
                IsNear(Reference(a, ta, b, tb, start), kNarrow ? 5e-3 : 3e-6));
  }
}

TEST_P(PackedGemmTest, EveryOrientationDTypeAndAddend) {
  for (const auto& [m, n, k] : kShapes) {
    for (bool ta : {false, true}) {
      for (bool tb : {false, true}) {
        ExpectProduct<float, float>(m, n, k, ta, tb);
        ExpectProduct<BFloat16, float>(m, n, k, ta, tb);
        ExpectProduct<BFloat16, BFloat16>(m, n, k, ta, tb);
      }
    }
  }
}

// Rows and columns of a product are the same in a part of it, on any number of
// threads.
TEST_P(PackedGemmTest, BitsDependOnRowAndColumnAlone) {
  constexpr int64_t kM = 1100, kN = 450, kK = 900;
  for (const bool ta : {false, true}) {
    for (const bool tb : {false, true}) {
      const Tensor a =
          RandomNormal(ta ? Shape{kK, kM} : Shape{kM, kK}, 1, DType::kBF16);
      const Tensor b =
          RandomNormal(tb ? Shape{kN, kK} : Shape{kK, kN}, 2, DType::kBF16);
      const kernels::MatrixView<BFloat16> left = {a.data<BFloat16>(), a.dim(1),
                                                  ta};
      const kernels::MatrixView<BFloat16> right = {b.data<BFloat16>(), b.dim(1),
                                                   tb};
      const auto part = [&](int64_t i, int64_t j, int64_t m, int64_t n) {
        Tensor c = Empty({m, n}, DType::kF32);
        kernels::PackedGemm(kernels::PackedProduct<BFloat16, float>{
            m, n, kK, left.At(i, 0), right.At(0, j), {}, c.data<float>()});
        return c;
      };
      SetNumThreads(1);
      const Tensor whole = part(0, 0, kM, kN);
      SetNumThreads(3);
      EXPECT_THAT(part(0, 0, kM, kN), HasBitsOf(whole));
      const Tensor piece = part(7, 31, 70, 90);
      for (int64_t i = 0; i < 70; ++i) {
        for (int64_t j = 0; j < 90; ++j) {
          ASSERT_EQ(piece.data<float>()[i * 90 + j],
                    whole.data<float>()[(i + 7) * kN + j + 31]);
        }
      }
    }
  }
  SetNumThreads(0);
}

INSTANTIATE_TEST_SUITE_P(
    InstructionSets, PackedGemmTest,
    ::testing::ValuesIn(hwy::SupportedAndGeneratedTargets()),
    [](const auto& info) { return hwy::TargetName(info.param); });

}  // namespace
}  // namespace nextword
