// Matrix products through cuBLASLt, with bias and residual added on the way.
//
// The same bits each time: the library is asked once per problem, with a fixed
// workspace, for an algorithm that adds up in a fixed order. Of several parts
// of a sum it may keep floats in the workspace, never add to the result itself.
#include <cublasLt.h>

#include <array>
#include <compare>
#include <map>
#include <mutex>
#include <ostream>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/cuda/dynamic_library.h"
#include "autograd/cuda/per_device.h"
#include "autograd/kernels/cuda/matmul_layout.h"
#include "autograd/kernels/kernels.h"
#include "autograd/kernels/matmul_precision.h"

namespace nextword::kernels::cuda {
namespace {

// What is used of the library.
struct CublasLt {
  explicit CublasLt(const DynamicLibrary& library) : library(library) {
    NoteLibraryVersion("cublaslt", static_cast<int64_t>(cublasLtGetVersion()));
  }

  const DynamicLibrary library;
  NW_LIBRARY_FUNCTION(library, cublasLtCreate);
  NW_LIBRARY_FUNCTION(library, cublasLtGetStatusName);
  NW_LIBRARY_FUNCTION(library, cublasLtGetStatusString);
  NW_LIBRARY_FUNCTION(library, cublasLtGetVersion);
  NW_LIBRARY_FUNCTION(library, cublasLtMatmul);
  NW_LIBRARY_FUNCTION(library, cublasLtMatmulAlgoGetHeuristic);
  NW_LIBRARY_FUNCTION(library, cublasLtMatmulDescCreate);
  NW_LIBRARY_FUNCTION(library, cublasLtMatmulDescSetAttribute);
  NW_LIBRARY_FUNCTION(library, cublasLtMatmulPreferenceCreate);
  NW_LIBRARY_FUNCTION(library, cublasLtMatmulPreferenceDestroy);
  NW_LIBRARY_FUNCTION(library, cublasLtMatmulPreferenceSetAttribute);
  NW_LIBRARY_FUNCTION(library, cublasLtMatrixLayoutCreate);
  NW_LIBRARY_FUNCTION(library, cublasLtMatrixLayoutSetAttribute);
};

absl::StatusOr<DynamicLibrary> Load() {
  return DynamicLibrary::Load(
      absl::StrCat("libcublasLt.so.", CUBLAS_VER_MAJOR));
}

const CublasLt& Library() {
  static const auto* const library = [] {
    const auto loaded = Load();
    NW_CHECK(loaded.ok()) << loaded.status().message();
    return new CublasLt(*loaded);
  }();
  return *library;
}

// CHECKs that a call of the library, for `what`, succeeded.
template <typename What>
void Check(cublasStatus_t status, const What& what) {
  NW_CHECK(status == CUBLAS_STATUS_SUCCESS)
      << what << ": cuBLASLt: " << Library().cublasLtGetStatusName(status)
      << ", " << Library().cublasLtGetStatusString(status);
}

// y = op(a) op(b) + bias + addend.
struct Product {
  const char* op;
  In a;
  bool transpose_a;
  In b;
  bool transpose_b;
  In bias;    // [n] of y's dtype, to each row. Optional.
  In addend;  // Of y's shape and dtype; may share y's memory. Optional.
  Out y;
};

std::ostream& operator<<(std::ostream& out, const Product& p) {
  return out << p.op << ": " << p.a << (p.transpose_a ? " transposed" : "")
             << " times " << p.b << (p.transpose_b ? " transposed" : "")
             << " into " << *p.y;
}

constexpr uintptr_t kMostAlignment = 256;

// Bytes, a power of two, that the address of x is a multiple of.
uint32_t Alignment(In x) {
  if (!x.defined()) return kMostAlignment;
  const uintptr_t bits =
      reinterpret_cast<uintptr_t>(x.raw_data()) | kMostAlignment;
  return static_cast<uint32_t>(bits & -bits);
}

In AddendOrResult(const Product& p) {
  return p.addend.defined() ? p.addend : *p.y;
}

// All that the choice of an algorithm depends on.
struct Problem {
  Problem(const Product& p, const MatmulLayout& layout)
      : layout(layout),
        inputs(p.a.dtype()),
        result(p.y->dtype()),
        tf32(p.a.dtype() == DType::kF32 && AllowTf32()),
        bias(p.bias.defined()),
        alignments{Alignment(p.b), Alignment(p.a), Alignment(AddendOrResult(p)),
                   Alignment(*p.y), Alignment(p.bias)} {}

  auto operator<=>(const Problem&) const = default;

  MatmulLayout layout;
  DType inputs, result;
  bool tf32, bias;
  std::array<uint32_t, 5> alignments;  // The library's A, B, C, D; bias.
};

// A problem in the library's terms, and the algorithm for it.
struct Plan {
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t first, second, result;
  cublasLtMatmulAlgo_t algorithm;
};

cudaDataType_t DataType(DType dtype) {
  return dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F;
}

// The products of one device.
class Multiplier {
 public:
  explicit Multiplier(Device device);

  // Queues a product. No size may be 0.
  void Multiply(const Product& product, const MatmulLayout& layout);

 private:
  static constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;

  const Plan& PlanFor(const Product& product, const MatmulLayout& layout);
  cublasLtMatmulAlgo_t Choose(const Product& product, const Problem& problem,
                              const Plan& plan) const;

  const Device device_;
  const CublasLt& lt_;
  cublasLtHandle_t handle_ = nullptr;
  // A product in parts is two kernels, between which no other may come and use
  // the workspace; and a plan is told of its bias by each call.
  std::mutex mutex_;
  const Tensor workspace_;
  std::map<Problem, Plan> plans_;
};

Multiplier::Multiplier(Device device)
    : device_(device),
      lt_(Library()),
      workspace_(Empty({kWorkspaceBytes / 4}, DType::kF32, device)) {
  StreamOf(device_);  // Makes the device current: the handle will be its.
  Check(lt_.cublasLtCreate(&handle_), device_);
}

template <typename T>
void Set(cublasLtMatmulDesc_t operation,
         cublasLtMatmulDescAttributes_t attribute, const T& value,
         const Product& product) {
  Check(Library().cublasLtMatmulDescSetAttribute(operation, attribute, &value,
                                                 sizeof(value)),
        product);
}

void SetBias(const Plan& plan, const Product& product) {
  const void* const bias = product.bias.raw_data();
  Set(plan.operation, CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias, product);
}

cublasLtMatmulDesc_t MakeOperation(const Product& product,
                                   const Problem& problem) {
  cublasLtMatmulDesc_t operation = nullptr;
  Check(Library().cublasLtMatmulDescCreate(
            &operation,
            problem.tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F,
            CUDA_R_32F),
        product);
  const auto transpose = [](const StoredMatrix& m) -> int32_t {
    return m.transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
  };
  Set(operation, CUBLASLT_MATMUL_DESC_TRANSA, transpose(problem.layout.first),
      product);
  Set(operation, CUBLASLT_MATMUL_DESC_TRANSB, transpose(problem.layout.second),
      product);
  const uint32_t epilogue =
      problem.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  Set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue, product);
  return operation;
}

cublasLtMatrixLayout_t MakeLayout(const StoredMatrix& matrix, int64_t batch,
                                  DType dtype, const Product& product) {
  cublasLtMatrixLayout_t layout = nullptr;
  Check(Library().cublasLtMatrixLayoutCreate(
            &layout, DataType(dtype), static_cast<uint64_t>(matrix.rows),
            static_cast<uint64_t>(matrix.columns), matrix.rows),
        product);
  const auto set = [&](cublasLtMatrixLayoutAttribute_t attribute, auto value) {
    Check(Library().cublasLtMatrixLayoutSetAttribute(layout, attribute, &value,
                                                     sizeof(value)),
          product);
  };
  set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, static_cast<int32_t>(batch));
  set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, matrix.batch_stride);
  return layout;
}

cublasLtMatmulAlgo_t Multiplier::Choose(const Product& product,
                                        const Problem& problem,
                                        const Plan& plan) const {
  cublasLtMatmulPreference_t preference = nullptr;
  Check(lt_.cublasLtMatmulPreferenceCreate(&preference), product);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute,
                          auto value) {
    Check(lt_.cublasLtMatmulPreferenceSetAttribute(preference, attribute,
                                                   &value, sizeof(value)),
          product);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
         static_cast<uint64_t>(kWorkspaceBytes));
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         static_cast<uint32_t>(CUBLASLT_REDUCTION_SCHEME_NONE |
                               CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.alignments[0]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.alignments[1]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.alignments[2]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.alignments[3]);
  cublasLtMatmulHeuristicResult_t chosen{};
  int count = 0;
  Check(lt_.cublasLtMatmulAlgoGetHeuristic(
            handle_, plan.operation, plan.first, plan.second, plan.result,
            plan.result, preference, 1, &chosen, &count),
        product);
  NW_CHECK_EQ(count, 1) << product << ": cuBLASLt has no algorithm";
  Check(chosen.state, product);
  Check(lt_.cublasLtMatmulPreferenceDestroy(preference), product);
  return chosen.algo;
}

const Plan& Multiplier::PlanFor(const Product& product,
                                const MatmulLayout& layout) {
  const Problem problem(product, layout);
  const auto found = plans_.find(problem);
  if (found != plans_.end()) return found->second;
  const auto make = [&](const StoredMatrix& matrix, DType dtype) {
    return MakeLayout(matrix, layout.batch, dtype, product);
  };
  Plan plan{.operation = MakeOperation(product, problem),
            .first = make(layout.first, problem.inputs),
            .second = make(layout.second, problem.inputs),
            .result = make(layout.result, problem.result),
            .algorithm = {}};
  // The choice heeds the bias's alignment, which it takes from its address.
  if (problem.bias) SetBias(plan, product);
  plan.algorithm = Choose(product, problem, plan);
  return plans_.emplace(problem, plan).first->second;
}

void Multiplier::Multiply(const Product& product, const MatmulLayout& layout) {
  const cudaStream_t stream = StreamOf(device_);
  const float alpha = 1, beta = product.addend.defined() ? 1 : 0;
  const std::lock_guard<std::mutex> lock(mutex_);
  const Plan& plan = PlanFor(product, layout);
  if (product.bias.defined()) SetBias(plan, product);
  Check(
      lt_.cublasLtMatmul(handle_, plan.operation, &alpha, product.b.raw_data(),
                         plan.first, product.a.raw_data(), plan.second, &beta,
                         AddendOrResult(product).raw_data(), plan.result,
                         product.y->raw_data(), plan.result, &plan.algorithm,
                         workspace_.raw_data(),
                         static_cast<size_t>(kWorkspaceBytes), stream),
      product);
  if (SynchronousLaunches()) NW_CUDA_CHECK(cudaStreamSynchronize(stream));
}

// bias + addend: what remains of a product over nothing.
void AddAddends(const Product& p) {
  if (p.bias.defined()) {
    add(p.addend.defined() ? p.addend : ZerosLike(*p.y), p.bias, p.y);
  } else if (!p.addend.defined()) {
    fill(p.y, 0);
  } else if (p.addend.raw_data() != p.y->raw_data()) {
    copy(p.addend, p.y);
  }
}

void Run(const Product& p) {
  const DType in = p.a.dtype(), out = p.y->dtype();
  NW_CHECK((in == DType::kF32 || in == DType::kBF16) && p.b.dtype() == in &&
           (out == in || out == DType::kF32))
      << p << " on a GPU";
  NW_CHECK(p.b.device() == p.a.device() && p.y->device() == p.a.device())
      << p << ", on " << p.a.device() << ", " << p.b.device() << " and "
      << p.y->device();
  const MatmulLayout layout =
      LayoutMatmul(p.op, p.a, p.transpose_a, p.b, p.transpose_b, *p.y);
  if (p.y->numel() == 0) return;
  if (layout.depth == 0) return AddAddends(p);
  PerDevice<Multiplier>(p.y->device()).Multiply(p, layout);
}

void Matmul(In a, bool ta, In b, bool tb, bool add, Out y) {
  NW_CHECK(!add || y->dtype() == DType::kF32)
      << "matmul: sums are not kept in " << y->dtype();
  Run({"matmul", a, ta, b, tb, Tensor(), add ? *y : Tensor(), y});
}

void Linear(In x, In w, In bias, In residual, Out y) {
  NW_CHECK(!bias.defined() || bias.shape() == Shape({w.dim(0)}))
      << "linear with weight " << w << " and bias " << bias;
  NW_CHECK(!residual.defined() || residual.shape() == y->shape())
      << "linear into " << *y << " with residual " << residual;
  // The library adds what has the result's dtype.
  const bool fused = residual.defined() && residual.dtype() == y->dtype();
  Run({"linear", x, false, w, true,
       bias.defined() ? Cast(bias, y->dtype()) : Tensor(),
       fused ? residual : Tensor(), y});
  if (residual.defined() && !fused) accumulate(residual, y);
}

[[maybe_unused]] const bool registered =
    matmul.Register(DeviceType::kCuda, Matmul) &&
    linear.Register(DeviceType::kCuda, Linear) &&
    RegisterDeviceCheck(DeviceType::kCuda,
                        [](int /*index*/) { return Load().status(); });

}  // namespace
}  // namespace nextword::kernels::cuda
