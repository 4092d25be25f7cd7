#include "autograd/kernels/cuda/cudnn_plan.h"

#define NV_CUDNN_FRONTEND_USE_DYNAMIC_LOADING
#define CUDNN_FRONTEND_SKIP_JSON_LIB
#include <cudnn_frontend.h>

#include <exception>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/status.h"
#include "autograd/cuda/dynamic_library.h"

namespace cudnn_frontend {
// The frontend's headers find cuDNN's functions through this.
void* cudnn_dlhandle = nullptr;
}  // namespace cudnn_frontend

namespace nextword::kernels::cuda {
namespace {

namespace frontend = ::cudnn_frontend;
using frontend::DataType_t;
using frontend::PointwiseMode_t;
using frontend::graph::Pointwise_attributes;
using FrontendGraph = frontend::graph::Graph;
using GraphTensor = std::shared_ptr<frontend::graph::Tensor_attributes>;

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
void Describe(const CudnnProblem& p, CudnnSlot slot, int64_t heads,
              int64_t length, int64_t width,
              frontend::graph::Tensor_attributes* tensor) {
  tensor->set_uid(static_cast<int64_t>(slot))
      .set_data_type(DataType_t::BFLOAT16)
      .set_dim({p.batch, heads, length, p.size})
      .set_stride({length * width * p.size, p.size, width * p.size, 1});
}

GraphTensor Input(const CudnnProblem& p, CudnnSlot slot, int64_t heads,
                  int64_t length, int64_t width, FrontendGraph* graph) {
  frontend::graph::Tensor_attributes tensor;
  Describe(p, slot, heads, length, width, &tensor);
  return graph->tensor(tensor);
}

void Output(const CudnnProblem& p, CudnnSlot slot, int64_t heads,
            int64_t length, int64_t width, const GraphTensor& tensor) {
  Describe(p, slot, heads, length, width, tensor.get());
  tensor->set_output(true);
}

// Sums' logarithms [B, H, T], natural ones as in the contract.
void DescribeLse(const CudnnProblem& p,
                 frontend::graph::Tensor_attributes* tensor) {
  tensor->set_uid(static_cast<int64_t>(CudnnSlot::kLse))
      .set_data_type(DataType_t::FLOAT)
      .set_dim({p.batch, p.heads, p.queries, 1})
      .set_stride({p.heads * p.queries, p.queries, 1, 1});
}

// The diagonal that queries see up to: of T queries and S keys, query t sees
// key s where t + S - T - left_bound < s <= t + S - T + right_bound.
frontend::DiagonalAlignment_t Diagonal(const CudnnProblem& p) {
  return p.queries == p.keys ? frontend::DiagonalAlignment_t::TOP_LEFT
                             : frontend::DiagonalAlignment_t::BOTTOM_RIGHT;
}

// Masks scores [B, H, T, S] where query and key are of different documents, or
// the key is after the query or before the window.
class DocumentMask {
 public:
  DocumentMask(const CudnnProblem& p, FrontendGraph* graph) : p_(p) {
    const auto input = [&](CudnnSlot slot, std::vector<int64_t> dim) {
      return graph->tensor(frontend::graph::Tensor_attributes()
                               .set_uid(static_cast<int64_t>(slot))
                               .set_data_type(DataType_t::INT32)
                               .set_dim(std::move(dim))
                               .set_stride({p.keys, p.keys, 1, 1}));
    };
    of_queries_ = input(CudnnSlot::kQueryDocuments, {p.batch, 1, p.queries, 1});
    of_keys_ = input(CudnnSlot::kKeyDocuments, {p.batch, 1, 1, p.keys});
  }

  GraphTensor operator()(const std::shared_ptr<FrontendGraph>& graph,
                         const GraphTensor& scores) const {
    // cuDNN has comparisons of what it has computed, not of two inputs: to both
    // it adds the key's position.
    const GraphTensor position = graph->pointwise(
        scores,
        Mode(PointwiseMode_t::GEN_INDEX, DataType_t::INT32).set_axis(3));
    position->set_data_type(DataType_t::INT32);
    const auto moved = [&](const GraphTensor& documents) {
      const GraphTensor sum = graph->pointwise(
          position, documents, Mode(PointwiseMode_t::ADD, DataType_t::INT32));
      sum->set_data_type(DataType_t::INT32);
      return sum;
    };
    const GraphTensor same =
        graph->pointwise(moved(of_queries_), moved(of_keys_),
                         Mode(PointwiseMode_t::CMP_EQ, DataType_t::BOOLEAN));
    same->set_data_type(DataType_t::BOOLEAN);
    // Finite: a block of keys that are all masked has a largest score, too.
    const auto masked =
        std::make_shared<frontend::graph::Tensor_attributes>(-1e30f);
    const GraphTensor result = graph->pointwise(
        scores, masked, same,
        Mode(PointwiseMode_t::BINARY_SELECT, DataType_t::FLOAT));
    return frontend::graph::attn::score_modifiers::sliding_window_mask(
        graph, result, Diagonal(p_),
        p_.window > 0 ? std::optional<int64_t>(p_.window) : std::nullopt,
        /*right_bound=*/0, p_.queries, p_.keys, nullptr, nullptr, nullptr,
        nullptr);
  }

 private:
  static Pointwise_attributes Mode(PointwiseMode_t mode, DataType_t computed) {
    return Pointwise_attributes().set_mode(mode).set_compute_data_type(
        computed);
  }

  CudnnProblem p_;
  GraphTensor of_queries_, of_keys_;
};

// The mask and the scale, of either direction.
template <typename Attributes>
Attributes AttributesFor(const CudnnProblem& p, FrontendGraph* graph) {
  Attributes attributes;
  attributes.set_attn_scale(static_cast<float>(p.scale));
  if (p.documents) {
    attributes.set_score_mod(DocumentMask(p, graph));
    return attributes;
  }
  attributes.set_diagonal_alignment(Diagonal(p))
      .set_diagonal_band_right_bound(0);
  if (p.window > 0) {
    attributes.set_diagonal_band_left_bound(static_cast<int>(p.window));
  }
  return attributes;
}

// The graph of a problem for GPUs of a compute capability, say 90.
void MakeGraph(const CudnnProblem& p, int compute_capability,
               FrontendGraph* graph) {
  // Before there are nodes, which copy it; or each would ask a CUDA runtime of
  // the frontend's own.
  graph->set_sm_version(compute_capability);
  // Nor shall it ask whether the stream is being captured, of that runtime,
  // which need not be here. Graphs that were captured find this one alive:
  // plans are kept.
  graph->set_cuda_graph_retention(frontend::CudaGraphRetention_t::NONE);
  graph->set_io_data_type(DataType_t::BFLOAT16)
      .set_intermediate_data_type(DataType_t::FLOAT)
      .set_compute_data_type(DataType_t::FLOAT);
  const auto input = [&](CudnnSlot slot, int64_t heads, int64_t length,
                         int64_t width) {
    return Input(p, slot, heads, length, width, graph);
  };
  const GraphTensor q = input(CudnnSlot::kQ, p.heads, p.queries, p.widths[0]);
  const GraphTensor k = input(CudnnSlot::kK, p.kv_heads, p.keys, p.widths[1]);
  const GraphTensor v = input(CudnnSlot::kV, p.kv_heads, p.keys, p.widths[2]);
  if (!p.gradient) {
    auto attributes = AttributesFor<frontend::graph::SDPA_attributes>(p, graph);
    attributes.set_name("attention").set_generate_stats(true);
    const auto [y, lse] = graph->sdpa(q, k, v, attributes);
    Output(p, CudnnSlot::kY, p.heads, p.queries, p.heads, y);
    DescribeLse(p, lse.get());
    lse->set_output(true);
    return;
  }
  const GraphTensor y = input(CudnnSlot::kY, p.heads, p.queries, p.heads);
  const GraphTensor dy = input(CudnnSlot::kDy, p.heads, p.queries, p.heads);
  frontend::graph::Tensor_attributes lse;
  DescribeLse(p, &lse);
  auto attributes =
      AttributesFor<frontend::graph::SDPA_backward_attributes>(p, graph);
  attributes.set_name("attention_grad")
      .set_deterministic_algorithm(p.deterministic);
  const auto [dq, dk, dv] =
      graph->sdpa_backward(q, k, v, y, dy, graph->tensor(lse), attributes);
  Output(p, CudnnSlot::kDq, p.heads, p.queries, p.gradient_widths[0], dq);
  Output(p, CudnnSlot::kDk, p.kv_heads, p.keys, p.gradient_widths[1], dk);
  Output(p, CudnnSlot::kDv, p.kv_heads, p.keys, p.gradient_widths[2], dv);
}

}  // namespace

struct CudnnPlan::Graph : FrontendGraph {};

CudnnProblem::CudnnProblem(const Heads& q, const Heads& k, const Heads& v,
                           double scale, const AttentionMask& mask)
    : batch(q.data.dim(0)),
      queries(q.data.dim(1)),
      keys(k.data.dim(1)),
      heads(q.count),
      kv_heads(k.count),
      size(q.data.dim(3)),
      window(mask.window < keys ? mask.window : 0),
      documents(mask.documents.defined()),
      scale(scale),
      widths{q.data.dim(2), k.data.dim(2), v.data.dim(2)} {}

absl::StatusOr<CudnnPlan> CudnnPlan::MakeFor(
    const CudnnProblem& problem, int compute_capability, cudnnHandle_t handle,
    const std::string* device_properties) {
  NW_RETURN_IF_ERROR(LoadCudnn().status());
  CudnnPlan plan(std::make_shared<Graph>());
  Graph& graph = *plan.graph_;
  NW_RETURN_IF_ERROR(NoExceptions([&] {
    MakeGraph(problem, compute_capability, &graph);
    if (device_properties == nullptr) {
      return graph.build(handle, {frontend::HeurMode_t::A});
    }
    const auto device = std::make_shared<frontend::DeviceProperties>();
    const frontend::error_t read = device->deserialize(
        {device_properties->begin(), device_properties->end()});
    if (read.is_bad()) return read;
    graph.set_device_properties(device);
    return graph.build({frontend::HeurMode_t::A});
  }));
  NW_RETURN_IF_ERROR(NoExceptions([&] {
    const frontend::error_t named = graph.get_plan_name(plan.name_);
    if (named.is_bad()) return named;
    return graph.get_workspace_size(plan.workspace_bytes_);
  }));
  return plan;
}

absl::StatusOr<CudnnPlan> CudnnPlan::Make(const CudnnProblem& problem,
                                          int compute_capability,
                                          cudnnHandle_t handle) {
  return MakeFor(problem, compute_capability, handle, nullptr);
}

absl::StatusOr<CudnnPlan> CudnnPlan::MakeWithoutGpu(
    const CudnnProblem& problem, int compute_capability,
    const std::string& device_properties) {
  return MakeFor(problem, compute_capability, nullptr, &device_properties);
}

absl::Status CudnnPlan::Execute(
    cudnnHandle_t handle, const std::unordered_map<CudnnSlot, void*>& pointers,
    void* workspace) const {
  std::unordered_map<int64_t, void*> named;
  for (const auto& [slot, pointer] : pointers) {
    named[static_cast<int64_t>(slot)] = pointer;
  }
  return NoExceptions(
      [&] { return graph_->execute(handle, named, workspace); });
}

absl::StatusOr<DynamicLibrary> LoadCudnn() {
  static const auto* const result = [] {
    auto loaded =
        DynamicLibrary::Load(absl::StrCat("libcudnn.so.", CUDNN_MAJOR));
    if (loaded.ok()) {
      frontend::cudnn_dlhandle = loaded->handle();
      NoteLibraryVersion("cudnn", static_cast<int64_t>(
                                      frontend::detail::get_backend_version()));
    }
    return new absl::StatusOr<DynamicLibrary>(std::move(loaded));
  }();
  return *result;
}

}  // namespace nextword::kernels::cuda
