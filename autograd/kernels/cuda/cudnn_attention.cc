#include "autograd/kernels/cuda/cudnn_attention.h"

#include <cudnn.h>

#include <map>
#include <mutex>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/cuda/dynamic_library.h"
#include "autograd/cuda/per_device.h"
#include "autograd/kernels/cuda/cudnn_plan.h"
#include "autograd/kernels/numerics.h"
#include "autograd/kernels/score_memory.h"

namespace nextword::kernels::cuda {
namespace {

using Pointers = std::unordered_map<CudnnSlot, void*>;

// What is not done through plans.
struct Library {
  explicit Library(const DynamicLibrary& library) : library(library) {}

  const DynamicLibrary library;
  NW_LIBRARY_FUNCTION(library, cudnnCreate);
  NW_LIBRARY_FUNCTION(library, cudnnGetErrorString);
  NW_LIBRARY_FUNCTION(library, cudnnSetStream);
};

// cuDNN on one device.
class Cudnn {
 public:
  explicit Cudnn(Device device) : device_(device), created_(Create()) {}

  // Queues the solution of a problem. An error: cuDNN has none.
  absl::Status Run(const CudnnProblem& problem, const Pointers& pointers);

 private:
  absl::Status Create();

  const Device device_;
  cudnnHandle_t handle_ = nullptr;
  int compute_capability_ = 0;
  const absl::Status created_;
  std::mutex mutex_;  // One handle serves one thread at a time.
  // Never erased: CUDA graphs refer to them.
  std::map<CudnnProblem, absl::StatusOr<CudnnPlan>> plans_;
};

absl::Status Cudnn::Create() {
  NW_ASSIGN_OR_RETURN(const DynamicLibrary loaded, LoadCudnn());
  const Library library(loaded);
  const cudaStream_t stream = StreamOf(device_);
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    NW_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device_.index));
    return value;
  };
  compute_capability_ = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                        attribute(cudaDevAttrComputeCapabilityMinor);
  cudnnStatus_t status = library.cudnnCreate(&handle_);
  if (status == CUDNN_STATUS_SUCCESS) {
    status = library.cudnnSetStream(handle_, stream);
  }
  if (status == CUDNN_STATUS_SUCCESS) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "cuDNN does not start: ", library.cudnnGetErrorString(status)));
}

absl::Status Cudnn::Run(const CudnnProblem& problem, const Pointers& pointers) {
  NW_RETURN_IF_ERROR(created_);
  StreamOf(device_);  // Makes the device current.
  const std::lock_guard<std::mutex> lock(mutex_);
  auto found = plans_.find(problem);
  if (found == plans_.end()) {
    found = plans_
                .emplace(problem,
                         CudnnPlan::Make(problem, compute_capability_, handle_))
                .first;
  }
  NW_RETURN_IF_ERROR(found->second.status());
  const CudnnPlan& plan = *found->second;
  // Given back at the end of this scope, to be used by work queued later.
  const Tensor workspace =
      Empty({plan.workspace_bytes() / 4 + 1}, DType::kF32, device_);
  NW_CHECK_OK(plan.Execute(handle_, pointers, workspace.raw_data()));
  if (SynchronousLaunches()) {
    NW_CUDA_CHECK(cudaStreamSynchronize(StreamOf(device_)));
  }
  return absl::OkStatus();
}

// The first head.
void* PointerTo(const Heads& heads) {
  return heads.data.data<BFloat16>() + heads.first * heads.data.dim(3);
}

// What both directions have.
Pointers PointersTo(const Heads& q, const Heads& k, const Heads& v, In y,
                    In lse, const AttentionMask& mask) {
  Pointers result = {{CudnnSlot::kQ, PointerTo(q)},
                     {CudnnSlot::kK, PointerTo(k)},
                     {CudnnSlot::kV, PointerTo(v)},
                     {CudnnSlot::kY, y.raw_data()},
                     {CudnnSlot::kLse, lse.raw_data()}};
  if (mask.documents.defined()) {
    result[CudnnSlot::kQueryDocuments] = mask.documents.raw_data();
    result[CudnnSlot::kKeyDocuments] = mask.documents.raw_data();
  }
  return result;
}

absl::Status CheckSupported(const Heads& q, const Heads& k, const Heads& v,
                            const AttentionMask& mask) {
  const Tensor& x = q.data;
  if (x.dtype() != DType::kBF16) {
    return absl::UnimplementedError(
        absl::StrCat("cuDNN's takes bf16, not ", DTypeName(x.dtype())));
  }
  if (mask.documents.defined() && x.dim(1) != k.data.dim(1)) {
    return absl::UnimplementedError(
        "cuDNN's takes documents only where there are as many queries as keys");
  }
  if (mask.keys != 0 && mask.keys != k.data.dim(1)) {
    return absl::UnimplementedError(
        "cuDNN's would be compiled anew for each number of valid keys");
  }
  if (x.numel() == 0 || k.data.numel() == 0) {
    return absl::UnimplementedError("cuDNN's takes no empty tensors");
  }
  if (x.dim(3) % 8 != 0) {
    return absl::UnimplementedError(absl::StrCat(
        "cuDNN's takes heads of a multiple of 8 elements, not ", x.dim(3)));
  }
  void* const documents =
      mask.documents.defined() ? mask.documents.raw_data() : nullptr;
  for (void* const pointer :
       {PointerTo(q), PointerTo(k), PointerTo(v), documents}) {
    if (reinterpret_cast<uintptr_t>(pointer) % 16 != 0) {
      return absl::UnimplementedError("cuDNN's takes memory aligned to 16");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CudnnAttention(const Heads& q, const Heads& k, const Heads& v,
                            double scale, const AttentionMask& mask, Out y,
                            Out lse) {
  NW_RETURN_IF_ERROR(CheckSupported(q, k, v, mask));
  return PerDevice<Cudnn>(y->device())
      .Run(CudnnProblem(q, k, v, scale, mask),
           PointersTo(q, k, v, *y, *lse, mask));
}

absl::Status CudnnAttentionGrad(const Heads& q, const Heads& k, const Heads& v,
                                In y, In lse, In dy, double scale,
                                const AttentionMask& mask, const Heads& dq,
                                const Heads& dk, const Heads& dv) {
  NW_RETURN_IF_ERROR(CheckSupported(q, k, v, mask));
  const int64_t batch = q.data.dim(0);
  const bool deterministic = Deterministic();
  const int64_t at_once =
      deterministic
          ? ScoreMemory::Of(batch, q.count, q.data.dim(1), k.data.dim(1))
                .sequences
          : batch;
  const int64_t passes = (batch + at_once - 1) / at_once;
  if (passes > 1 && mask.documents.defined() && k.data.dim(1) % 4 != 0) {
    return absl::UnimplementedError(
        "cuDNN's takes documents of many long sequences only where their "
        "length "
        "is a multiple of 4");
  }
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t begin = pass * batch / passes;
    const int64_t end = (pass + 1) * batch / passes;
    const auto part = [=](const Tensor& x) { return x.Rows(begin, end); };
    const auto heads = [=](const Heads& all) {
      return Heads{part(all.data), all.first, all.count};
    };
    AttentionMask masked = mask;
    if (mask.documents.defined()) masked.documents = part(mask.documents);
    const Heads pass_q = heads(q), pass_k = heads(k), pass_v = heads(v);
    const Heads pass_dq = heads(dq), pass_dk = heads(dk), pass_dv = heads(dv);
    NW_RETURN_IF_ERROR(CheckSupported(pass_q, pass_k, pass_v, masked));
    NW_RETURN_IF_ERROR(CheckSupported(pass_dq, pass_dk, pass_dv, masked));
    CudnnProblem problem(pass_q, pass_k, pass_v, scale, masked);
    problem.gradient = true;
    problem.deterministic = deterministic;
    problem.gradient_widths = {dq.data.dim(2), dk.data.dim(2), dv.data.dim(2)};
    Pointers pointers =
        PointersTo(pass_q, pass_k, pass_v, part(y), part(lse), masked);
    pointers[CudnnSlot::kDy] = part(dy).raw_data();
    pointers[CudnnSlot::kDq] = PointerTo(pass_dq);
    pointers[CudnnSlot::kDk] = PointerTo(pass_dk);
    pointers[CudnnSlot::kDv] = PointerTo(pass_dv);
    NW_RETURN_IF_ERROR(PerDevice<Cudnn>(y.device()).Run(problem, pointers));
  }
  return absl::OkStatus();
}

}  // namespace nextword::kernels::cuda
