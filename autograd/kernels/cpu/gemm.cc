#include "autograd/kernels/cpu/gemm.h"

#include <omp.h>

#include <algorithm>
#include <array>
#include <map>
#include <utility>
#include <vector>

#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
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

// Tiles large enough to keep the library near its peak, small enough that
// there are at least four where the output allows it.
Tile ChooseTile(int64_t batch, int64_t m, int64_t n) {
  Tile tile{256, 512};
  while (batch * NumChunks(m, tile.rows) * NumChunks(n, tile.columns) < 4) {
    if (tile.columns >= 2 * tile.rows && tile.columns > 64) {
      tile.columns /= 2;
    } else if (tile.rows > 64) {
      tile.rows /= 2;
    } else if (tile.columns > 64) {
      tile.columns /= 2;
    } else {
      break;
    }
  }
  return tile;
}

void Multiply(int64_t m, int64_t n, int64_t k, double alpha,
              MatrixView<float> a, MatrixView<float> b, double beta, float* c,
              int64_t stride_c) {
  const dnnl_status_t status =
      dnnl_sgemm(a.transposed ? 'T' : 'N', b.transposed ? 'T' : 'N', m, n, k,
                 static_cast<float>(alpha), a.data, a.stride, b.data, b.stride,
                 static_cast<float>(beta), c, stride_c);
  NW_CHECK(status == dnnl_success)
      << "oneDNN sgemm of " << m << " x " << n << " x " << k << ": " << status;
}

// Gradient checks use this one: plain loops, good accuracy, no speed.
void Multiply(int64_t m, int64_t n, int64_t k, double alpha,
              MatrixView<double> a, MatrixView<double> b, double beta,
              double* c, int64_t stride_c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += *a.At(i, l).data * *b.At(l, j).data;
      }
      double* const out = c + i * stride_c + j;
      *out = alpha * sum + (beta == 0 ? 0 : beta * *out);
    }
  }
}

dnnl::engine& CpuEngine() {
  static dnnl::engine* const engine =
      new dnnl::engine(dnnl::engine::kind::cpu, 0);
  return *engine;
}

dnnl::memory::desc Describe(int64_t rows, int64_t columns, int64_t stride,
                            bool transposed) {
  using dims = dnnl::memory::dims;
  return dnnl::memory::desc({rows, columns}, dnnl::memory::data_type::bf16,
                            transposed ? dims{1, stride} : dims{stride, 1});
}

dnnl::matmul::primitive_desc DescribeProduct(const dnnl::memory::desc& a,
                                             const dnnl::memory::desc& b,
                                             const dnnl::memory::desc& c) {
#if DNNL_VERSION_MAJOR >= 3
  return {CpuEngine(), a, b, c};
#else
  return {{a, b, c}, CpuEngine()};
#endif
}

// One bf16 product of fixed shape, prepared once per thread and shape.
class Bf16Product {
 public:
  Bf16Product(int64_t m, int64_t n, int64_t k, MatrixView<BFloat16> a,
              MatrixView<BFloat16> b, int64_t stride_c)
      : stream_(CpuEngine()),
        a_(Describe(m, k, a.stride, a.transposed), CpuEngine(), nullptr),
        b_(Describe(k, n, b.stride, b.transposed), CpuEngine(), nullptr),
        c_(Describe(m, n, stride_c, false), CpuEngine(), nullptr),
        matmul_(DescribeProduct(a_.get_desc(), b_.get_desc(), c_.get_desc())) {}

  void Run(const BFloat16* a, const BFloat16* b, BFloat16* c) {
    a_.set_data_handle(const_cast<BFloat16*>(a));
    b_.set_data_handle(const_cast<BFloat16*>(b));
    c_.set_data_handle(c);
    matmul_.execute(
        stream_,
        {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
    stream_.wait();
  }

 private:
  dnnl::stream stream_;
  dnnl::memory a_, b_, c_;
  dnnl::matmul matmul_;
};

// oneDNN has bf16 products on processors with AVX-512 only.
bool HasBf16Products() {
  static const bool has = [] {
    const int isa = static_cast<int>(dnnl::get_effective_cpu_isa());
    const int wanted = static_cast<int>(dnnl::cpu_isa::avx512_core);
    return (isa & wanted) == wanted;
  }();
  return has;
}

// The elements of x [rows, columns] as float, in the order in which they lie.
std::vector<float> Widen(MatrixView<BFloat16> x, int64_t rows,
                         int64_t columns) {
  if (x.transposed) std::swap(rows, columns);
  std::vector<float> wide(rows * columns);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(x.data + r * x.stride, columns, wide.data() + r * columns);
  }
  return wide;
}

// The product in float, rounded at the end: the same maths, slower.
void MultiplyWidened(int64_t m, int64_t n, int64_t k, MatrixView<BFloat16> a,
                     MatrixView<BFloat16> b, BFloat16* c, int64_t stride_c) {
  const std::vector<float> wide_a = Widen(a, m, k), wide_b = Widen(b, k, n);
  std::vector<float> wide_c(m * n);
  Multiply(m, n, k, 1.0, {wide_a.data(), a.transposed ? m : k, a.transposed},
           {wide_b.data(), b.transposed ? k : n, b.transposed}, 0.0,
           wide_c.data(), n);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      c[i * stride_c + j] = BFloat16(wide_c[i * n + j]);
    }
  }
}

void Multiply(int64_t m, int64_t n, int64_t k, double alpha,
              MatrixView<BFloat16> a, MatrixView<BFloat16> b, double beta,
              BFloat16* c, int64_t stride_c) {
  NW_CHECK(alpha == 1 && beta == 0) << "bf16 products are plain";
  if (!HasBf16Products()) return MultiplyWidened(m, n, k, a, b, c, stride_c);
  using Key = std::array<int64_t, 8>;
  thread_local std::map<Key, Bf16Product> products;
  const Key key = {
      m, n, k, a.stride, a.transposed, b.stride, b.transposed, stride_c};
  auto it = products.find(key);
  if (it == products.end()) {
    it = products.try_emplace(key, m, n, k, a, b, stride_c).first;
  }
  it->second.Run(a.data, b.data, c);
}

}  // namespace

template <typename T>
void SerialGemm(int64_t m, int64_t n, int64_t k, double alpha, MatrixView<T> a,
                MatrixView<T> b, double beta, T* c, int64_t stride_c) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    for (int64_t i = 0; i < m; ++i) {
      T* const row = c + i * stride_c;
      for (int64_t j = 0; j < n; ++j) {
        row[j] = static_cast<T>(beta == 0 ? 0.0 : beta * row[j]);
      }
    }
    return;
  }
  const SerialScope scope;
  Multiply(m, n, k, alpha, a, b, beta, c, stride_c);
}

template <typename T>
void Gemm(int64_t batch, int64_t m, int64_t n, int64_t k, MatrixView<T> a,
          int64_t batch_stride_a, MatrixView<T> b, int64_t batch_stride_b,
          T* c) {
  const Tile tile = ChooseTile(batch, m, n);
  const int64_t tiles_m = NumChunks(m, tile.rows);
  const int64_t tiles_n = NumChunks(n, tile.columns);
  const double work = 2.0 * batch * m * n * k;
  const auto multiply_tile = [&](int64_t i) {
    const int64_t product = i / (tiles_m * tiles_n);
    const int64_t row = i / tiles_n % tiles_m * tile.rows;
    const int64_t column = i % tiles_n * tile.columns;
    MatrixView<T> left = a.At(row, 0);
    MatrixView<T> right = b.At(0, column);
    left.data += product * batch_stride_a;
    right.data += product * batch_stride_b;
    SerialGemm(std::min(tile.rows, m - row), std::min(tile.columns, n - column),
               k, 1.0, left, right, 0.0, c + product * m * n + row * n + column,
               n);
  };
  ParallelForEach(batch * tiles_m * tiles_n, multiply_tile, work);
}

#define NW_INSTANTIATE_GEMM(T)                                               \
  template void SerialGemm(int64_t, int64_t, int64_t, double, MatrixView<T>, \
                           MatrixView<T>, double, T*, int64_t);              \
  template void Gemm(int64_t, int64_t, int64_t, int64_t, MatrixView<T>,      \
                     int64_t, MatrixView<T>, int64_t, T*)
NW_INSTANTIATE_GEMM(float);
NW_INSTANTIATE_GEMM(double);
NW_INSTANTIATE_GEMM(BFloat16);
#undef NW_INSTANTIATE_GEMM

}  // namespace nextword::kernels
