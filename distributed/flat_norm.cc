#include "distributed/flat_norm.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/base/status.h"
#include "autograd/kernels/kernels.h"
#include "optim/clip.h"

namespace nextword {
namespace {

bool IsBad(double x) { return !std::isfinite(x); }

}  // namespace

absl::StatusOr<double> FlatNorm::Of(const Tensor& flat, Has has) const {
  NW_ASSIGN_OR_RETURN(const Tensor squares, Squares(flat, has));
  return NormOf(squares);
}

// Those of all chunks.
absl::StatusOr<Tensor> FlatNorm::Squares(const Tensor& flat, Has has) const {
  if (has == Has::kAll) return SquaresOf(flat);
  const int64_t chunk = kernels::kSquaresChunk;
  Tensor squares =
      Zeros({(flat.numel() + chunk - 1) / chunk}, DType::kF64, flat.device());
  for (const FlatRange& piece : reducer_.pieces()) {
    const Tensor mine = SquaresOf(piece.Of(flat));
    Tensor place = squares.View(piece.begin / chunk, {mine.numel()});
    kernels::copy(mine, &place);
  }
  NW_RETURN_IF_ERROR(reducer_.Complete(squares));
  return squares;
}

absl::StatusOr<std::string> FlatNorm::FirstNotFinite(const Tensor& flat,
                                                     Has has) const {
  NW_ASSIGN_OR_RETURN(const Tensor squares, Squares(flat, has));
  const std::vector<double> sums = ToVector<double>(squares);
  const auto bad = std::find_if(sums.begin(), sums.end(), IsBad);
  if (bad == sums.end()) return std::string();
  // Elements of the chunk, on the rank that has it.
  const int64_t begin = (bad - sums.begin()) * kernels::kSquaresChunk;
  const FlatRange chunk{begin,
                        std::min(begin + kernels::kSquaresChunk, flat.numel())};
  int64_t first = flat.numel();
  const std::vector<FlatRange> all = {{0, flat.numel()}};
  for (const FlatRange& piece : has == Has::kAll ? all : reducer_.pieces()) {
    const FlatRange part = Overlap(piece, chunk);
    if (part.size() == 0) continue;
    const std::vector<float> values = ToVector<float>(part.Of(flat));
    const auto found = std::find_if(values.begin(), values.end(), IsBad);
    if (found != values.end()) first = part.begin + (found - values.begin());
  }
  const Tensor mine = Zeros({1}, DType::kF64);
  *mine.data<double>() = static_cast<double>(first);
  const Tensor rows = Empty({all_.world_size(), 1}, DType::kF64);
  NW_RETURN_IF_ERROR(all_.Gather(mine, rows, "not finite").Wait());
  const std::vector<double> firsts = ToVector<double>(rows);
  first = static_cast<int64_t>(*std::min_element(firsts.begin(), firsts.end()));
  for (const Parameters::Entry& entry : parameters_.entries()) {
    if (first < entry.range().end) return entry.name;
  }
  return std::string();
}

}  // namespace nextword
