// How cuDNN computes attention: a problem as cuDNN is told it, and the kernel
// that cuDNN compiles for it. Plans can be made without a GPU; running one
// takes a handle, and with it a GPU. Immutable, but Execute takes one thread at
// a time for each handle.
#ifndef NEXTWORD_AUTOGRAD_KERNELS_CUDA_CUDNN_PLAN_H_
#define NEXTWORD_AUTOGRAD_KERNELS_CUDA_CUDNN_PLAN_H_

#include <cudnn.h>

#include <array>
#include <compare>
#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "autograd/cuda/dynamic_library.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels::cuda {

// What a plan reads and writes, at the first element of the first head: bf16,
// but the sums' logarithms f32 [B, H, T] and the documents i32 [B, T].
enum class CudnnSlot : int64_t {
  kQ = 1,
  kK,
  kV,
  kY,
  kLse,
  // The same, twice, where the problem has documents.
  kQueryDocuments,
  kKeyDocuments,
  // Of the gradient.
  kDy,
  kDq,
  kDk,
  kDv,
};

// All that a plan depends on.
struct CudnnProblem {
  CudnnProblem(const Heads& q, const Heads& k, const Heads& v, double scale,
               const AttentionMask& mask);

  auto operator<=>(const CudnnProblem&) const = default;

  int64_t batch, queries, keys, heads, kv_heads, size;
  int64_t window;  // 0: all.
  bool documents;  // Then there are as many queries as keys.
  double scale;
  // Heads from one position to the next, of q, k, v; the gradient's dq, dk, dv.
  std::array<int64_t, 3> widths;
  bool gradient = false;
  bool deterministic = true;  // Of the gradient.
  std::array<int64_t, 3> gradient_widths = {};
};

class CudnnPlan {
 public:
  // For the handle's GPU, of a compute capability such as 90. Unimplemented:
  // cuDNN has none, and why; NotFound: it is not there.
  static absl::StatusOr<CudnnPlan> Make(const CudnnProblem& problem,
                                        int compute_capability,
                                        cudnnHandle_t handle);

  // For a GPU that need not be here, described as cuDNN does (a JSON object).
  // It takes a driver's library, if not a device, as cuDNN loads what it has
  // compiled.
  static absl::StatusOr<CudnnPlan> MakeWithoutGpu(
      const CudnnProblem& problem, int compute_capability,
      const std::string& device_properties);

  // Queues it in the handle's stream.
  absl::Status Execute(cudnnHandle_t handle,
                       const std::unordered_map<CudnnSlot, void*>& pointers,
                       void* workspace) const;

  int64_t workspace_bytes() const { return workspace_bytes_; }
  // Which kernel, in cuDNN's words.
  const std::string& name() const { return name_; }

 private:
  struct Graph;

  explicit CudnnPlan(std::shared_ptr<Graph> graph) : graph_(std::move(graph)) {}

  static absl::StatusOr<CudnnPlan> MakeFor(
      const CudnnProblem& problem, int compute_capability, cudnnHandle_t handle,
      const std::string* device_properties);

  std::shared_ptr<Graph> graph_;
  int64_t workspace_bytes_ = 0;
  std::string name_;
};

// The library, which is loaded when first called, and used by plans.
absl::StatusOr<DynamicLibrary> LoadCudnn();

}  // namespace nextword::kernels::cuda

#endif  // NEXTWORD_AUTOGRAD_KERNELS_CUDA_CUDNN_PLAN_H_
