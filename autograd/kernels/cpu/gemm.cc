#include "autograd/kernels/cpu/gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <map>
#include <type_traits>
#include <unordered_map>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/kernels/cpu/packed_gemm.h"
#include "dnnl.hpp"

namespace nextword::kernels {
namespace {

// Keeps oneDNN on the calling thread, also outside of a parallel loop.
class SerialScope {
 public:
  SerialScope() : threads_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~SerialScope() { omp_set_num_threads(threads_); }

 private:
  const int threads_;
};

struct Tile {
  int64_t rows, columns;
};

// Tiles large enough to keep the library near its peak (as measured on the
// shapes of GPT-2), small enough that there are at least four where the output
// allows it.
Tile ChooseTile(int64_t batch, int64_t m, int64_t n) {
  Tile tile{1024, 384};
  while (batch * NumChunks(m, tile.rows) * NumChunks(n, tile.columns) < 4) {
    if (tile.rows >= tile.columns && tile.rows > 64) {
      tile.rows /= 2;
    } else if (tile.columns > 96) {
      tile.columns /= 2;
    } else {
      break;
    }
  }
  return tile;
}

// c = a b (+ c when `add`), on the calling thread.
void Multiply(int64_t m, int64_t n, int64_t k, MatrixView<float> a,
              MatrixView<float> b, bool add, float* c, int64_t stride_c) {
  const dnnl_status_t status = dnnl_sgemm(
      a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k, 1.0f, a.data,
      a.stride, b.data, b.stride, add ? 1.0f : 0.0f, c, stride_c);
  NW_CHECK(status == dnnl_success)
      << "oneDNN sgemm of " << m << " x " << n << " x " << k << ": " << status;
}

// Gradient checks use this one: plain loops, good accuracy, no speed.
void Multiply(int64_t m, int64_t n, int64_t k, MatrixView<double> a,
              MatrixView<double> b, bool add, double* c, int64_t stride_c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += *a.At(i, l).data * *b.At(l, j).data;
      }
      double* const out = c + i * stride_c + j;
      *out = add ? *out + sum : sum;
    }
  }
}

dnnl::engine& CpuEngine() {
  static dnnl::engine* const engine =
      new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

template <typename U>
constexpr dnnl::memory::data_type kDnnlType =
    std::is_same_v<U, float> ? dnnl::memory::data_type::f32
                             : dnnl::memory::data_type::bf16;

template <typename U>
dnnl::memory::desc Describe(int64_t rows, int64_t columns, int64_t stride,
                            bool transposed) {
  using dims = dnnl::memory::dims;
  return dnnl::memory::desc({rows, columns}, kDnnlType<U>,
                            transposed ? dims{1, stride} : dims{stride, 1});
}

dnnl::matmul::primitive_desc DescribeProduct(const dnnl::memory::desc& a,
                                             const dnnl::memory::desc& b,
                                             const dnnl::memory::desc& bias,
                                             const dnnl::memory::desc& c,
                                             bool add) {
  dnnl::primitive_attr attributes;
  if (add) {
    dnnl::post_ops sum;
    sum.append_sum();
    attributes.set_post_ops(sum);
  }
#if DNNL_VERSION_MAJOR >= 3
  return {CpuEngine(), a, b, bias, c, attributes};
#else
  return {{a, b, bias, c}, attributes, CpuEngine()};
#endif
}

// One bf16 product of fixed shape and addends, for one thread.
template <typename U>
class Bf16Product {
 public:
  Bf16Product(int64_t m, int64_t n, int64_t k, MatrixView<BFloat16> a,
              MatrixView<BFloat16> b, bool bias, bool add, int64_t stride_c)
      : stream_(CpuEngine()),
        a_(Describe<BFloat16>(m, k, a.stride, a.transposed), CpuEngine(),
           nullptr),
        b_(Describe<BFloat16>(k, n, b.stride, b.transposed), CpuEngine(),
           nullptr),
        bias_(bias ? Describe<float>(1, n, n, false) : dnnl::memory::desc(),
              CpuEngine(), nullptr),
        c_(Describe<U>(m, n, stride_c, false), CpuEngine(), nullptr),
        matmul_(DescribeProduct(a_.get_desc(), b_.get_desc(), bias_.get_desc(),
                                c_.get_desc(), add)) {}

  void Run(const BFloat16* a, const BFloat16* b, const float* bias, U* c) {
    a_.set_data_handle(const_cast<BFloat16*>(a));
    b_.set_data_handle(const_cast<BFloat16*>(b));
    c_.set_data_handle(c);
    std::unordered_map<int, dnnl::memory> arguments = {
        {DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}};
    if (bias != nullptr) {
      bias_.set_data_handle(const_cast<float*>(bias));
      arguments.emplace(DNNL_ARG_BIAS, bias_);
    }
    matmul_.execute(stream_, arguments);
    stream_.wait();
  }

 private:
  dnnl::stream stream_;
  dnnl::memory a_, b_, bias_, c_;
  dnnl::matmul matmul_;
};

// c = a b + bias (+ c when `add`), on the calling thread.
template <typename U>
void MultiplyBf16(int64_t m, int64_t n, int64_t k, MatrixView<BFloat16> a,
                  MatrixView<BFloat16> b, const float* bias, bool add, U* c,
                  int64_t stride_c) {
  // Preparing a product costs more than running a small one, so threads keep
  // theirs. Sequences of every length, as in generation, must not fill memory.
  constexpr size_t kKept = 256;
  using Key = std::array<int64_t, 10>;
  thread_local std::map<Key, Bf16Product<U>> products;
  const Key key = {m,
                   n,
                   k,
                   a.stride,
                   a.transposed,
                   b.stride,
                   b.transposed,
                   bias != nullptr,
                   add,
                   stride_c};
  auto it = products.find(key);
  if (it == products.end()) {
    if (products.size() == kKept) products.clear();
    it =
        products.try_emplace(key, m, n, k, a, b, bias != nullptr, add, stride_c)
            .first;
  }
  it->second.Run(a.data, b.data, bias, c);
}

// c = the residual's tile.
void CopyTile(const BFloat16* residual, int64_t rows, int64_t columns,
              BFloat16* c, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i) {
    std::copy_n(residual + i * stride, columns, c + i * stride);
  }
}

// c = the addends' sum over one tile; false when it was left undefined, for
// there are none.
template <typename U>
bool StartTile(const Addends<U>& addends, int64_t rows, int64_t columns, U* c,
               int64_t stride) {
  if (addends.bias == nullptr && addends.residual == nullptr) {
    return addends.itself;
  }
  for (int64_t i = 0; i < rows; ++i) {
    U* const to = c + i * stride;
    const U* const from =
        addends.residual == nullptr ? nullptr : addends.residual + i * stride;
    if (from != nullptr && addends.bias != nullptr) {
      for (int64_t j = 0; j < columns; ++j) to[j] = from[j] + addends.bias[j];
    } else if (from != nullptr) {
      std::copy_n(from, columns, to);
    } else {
      std::copy_n(addends.bias, columns, to);
    }
  }
  return true;
}

// One tile on the calling thread.
template <typename T, typename U>
void MultiplyTile(int64_t m, int64_t n, int64_t k, MatrixView<T> a,
                  MatrixView<T> b, const Addends<U>& addends, U* c,
                  int64_t stride_c) {
  const SerialScope scope;
  if constexpr (std::is_same_v<U, BFloat16>) {
    const bool add = addends.residual != nullptr;
    if (add) CopyTile(addends.residual, m, n, c, stride_c);
    MultiplyBf16(m, n, k, a, b, addends.bias, add, c, stride_c);
  } else {
    const bool add = StartTile(addends, m, n, c, stride_c);
    if constexpr (std::is_same_v<T, BFloat16>) {
      MultiplyBf16(m, n, k, a, b, nullptr, add, c, stride_c);
    } else {
      Multiply(m, n, k, a, b, add, c, stride_c);
    }
  }
}

// oneDNN's best kernels are for processors with AVX-512: without, it has no
// bf16, and in f32 it slows down by half where rows are 4 KiB apart.
bool LibraryIsAtItsBest() {
  static const bool best = [] {
    const int isa = static_cast<int>(dnnl::get_effective_cpu_isa());
    const int wanted = static_cast<int>(dnnl::cpu_isa::avx512_core);
    return (isa & wanted) == wanted;
  }();
  return best;
}

// Whether our own kernel is the faster one, or the only one. oneDNN would pass
// over the product once more to add a bias or a residual in f32.
template <typename T, typename U>
bool PrefersPacked(int64_t batch, int64_t m, const Addends<U>& addends) {
  if (std::is_same_v<T, BFloat16>) return !LibraryIsAtItsBest();
  if (batch > 1 || m < kMinPackedRows) return false;
  if (addends.bias != nullptr || addends.residual != nullptr) return true;
  return !LibraryIsAtItsBest() && PackedGemmIsFast();
}

// A product of no terms.
template <typename U>
void AddNothing(int64_t m, int64_t n, const Addends<U>& addends, U* c) {
  if constexpr (std::is_same_v<U, BFloat16>) {
    for (int64_t i = 0; i < m * n; ++i) {
      float sum = addends.bias != nullptr ? addends.bias[i % n] : 0.0f;
      if (addends.residual != nullptr)
        sum += static_cast<float>(addends.residual[i]);
      c[i] = BFloat16(sum);
    }
  } else {
    if (!StartTile(addends, m, n, c, n)) std::fill_n(c, m * n, U(0));
  }
}

}  // namespace

template <typename T, typename U>
void Gemm(int64_t batch, int64_t m, int64_t n, int64_t k, MatrixView<T> a,
          int64_t batch_stride_a, MatrixView<T> b, int64_t batch_stride_b, U* c,
          const Addends<U>& addends) {
  if (m == 0 || n == 0) return;
  if (k == 0) return AddNothing(batch * m, n, addends, c);
  if constexpr (!std::is_same_v<T, double>) {
    if (PrefersPacked<T>(batch, m, addends)) {
      const auto multiply = [&](int64_t i) {
        MatrixView<T> left = a, right = b;
        left.data += i * batch_stride_a;
        right.data += i * batch_stride_b;
        PackedGemm({m, n, k, left, right, addends, c + i * m * n});
      };
      return ParallelForEach(batch, multiply, 2.0 * batch * m * n * k);
    }
  }
  const Tile tile = ChooseTile(batch, m, n);
  const int64_t tiles_m = NumChunks(m, tile.rows);
  const int64_t tiles_n = NumChunks(n, tile.columns);
  const double work = 2.0 * batch * m * n * k;
  const auto multiply_tile = [&](int64_t i) {
    const int64_t product = i / (tiles_m * tiles_n);
    // Down the rows first: consecutive tiles share columns of b, the weights.
    const int64_t row = i % tiles_m * tile.rows;
    const int64_t column = i / tiles_m % tiles_n * tile.columns;
    MatrixView<T> left = a.At(row, 0);
    MatrixView<T> right = b.At(0, column);
    left.data += product * batch_stride_a;
    right.data += product * batch_stride_b;
    Addends<U> here = addends;
    if (here.bias != nullptr) here.bias += column;
    if (here.residual != nullptr) here.residual += row * n + column;
    MultiplyTile(std::min(tile.rows, m - row),
                 std::min(tile.columns, n - column), k, left, right, here,
                 c + product * m * n + row * n + column, n);
  };
  ParallelForEach(batch * tiles_m * tiles_n, multiply_tile, work);
}

#define NW_INSTANTIATE_GEMM(T, U)                                       \
  template void Gemm(int64_t, int64_t, int64_t, int64_t, MatrixView<T>, \
                     int64_t, MatrixView<T>, int64_t, U*, const Addends<U>&)
NW_INSTANTIATE_GEMM(float, float);
NW_INSTANTIATE_GEMM(double, double);
NW_INSTANTIATE_GEMM(BFloat16, BFloat16);
NW_INSTANTIATE_GEMM(BFloat16, float);
#undef NW_INSTANTIATE_GEMM

}  // namespace nextword::kernels
