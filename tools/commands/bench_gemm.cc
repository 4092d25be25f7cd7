#include "tools/commands/bench_gemm.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "autograd/kernels/kernels.h"
#include "tools/commands/random_tensor.h"
#include "tools/commands/table.h"
#include "tools/commands/timing.h"

namespace nextword {
namespace {

// y [m, n] = op(a) op(b), over k.
struct Product {
  std::string name;
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false;

  double flops() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(n) *
           static_cast<double>(k);
  }
};

Product Square(int64_t size) {
  return {absl::StrCat("square ", size), size, size, size};
}

// The three products of a linear layer: of the forward pass, of the gradient of
// its input, and of that of its weight, which is [out, in].
void AddLayer(const std::string& name, int64_t tokens, int64_t in, int64_t out,
              std::vector<Product>* products) {
  products->push_back({name + ", x W'", tokens, out, in, false, true});
  products->push_back({name + ", dy W", tokens, in, out, false, false});
  products->push_back({name + ", dy' x", out, in, tokens, true, false});
}

// Those of a block of GPT-2 with 124 million parameters.
std::vector<Product> BlockProducts(int64_t tokens) {
  constexpr int64_t kHidden = 768;
  std::vector<Product> products;
  AddLayer("qkv", tokens, kHidden, 3 * kHidden, &products);
  AddLayer("out", tokens, kHidden, kHidden, &products);
  AddLayer("up", tokens, kHidden, 4 * kHidden, &products);
  AddLayer("down", tokens, 4 * kHidden, kHidden, &products);
  return products;
}

std::vector<Product> AllProducts(int64_t tokens) {
  std::vector<Product> products = {Square(1024)};
  const std::vector<Product> block = BlockProducts(tokens);
  products.insert(products.end(), block.begin(), block.end());
  AddLayer("head", tokens, 768, 50257, &products);
  return products;
}

Timing MeasureProduct(const Product& p, DType dtype, double seconds) {
  const Shape shape_a = p.transpose_a ? Shape{p.k, p.m} : Shape{p.m, p.k};
  const Shape shape_b = p.transpose_b ? Shape{p.n, p.k} : Shape{p.k, p.n};
  const Tensor a = RandomNormal(shape_a, dtype, 1);
  const Tensor b = RandomNormal(shape_b, dtype, 2);
  Tensor y = Empty({p.m, p.n}, dtype);
  return Measure(seconds, [&] {
    kernels::matmul(a, p.transpose_a, b, p.transpose_b, false, &y);
  });
}

// The rows of one dtype.
struct Section {
  std::string text;
  nlohmann::ordered_json json;
};

Section BenchDType(DType dtype, int64_t tokens, double seconds) {
  Table table({absl::StrCat(DTypeName(dtype), ", ", tokens, " tokens"), "m",
               "n", "k", "best GFLOP/s", "median GFLOP/s"});
  auto rows = nlohmann::ordered_json::array();
  double peak = 0;
  std::string peak_name;
  for (const Product& p : AllProducts(tokens)) {
    const Timing timing = MeasureProduct(p, dtype, seconds);
    const double best = p.flops() / timing.best;
    const double median = p.flops() / timing.median;
    if (best > peak) {
      peak = best;
      peak_name = p.name;
    }
    table.Add({p.name, absl::StrCat(p.m), absl::StrCat(p.n), absl::StrCat(p.k),
               absl::StrFormat("%.1f", best / 1e9),
               absl::StrFormat("%.1f", median / 1e9)});
    rows.push_back({{"name", p.name},
                    {"m", p.m},
                    {"n", p.n},
                    {"k", p.k},
                    {"best_flops_per_second", best},
                    {"median_flops_per_second", median},
                    {"best_seconds", timing.best},
                    {"median_seconds", timing.median},
                    {"calls", timing.calls}});
  }
  return {absl::StrFormat("%speak %.1f GFLOP/s: %s\n", table.Text(), peak / 1e9,
                          peak_name),
          {{"dtype", DTypeName(dtype)},
           {"peak_flops_per_second", peak},
           {"peak_product", peak_name},
           {"products", rows}}};
}

}  // namespace

double MeasureGemmPeak(DType dtype, double seconds) {
  std::vector<Product> products = BlockProducts(1024);
  products.push_back(Square(1024));
  double peak = 0;
  for (const Product& p : products) {
    const Timing timing = MeasureProduct(
        p, dtype, seconds / static_cast<double>(products.size()));
    peak = std::max(peak, p.flops() / timing.best);
  }
  return peak;
}

BenchReport BenchGemm(const std::vector<DType>& dtypes, int64_t tokens,
                      double seconds) {
  BenchReport report;
  report.json["tokens"] = tokens;
  report.json["dtypes"] = nlohmann::ordered_json::array();
  for (const DType dtype : dtypes) {
    const Section section = BenchDType(dtype, tokens, seconds);
    absl::StrAppend(&report.text, report.text.empty() ? "" : "\n",
                    section.text);
    report.json["dtypes"].push_back(section.json);
  }
  return report;
}

}  // namespace nextword
