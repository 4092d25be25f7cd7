// Fused attention where it is cut into blocks: lengths, windows, documents and
// head sizes around the edges of blocks, tiles and vectors, against the plain
// loops of f64; and bits that do not depend on how heads and queries lie.
#include "autograd/ops/attention.h"

#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "autograd/kernels/kernels.h"
#include "autograd/ops/layout.h"
#include "tests/testing.h"

namespace nextword {
namespace {

using Inputs = std::vector<Variable>;

struct Case {
  int64_t batch, queries, keys, heads, kv_heads, size;
  int64_t stored_keys = 0;  // keys, where not given.
  int64_t window = 0;
  int documents = 0;  // Tokens of one; negative: alternating, in no order.
};

void PrintTo(const Case& c, std::ostream* out) {
  *out << "B" << c.batch << " T" << c.queries << " S" << c.keys << " H"
       << c.heads << " K" << c.kv_heads << " D" << c.size << " stored "
       << c.stored_keys << " window " << c.window << " documents "
       << c.documents;
}

int64_t StoredKeys(const Case& c) {
  return c.stored_keys > 0 ? c.stored_keys : c.keys;
}

AttentionMask MaskOf(const Case& c) {
  AttentionMask mask{.keys = c.keys, .window = c.window};
  if (c.documents == 0) return mask;
  const int64_t stored = StoredKeys(c);
  mask.documents = Empty({c.batch, stored}, DType::kI32);
  for (int64_t i = 0; i < mask.documents.numel(); ++i) {
    const int64_t s = i % stored + 5 * (i / stored);
    mask.documents.data<int32_t>()[i] = static_cast<int32_t>(
        c.documents > 0 ? s / c.documents : s / -c.documents * 7 % 3);
  }
  return mask;
}

std::vector<Tensor> InputsOf(const Case& c, DType dtype) {
  const Shape keys = {c.batch, StoredKeys(c), c.kv_heads, c.size};
  return {RandomNormal({c.batch, c.queries, c.heads, c.size}, 1, dtype),
          RandomNormal(keys, 2, dtype), RandomNormal(keys, 3, dtype)};
}

Differentiated Attend(const Case& c, DType dtype) {
  return ForwardBackward(
      [mask = MaskOf(c)](const Inputs& in) {
        return Attention(in[0], in[1], in[2], mask);
      },
      InputsOf(c, dtype));
}

// f32 and bf16 go through blocks, f64 does not.
void ExpectBlocksDoNotShow(const Case& c) {
  SCOPED_TRACE(::testing::PrintToString(c));
  const Differentiated wanted = Attend(c, DType::kF64);
  for (const auto& [dtype, tolerance] :
       {std::pair(DType::kF32, 3e-6), std::pair(DType::kBF16, 1e-2)}) {
    SCOPED_TRACE(DTypeName(dtype));
    const Differentiated got = Attend(c, dtype);
    EXPECT_THAT(got.value, IsNear(wanted.value, tolerance));
    for (size_t i = 0; i < 3; ++i) {
      SCOPED_TRACE("gradient of input " + std::to_string(i));
      EXPECT_THAT(got.gradients[i], IsNear(wanted.gradients[i], tolerance));
    }
  }
}

TEST(AttentionBlockTest, Lengths) {
  for (int64_t n :
       {1,  2,  6,   7,   12,  15,  16,  17,  47,  48,  49,  63,  64,
        65, 96, 112, 127, 128, 129, 192, 193, 255, 256, 257, 320, 513}) {
    ExpectBlocksDoNotShow({1, n, n, 1, 1, 16});
  }
}

TEST(AttentionBlockTest, HeadSizes) {
  for (int64_t size : {1,  2,  3,  4,  5,  7,  8,  15,  16,  17,  24,  31,
                       32, 33, 48, 64, 65, 80, 96, 112, 128, 160, 200, 256}) {
    ExpectBlocksDoNotShow({1, 70, 70, 2, 1, size});
  }
}

TEST(AttentionBlockTest, MoreKeysThanQueries) {
  for (int64_t queries : {1, 2, 7, 48, 65}) {
    for (int64_t keys : {65, 66, 127, 128, 129, 200}) {
      ExpectBlocksDoNotShow({2, queries, keys, 2, 1, 8, keys + 3});
    }
  }
}

TEST(AttentionBlockTest, Windows) {
  for (int64_t window :
       {2, 5, 6, 15, 16, 17, 48, 63, 64, 65, 100, 128, 129, 199, 200, 500}) {
    ExpectBlocksDoNotShow({1, 200, 200, 1, 1, 16, 0, window});
    ExpectBlocksDoNotShow({1, 70, 200, 1, 1, 16, 201, window});
  }
}

TEST(AttentionBlockTest, Documents) {
  for (int documents :
       {2, 6, 16, 48, 63, 64, 65, 100, 128, 500, -1, -5, -6, -64, -70}) {
    ExpectBlocksDoNotShow({2, 200, 200, 1, 1, 16, 0, 0, documents});
    ExpectBlocksDoNotShow({2, 70, 200, 1, 1, 16, 201, 90, documents});
  }
}

TEST(AttentionBlockTest, GroupedHeads) {
  for (int64_t kv_heads : {1, 2, 3, 6}) {
    ExpectBlocksDoNotShow({2, 130, 130, 6, kv_heads, 32});
  }
}

// A query that sees itself alone takes its own value, whatever the score: no
// gradient beyond rounding reaches q and k.
TEST(AttentionBlockTest, OneKey) {
  for (const Case& c : {Case{1, 150, 150, 1, 1, 16, 0, 1},
                        Case{1, 150, 150, 1, 1, 16, 0, 0, 1}}) {
    for (DType dtype : {DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(::testing::PrintToString(c));
      const Differentiated got = Attend(c, dtype);
      EXPECT_THAT(got.value, IsNear(InputsOf(c, dtype)[2], 1e-6));
      for (int i : {0, 1}) {
        for (double x : ToDoubles(got.gradients[i])) {
          ASSERT_NEAR(x, 0, 5e-6) << "gradient of input " << i;
        }
      }
    }
  }
}

// Rows of scores so far apart that one key takes all, at either end.
TEST(AttentionBlockTest, LargeScores) {
  for (const double scale : {1.0, -1.0}) {
    const int64_t n = 150;
    Tensor q = Empty({1, n, 1, 16}, DType::kF32), k = EmptyLike(q);
    for (int64_t i = 0; i < q.numel(); ++i) {
      q.data<float>()[i] = 20;
      k.data<float>()[i] = static_cast<float>(scale * (i / 16));
    }
    const Tensor v = RandomNormal(q.shape(), 3, DType::kF32);
    const Tensor y = Attention(Variable(q), Variable(k), Variable(v)).value();
    for (int64_t t = 0; t < n; ++t) {
      EXPECT_THAT(y.View(t * 16, {16}),
                  IsNear(v.View(scale > 0 ? t * 16 : 0, {16}), 1e-6));
    }
  }
}

// q, k and v side by side give the bits that they give apart, and so do their
// gradients.
TEST(SelfAttentionTest, PackedIsUnpacked) {
  for (const Case& c :
       {Case{2, 150, 150, 3, 3, 16}, Case{2, 150, 150, 4, 2, 20},
        Case{1, 70, 70, 2, 1, 64, 0, 9}, Case{2, 90, 90, 2, 2, 7, 0, 0, 31}}) {
    for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
      SCOPED_TRACE(::testing::PrintToString(c));
      const Tensor qkv = RandomNormal(
          {c.batch, c.queries, c.heads + 2 * c.kv_heads, c.size}, 1, dtype);
      AttentionMask mask = MaskOf(c);
      const Differentiated packed = ForwardBackward(
          [&](const Inputs& in) {
            return SelfAttention(in[0], c.heads, c.kv_heads, mask);
          },
          {qkv});
      const Differentiated apart = ForwardBackward(
          [&](const Inputs& in) {
            const int64_t k = c.heads, v = c.heads + c.kv_heads;
            return Attention(Slice(in[0], 2, 0, k), Slice(in[0], 2, k, v),
                             Slice(in[0], 2, v, in[0].dim(2)), mask);
          },
          {qkv});
      EXPECT_THAT(packed.value, HasBitsOf(apart.value));
      EXPECT_THAT(packed.gradients[0], IsNear(apart.gradients[0], 0));
    }
  }
}

TEST(RopeTest, PackedIsUnpacked) {
  for (DType dtype : {DType::kF64, DType::kF32, DType::kBF16}) {
    const Tensor qkv = RandomNormal({2, 33, 7, 10}, 1, dtype);
    const Differentiated packed = ForwardBackward(
        [](const Inputs& in) { return Rope(in[0], 100, 3, 5); }, {qkv});
    const Differentiated apart = ForwardBackward(
        [](const Inputs& in) {
          return Concat(
              {Rope(Slice(in[0], 2, 0, 5), 100, 3), Slice(in[0], 2, 5, 7)}, 2);
        },
        {qkv});
    EXPECT_THAT(packed.value, HasBitsOf(apart.value));
    EXPECT_THAT(packed.gradients[0], IsNear(apart.gradients[0], 0));
  }
}

// The bits of a query's result do not depend on those beside it: generation
// with cached keys attends as one pass over all tokens does.
TEST(AttentionBitsTest, AQueryAloneIsAQueryAmongOthers) {
  const Case all{1, 300, 300, 2, 1, 24};
  for (DType dtype : {DType::kF32, DType::kBF16}) {
    const std::vector<Tensor> in = InputsOf(all, dtype);
    const auto attend = [&](const Tensor& q, int64_t keys) {
      return Attention(Variable(q), Variable(in[1]), Variable(in[2]),
                       {.keys = keys})
          .value();
    };
    const Tensor y = attend(in[0], 300);
    for (int64_t begin : {0, 1, 63, 64, 150, 255, 256, 299}) {
      for (int64_t rows : {1, 2, 7, 44}) {
        if (begin + rows > 300) continue;
        SCOPED_TRACE(std::to_string(rows) + " from " + std::to_string(begin));
        const int64_t row = 2 * 24;
        const Shape part = {1, rows, 2, 24};
        EXPECT_THAT(attend(in[0].View(begin * row, part), begin + rows),
                    HasBitsOf(y.View(begin * row, part)));
      }
    }
  }
}

}  // namespace
}  // namespace nextword
