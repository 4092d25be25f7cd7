#include "autograd/kernels/cuda/cudnn_attention.h"

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <algorithm>
#include <array>
#include <compare>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/cuda/dynamic_library.h"
#include "autograd/cuda/per_device.h"

namespace cudnn_frontend {
// The frontend's headers find cuDNN's functions through this.
void* cudnn_dlhandle = nullptr;
}  // namespace cudnn_frontend

namespace nextword::kernels::cuda {
namespace {

namespace frontend = ::cudnn_frontend;
using frontend::graph::Graph;
using GraphTensor = std::shared_ptr<frontend::graph::Tensor_attributes>;

// The names of a graph's tensors.
enum Slot : int64_t { kQ = 1, kK, kV, kY, kLse, kDy, kDq, kDk, kDv };
using Pointers = std::unordered_map<int64_t, void*>;

// All that a graph depends on.
struct Problem {
  Problem(const Heads& q, const Heads& k, const Heads& v, double scale,
          const AttentionMask& mask)
      : batch(q.data.dim(0)),
        queries(q.data.dim(1)),
        keys(k.data.dim(1)),
        heads(q.count),
        kv_heads(k.count),
        size(q.data.dim(3)),
        window(mask.window < keys ? mask.window : 0),
        scale(scale),
        widths{q.data.dim(2), k.data.dim(2), v.data.dim(2)} {}

  auto operator<=>(const Problem&) const = default;

  int64_t batch, queries, keys, heads, kv_heads, size;
  int64_t window;  // 0: all.
  double scale;
  // Heads from one position to the next, of q, k, v; the gradient's dq, dk, dv.
  std::array<int64_t, 3> widths;
  bool gradient = false;
  std::array<int64_t, 3> gradient_widths = {};
};

absl::Status ToStatus(frontend::error_t error) {
  if (error.is_good()) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("cuDNN: ", error.get_message()));
}

// Runs `call`, whose exceptions become errors.
template <typename F>
absl::Status NoExceptions(const F& call) {
  try {
    return ToStatus(call());
  } catch (const std::exception& e) {
    return absl::UnimplementedError(absl::StrCat("cuDNN: ", e.what()));
  }
}

// Describes a tensor [B, heads, length, D], whose positions are `width` heads
// apart.
void Describe(const Problem& p, Slot slot, int64_t heads, int64_t length,
              int64_t width, frontend::graph::Tensor_attributes* tensor) {
  tensor->set_uid(slot)
      .set_data_type(frontend::DataType_t::BFLOAT16)
      .set_dim({p.batch, heads, length, p.size})
      .set_stride({length * width * p.size, p.size, width * p.size, 1});
}

GraphTensor Input(const Problem& p, Slot slot, int64_t heads, int64_t length,
                  int64_t width, Graph* graph) {
  frontend::graph::Tensor_attributes tensor;
  Describe(p, slot, heads, length, width, &tensor);
  return graph->tensor(tensor);
}

void Output(const Problem& p, Slot slot, int64_t heads, int64_t length,
            int64_t width, const GraphTensor& tensor) {
  Describe(p, slot, heads, length, width, tensor.get());
  tensor->set_output(true);
}

// Sums' logarithms [B, H, T], natural ones as in the contract.
void DescribeLse(const Problem& p, frontend::graph::Tensor_attributes* tensor) {
  tensor->set_uid(kLse)
      .set_data_type(frontend::DataType_t::FLOAT)
      .set_dim({p.batch, p.heads, p.queries, 1})
      .set_stride({p.heads * p.queries, p.queries, 1, 1});
}

// The mask and the scale, of either direction. cuDNN lets query t of T see key
// s of S where t + S - T - left_bound < s <= t + S - T + right_bound.
template <typename Attributes>
Attributes AttributesFor(const Problem& p) {
  Attributes attributes;
  attributes.set_attn_scale(static_cast<float>(p.scale))
      .set_diagonal_alignment(p.queries == p.keys
                                  ? frontend::DiagonalAlignment_t::TOP_LEFT
                                  : frontend::DiagonalAlignment_t::BOTTOM_RIGHT)
      .set_diagonal_band_right_bound(0);
  if (p.window > 0) {
    attributes.set_diagonal_band_left_bound(static_cast<int>(p.window));
  }
  return attributes;
}

// The graph of a problem for GPUs of a compute capability, say 90.
std::unique_ptr<Graph> MakeGraph(const Problem& p, int compute_capability) {
  auto graph = std::make_unique<Graph>();
  // Before there are nodes, which copy it; or each would ask a CUDA runtime of
  // the frontend's own.
  graph->set_sm_version(compute_capability);
  // Nor shall it ask whether the stream is being captured: it is not, and the
  // question would go to that runtime, which need not be here.
  graph->set_cuda_graph_retention(frontend::CudaGraphRetention_t::NONE);
  graph->set_io_data_type(frontend::DataType_t::BFLOAT16)
      .set_intermediate_data_type(frontend::DataType_t::FLOAT)
      .set_compute_data_type(frontend::DataType_t::FLOAT);
  const auto input = [&](Slot slot, int64_t heads, int64_t length,
                         int64_t width) {
    return Input(p, slot, heads, length, width, graph.get());
  };
  const GraphTensor q = input(kQ, p.heads, p.queries, p.widths[0]);
  const GraphTensor k = input(kK, p.kv_heads, p.keys, p.widths[1]);
  const GraphTensor v = input(kV, p.kv_heads, p.keys, p.widths[2]);
  if (!p.gradient) {
    auto attributes = AttributesFor<frontend::graph::SDPA_attributes>(p);
    attributes.set_name("attention").set_generate_stats(true);
    const auto [y, lse] = graph->sdpa(q, k, v, attributes);
    Output(p, kY, p.heads, p.queries, p.heads, y);
    DescribeLse(p, lse.get());
    lse->set_output(true);
    return graph;
  }
  const GraphTensor y = input(kY, p.heads, p.queries, p.heads);
  const GraphTensor dy = input(kDy, p.heads, p.queries, p.heads);
  frontend::graph::Tensor_attributes lse;
  DescribeLse(p, &lse);
  auto attributes = AttributesFor<frontend::graph::SDPA_backward_attributes>(p);
  attributes.set_name("attention_grad").set_deterministic_algorithm(true);
  const auto [dq, dk, dv] =
      graph->sdpa_backward(q, k, v, y, dy, graph->tensor(lse), attributes);
  Output(p, kDq, p.heads, p.queries, p.gradient_widths[0], dq);
  Output(p, kDk, p.kv_heads, p.keys, p.gradient_widths[1], dk);
  Output(p, kDv, p.kv_heads, p.keys, p.gradient_widths[2], dv);
  return graph;
}

// What the frontend's headers leave to be called.
struct Library {
  explicit Library(const DynamicLibrary& library) : library(library) {
    NoteLibraryVersion("cudnn", static_cast<int64_t>(cudnnGetVersion()));
  }

  const DynamicLibrary library;
  NW_LIBRARY_FUNCTION(library, cudnnCreate);
  NW_LIBRARY_FUNCTION(library, cudnnGetErrorString);
  NW_LIBRARY_FUNCTION(library, cudnnGetVersion);
  NW_LIBRARY_FUNCTION(library, cudnnSetStream);
};

absl::StatusOr<const Library*> LoadCudnn() {
  static const auto* const result = [] {
    const auto loaded =
        DynamicLibrary::Load(absl::StrCat("libcudnn.so.", CUDNN_MAJOR));
    if (!loaded.ok())
      return new absl::StatusOr<const Library*>(loaded.status());
    frontend::cudnn_dlhandle = loaded->handle();
    return new absl::StatusOr<const Library*>(new Library(*loaded));
  }();
  return *result;
}

// cuDNN on one device.
class Cudnn {
 public:
  explicit Cudnn(Device device) : device_(device), created_(Create()) {}

  // Queues the solution of a problem. An error: cuDNN has none.
  absl::Status Run(const Problem& problem, Pointers pointers);

 private:
  struct Plan {
    std::unique_ptr<Graph> graph;
    int64_t workspace_bytes = 0;
  };

  absl::Status Create();
  absl::StatusOr<Plan> Build(const Problem& problem) const;

  const Device device_;
  cudnnHandle_t handle_ = nullptr;
  int compute_capability_ = 0;
  const absl::Status created_;
  std::mutex mutex_;  // One handle serves one thread at a time.
  std::map<Problem, absl::StatusOr<Plan>> plans_;
};

absl::Status Cudnn::Create() {
  NW_ASSIGN_OR_RETURN(const Library* const library, LoadCudnn());
  const cudaStream_t stream = StreamOf(device_);
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    NW_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device_.index));
    return value;
  };
  compute_capability_ = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                        attribute(cudaDevAttrComputeCapabilityMinor);
  cudnnStatus_t status = library->cudnnCreate(&handle_);
  if (status == CUDNN_STATUS_SUCCESS) {
    status = library->cudnnSetStream(handle_, stream);
  }
  if (status == CUDNN_STATUS_SUCCESS) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "cuDNN does not start: ", library->cudnnGetErrorString(status)));
}

absl::StatusOr<Cudnn::Plan> Cudnn::Build(const Problem& problem) const {
  Plan plan;
  NW_RETURN_IF_ERROR(NoExceptions([&] {
    plan.graph = MakeGraph(problem, compute_capability_);
    return plan.graph->build(handle_, {frontend::HeurMode_t::A});
  }));
  NW_RETURN_IF_ERROR(NoExceptions(
      [&] { return plan.graph->get_workspace_size(plan.workspace_bytes); }));
  return plan;
}

absl::Status Cudnn::Run(const Problem& problem, Pointers pointers) {
  NW_RETURN_IF_ERROR(created_);
  StreamOf(device_);  // Makes the device current.
  const std::lock_guard<std::mutex> lock(mutex_);
  auto found = plans_.find(problem);
  if (found == plans_.end()) {
    found = plans_.emplace(problem, Build(problem)).first;
  }
  NW_RETURN_IF_ERROR(found->second.status());
  const Plan& plan = *found->second;
  // Given back at the end of this scope, to be used by work queued later.
  const Tensor workspace =
      Empty({plan.workspace_bytes / 4 + 1}, DType::kF32, device_);
  NW_CHECK_OK(NoExceptions([&] {
    return plan.graph->execute(handle_, pointers, workspace.raw_data());
  }));
  if (SynchronousLaunches()) {
    NW_CUDA_CHECK(cudaStreamSynchronize(StreamOf(device_)));
  }
  return absl::OkStatus();
}

// The first head.
void* PointerTo(const Heads& heads) {
  return heads.data.data<BFloat16>() + heads.first * heads.data.dim(3);
}

absl::Status CheckSupported(const Heads& q, const Heads& k, const Heads& v,
                            const AttentionMask& mask) {
  const Tensor& x = q.data;
  if (x.dtype() != DType::kBF16) {
    return absl::UnimplementedError(
        absl::StrCat("cuDNN's takes bf16, not ", DTypeName(x.dtype())));
  }
  if (mask.documents.defined()) {
    return absl::UnimplementedError("cuDNN's knows no documents");
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
  for (const Heads* heads : {&q, &k, &v}) {
    if (reinterpret_cast<uintptr_t>(PointerTo(*heads)) % 16 != 0) {
      return absl::UnimplementedError("cuDNN's takes memory aligned to 16");
    }
  }
  return absl::OkStatus();
}

// Scores of a sequence are kept in bf16, in whole blocks.
int64_t ScoreBytes(const Problem& p) {
  const auto round_up = [](int64_t n) { return (n + 127) / 128 * 128; };
  return 2 * p.heads * round_up(p.queries) * round_up(p.keys);
}

}  // namespace

absl::Status CudnnAttention(const Heads& q, const Heads& k, const Heads& v,
                            double scale, const AttentionMask& mask, Out y,
                            Out lse) {
  NW_RETURN_IF_ERROR(CheckSupported(q, k, v, mask));
  return PerDevice<Cudnn>(y->device())
      .Run(Problem(q, k, v, scale, mask), {{kQ, PointerTo(q)},
                                           {kK, PointerTo(k)},
                                           {kV, PointerTo(v)},
                                           {kY, y->raw_data()},
                                           {kLse, lse->data<float>()}});
}

absl::Status CudnnAttentionGrad(const Heads& q, const Heads& k, const Heads& v,
                                In y, In lse, In dy, double scale,
                                const AttentionMask& mask, const Heads& dq,
                                const Heads& dk, const Heads& dv) {
  NW_RETURN_IF_ERROR(CheckSupported(q, k, v, mask));
  NW_RETURN_IF_ERROR(CheckSupported(dq, dk, dv, mask));
  constexpr int64_t kMaxScoreBytes = int64_t{1} << 30;
  const int64_t batch = q.data.dim(0);
  const int64_t at_once = std::clamp<int64_t>(
      kMaxScoreBytes / ScoreBytes(Problem(q, k, v, scale, mask)), 1, batch);
  const int64_t passes = (batch + at_once - 1) / at_once;
  for (int64_t pass = 0; pass < passes; ++pass) {
    const int64_t begin = pass * batch / passes;
    const int64_t end = (pass + 1) * batch / passes;
    const auto part = [=](const Heads& heads) {
      return Heads{heads.data.Rows(begin, end), heads.first, heads.count};
    };
    const auto pointer = [&](const Heads& heads) {
      return PointerTo(part(heads));
    };
    Problem problem(part(q), part(k), part(v), scale, mask);
    problem.gradient = true;
    problem.gradient_widths = {dq.data.dim(2), dk.data.dim(2), dv.data.dim(2)};
    NW_RETURN_IF_ERROR(
        PerDevice<Cudnn>(y.device())
            .Run(problem, {{kQ, pointer(q)},
                           {kK, pointer(k)},
                           {kV, pointer(v)},
                           {kY, y.Rows(begin, end).raw_data()},
                           {kLse, lse.Rows(begin, end).data<float>()},
                           {kDy, dy.Rows(begin, end).raw_data()},
                           {kDq, pointer(dq)},
                           {kDk, pointer(dk)},
                           {kDv, pointer(dv)}}));
  }
  return absl::OkStatus();
}

}  // namespace nextword::kernels::cuda
