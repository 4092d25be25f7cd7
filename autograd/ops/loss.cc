#include "autograd/ops/loss.h"

#include <algorithm>

#include "autograd/base/check.h"
#include "autograd/kernels/kernels.h"

namespace nextword {
namespace {

// Loss and gradients of a head over all rows, one chunk after the other.
struct HeadLoss {
  Tensor losses;  // [R]
  Tensor dx;      // [R, C]; undefined where not wanted, as below.
  Tensor dw;      // [V, C], f32 for bf16 weights: it is a sum.

  void Run(const Tensor& x, const Tensor& w, const Tensor& targets,
           int64_t rows_per_chunk) {
    const int64_t rows = x.dim(0), columns = w.dim(0);
    const DType dtype = losses.dtype();
    const Tensor logits = Empty({rows_per_chunk, columns}, dtype, x.device());
    const bool narrow = x.dtype() == DType::kBF16;
    const Tensor gradients =
        narrow && (dx.defined() || dw.defined())
            ? Empty({rows_per_chunk, columns}, x.dtype(), x.device())
            : logits;
    for (int64_t begin = 0; begin < rows; begin += rows_per_chunk) {
      const int64_t end = std::min(rows, begin + rows_per_chunk);
      RunChunk(x.Rows(begin, end), w, targets.Rows(begin, end), begin,
               logits.Rows(0, end - begin), gradients.Rows(0, end - begin));
    }
  }

 private:
  void RunChunk(const Tensor& x, const Tensor& w, const Tensor& targets,
                int64_t begin, Tensor logits, Tensor gradients) {
    const int64_t end = begin + x.dim(0);
    Tensor chunk_losses = losses.Rows(begin, end);
    kernels::linear(x, w, {}, {}, &logits);
    if (!dx.defined() && !dw.defined()) {
      Tensor lse = EmptyLike(chunk_losses);
      return kernels::cross_entropy(logits, targets, &chunk_losses, &lse);
    }
    kernels::cross_entropy_with_grad(&logits, targets, &chunk_losses,
                                     &gradients);
    if (dx.defined()) {
      Tensor chunk_dx = dx.Rows(begin, end);
      kernels::matmul(gradients, false, w, false, false, &chunk_dx);
    }
    if (dw.defined()) {
      kernels::matmul(gradients, true, x, false, begin > 0, &dw);
    }
  }
};

// x times the one element of `factor`.
Tensor Scaled(const Tensor& x, const Tensor& factor) {
  Tensor y = EmptyLike(x);
  kernels::mul(x, Cast(factor, x.dtype()), &y);
  return y;
}

}  // namespace

Variable CrossEntropy(const Variable& logits, const Tensor& targets) {
  NW_CHECK(logits.shape().rank() >= 1 &&
           targets.shape() == logits.shape().Without(-1) &&
           targets.dtype() == DType::kI32)
      << "cross_entropy of " << logits.value() << " with targets " << targets;
  const int64_t rows = targets.numel();
  const DType dtype = SumDType(logits.dtype());
  const Tensor x = logits.value().Reshape({rows, logits.dim(-1)});
  Tensor losses = Empty({rows}, dtype, x.device());
  Tensor lse = Empty({rows}, dtype, x.device());
  kernels::cross_entropy(x, targets, &losses, &lse);
  return Record("cross_entropy", losses.Reshape(targets.shape()), {logits},
                [x, targets, lse, shape = logits.shape()](const Tensor& dy) {
                  Tensor dx = EmptyLike(x);
                  kernels::cross_entropy_grad(x, targets, lse, dy, &dx);
                  return Gradients{dx.Reshape(shape)};
                });
}

// All chunks of about one size, in whole vectors.
int64_t LossChunkRows(int64_t rows, int64_t vocab, int64_t chunk_logits) {
  const int64_t chunks =
      std::max<int64_t>(1, (rows * vocab + chunk_logits - 1) / chunk_logits);
  constexpr int64_t kMultiple = 64;
  const int64_t share = (rows + chunks - 1) / chunks;
  const int64_t rounded = (share + kMultiple - 1) / kMultiple * kMultiple;
  return std::clamp<int64_t>(rounded, 1, std::max<int64_t>(1, rows));
}

Variable LinearCrossEntropy(const Variable& x, const Variable& weight,
                            const Tensor& targets, int64_t chunk_logits) {
  NW_CHECK(x.shape().rank() >= 1 && weight.shape().rank() == 2 &&
           x.dim(-1) == weight.dim(1) && x.dtype() == weight.dtype() &&
           targets.shape() == x.shape().Without(-1) &&
           targets.dtype() == DType::kI32)
      << "linear_cross_entropy of " << x.value() << " with weight "
      << weight.value() << " and targets " << targets;
  const int64_t rows = targets.numel();
  const DType dtype = SumDType(x.dtype());
  const Device device = x.value().device();
  HeadLoss head;
  head.losses = Empty({rows}, dtype, device);
  if (GradEnabled() && x.requires_grad()) {
    head.dx = Empty({rows, x.dim(-1)}, x.dtype(), device);
  }
  if (GradEnabled() && weight.requires_grad()) {
    head.dw = rows > 0 ? Empty(weight.shape(), dtype, device)
                       : Zeros(weight.shape(), dtype, device);
  }
  if (chunk_logits == 0) chunk_logits = ChunkLogits(device.type);
  head.Run(x.value().Reshape({rows, x.dim(-1)}), weight.value(),
           targets.Reshape({rows}),
           LossChunkRows(rows, weight.dim(0), chunk_logits));
  Tensor sum = Empty({1}, dtype, device);
  kernels::sum_to(head.losses, &sum);
  return Record("linear_cross_entropy", sum.Reshape(Shape()), {x, weight},
                [dx = head.dx, dw = head.dw, shape = x.shape(),
                 dtype = x.dtype()](const Tensor& dy, const Vjp::Uses& uses) {
                  Gradients gradients(2);
                  if (uses[0].wanted)
                    gradients[0] = Scaled(dx, dy).Reshape(shape);
                  if (!uses[1].wanted) return gradients;
                  if (Tensor weight_sum = uses[1].sum; weight_sum.defined()) {
                    kernels::accumulate_scaled(dy, dw, &weight_sum);
                  } else {
                    gradients[1] = Cast(Scaled(dw, dy), dtype);
                  }
                  return gradients;
                });
}

}  // namespace nextword
