// Matrix products through cuBLASLt, with what comes before or after them, where
// it has an epilogue for that: bias and residual, GELU and its gradient, the
// gradient of a bias; the scales of eight-bit floats.
//
// The same bits each time, unless the process gives that up (numerics.h): the
// library is asked once per problem, with a fixed workspace, for an algorithm
// that adds up in a fixed order. Of several parts of a sum it may keep floats
// in the workspace, never add to the result itself.
#include <cublasLt.h>

#include <array>
#include <compare>
#include <map>
#include <mutex>
#include <optional>
#include <ostream>
#include <set>
#include <sstream>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "autograd/base/check.h"
#include "autograd/base/log.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/cuda/dynamic_library.h"
#include "autograd/cuda/per_device.h"
#include "autograd/kernels/composed.h"
#include "autograd/kernels/cuda/matmul_layout.h"
#include "autograd/kernels/kernels.h"
#include "autograd/kernels/numerics.h"

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

// What becomes of p = op(a) op(b) + addend.
enum class Epilogue {
  kPlain,     // y = p + bias, a vector [n] of y's dtype. Optional.
  kGelu,      // aux = p + bias, y its gelu_tanh. The bias is optional.
  kGeluGrad,  // y = gelu_tanh_grad(aux, p).
  kBiasGrad,  // y = p, and bias [m], of y's dtype, the sum of a's columns.
};

struct Product {
  const char* op;
  In a;
  bool transpose_a;
  In b;
  bool transpose_b;
  In bias;
  In addend;  // Of y's shape and dtype; may share y's memory. Optional.
  Out y;
  Epilogue epilogue = Epilogue::kPlain;
  Tensor aux = {};  // Of y's shape and dtype.
  Tensor scale_a = {},
         scale_b = {};  // Of eight-bit a and b, which they multiply.
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
        inputs{p.b.dtype(), p.a.dtype()},
        result(p.y->dtype()),
        tf32(p.a.dtype() == DType::kF32 && AllowTf32()),
        deterministic(Deterministic()),
        bias(p.bias.defined()),
        epilogue(p.epilogue),
        alignments{
            Alignment(p.b),  Alignment(p.a),    Alignment(AddendOrResult(p)),
            Alignment(*p.y), Alignment(p.bias), Alignment(p.aux)} {}

  auto operator<=>(const Problem&) const = default;

  bool quantized() const { return IsFloat8(inputs[0]); }

  MatmulLayout layout;
  std::array<DType, 2> inputs;  // The library's A, B.
  DType result;
  bool tf32, deterministic, bias;
  Epilogue epilogue;
  std::array<uint32_t, 6> alignments;  // The library's A, B, C, D; bias, aux.
};

// A problem in the library's terms, and the algorithm for it.
struct Plan {
  cublasLtMatmulDesc_t operation;
  cublasLtMatrixLayout_t first, second, result;
  // None where the library cannot do it.
  std::optional<cublasLtMatmulAlgo_t> algorithm;
};

cudaDataType_t DataType(DType dtype) {
  switch (dtype) {
    case DType::kBF16:
      return CUDA_R_16BF;
    case DType::kE4M3:
      return CUDA_R_8F_E4M3;
    case DType::kE5M2:
      return CUDA_R_8F_E5M2;
    default:
      return CUDA_R_32F;
  }
}

// The products of one device.
class Multiplier {
 public:
  explicit Multiplier(Device device);

  // Queues a product. No size may be 0. False: the library cannot do it.
  bool Multiply(const Product& product, const MatmulLayout& layout);

 private:
  static constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;

  const Plan& PlanFor(const Product& product, const MatmulLayout& layout);
  std::optional<cublasLtMatmulAlgo_t> Choose(const Product& product,
                                             const Problem& problem,
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

// Those besides the matrices.
void SetPointers(const Plan& plan, const Product& product) {
  const auto set = [&](cublasLtMatmulDescAttributes_t attribute, In x) {
    if (!x.defined()) return;
    const void* const pointer = x.raw_data();
    Set(plan.operation, attribute, pointer, product);
  };
  set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, product.bias);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, product.aux);
  set(CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, product.scale_b);
  set(CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, product.scale_a);
}

cublasLtEpilogue_t EpilogueOf(const Problem& problem) {
  switch (problem.epilogue) {
    case Epilogue::kPlain:
      return problem.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    case Epilogue::kGelu:
      return problem.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS
                          : CUBLASLT_EPILOGUE_GELU_AUX;
    case Epilogue::kGeluGrad:
      return CUBLASLT_EPILOGUE_DGELU;
    case Epilogue::kBiasGrad:  // The contract's a is the library's B.
      return CUBLASLT_EPILOGUE_BGRADB;
  }
  return CUBLASLT_EPILOGUE_DEFAULT;
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
  Set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE,
      static_cast<uint32_t>(EpilogueOf(problem)), product);
  if (product.aux.defined()) {
    Set(operation, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD,
        problem.layout.result.rows, product);
  }
  // Of eight-bit floats, sums stay exact (no FAST_ACCUM), also forward.
  if (problem.quantized() && problem.bias) {
    Set(operation, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE,
        static_cast<int32_t>(DataType(product.bias.dtype())), product);
  }
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

std::optional<cublasLtMatmulAlgo_t> Multiplier::Choose(const Product& product,
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
  constexpr uint32_t kInOrder =
      CUBLASLT_REDUCTION_SCHEME_NONE | CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE;
  // In place, parts add up in the result's dtype: none is kept in bf16.
  const bool in_order = problem.deterministic || problem.result != DType::kF32;
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
         in_order ? kInOrder : kInOrder | CUBLASLT_REDUCTION_SCHEME_INPLACE);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, problem.alignments[0]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, problem.alignments[1]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, problem.alignments[2]);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, problem.alignments[3]);
  cublasLtMatmulHeuristicResult_t chosen{};
  int count = 0;
  const cublasStatus_t status = lt_.cublasLtMatmulAlgoGetHeuristic(
      handle_, plan.operation, plan.first, plan.second, plan.result,
      plan.result, preference, 1, &chosen, &count);
  Check(lt_.cublasLtMatmulPreferenceDestroy(preference), product);
  const bool found = status == CUBLAS_STATUS_SUCCESS && count == 1 &&
                     chosen.state == CUBLAS_STATUS_SUCCESS;
  const bool has_another_way =
      problem.epilogue != Epilogue::kPlain || problem.quantized();
  if (!found && has_another_way) return std::nullopt;
  Check(status, product);
  NW_CHECK_EQ(count, 1) << product << ": cuBLASLt has no algorithm";
  Check(chosen.state, product);
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
            .first = make(layout.first, problem.inputs[0]),
            .second = make(layout.second, problem.inputs[1]),
            .result = make(layout.result, problem.result),
            .algorithm = {}};
  // The choice heeds the alignment of these, which it takes from the addresses.
  SetPointers(plan, product);
  plan.algorithm = Choose(product, problem, plan);
  return plans_.emplace(problem, plan).first->second;
}

bool Multiplier::Multiply(const Product& product, const MatmulLayout& layout) {
  const cudaStream_t stream = StreamOf(device_);
  const float alpha = 1, beta = product.addend.defined() ? 1 : 0;
  const std::lock_guard<std::mutex> lock(mutex_);
  const Plan& plan = PlanFor(product, layout);
  if (!plan.algorithm.has_value()) return false;
  SetPointers(plan, product);
  Check(
      lt_.cublasLtMatmul(handle_, plan.operation, &alpha, product.b.raw_data(),
                         plan.first, product.a.raw_data(), plan.second, &beta,
                         AddendOrResult(product).raw_data(), plan.result,
                         product.y->raw_data(), plan.result, &*plan.algorithm,
                         workspace_.raw_data(),
                         static_cast<size_t>(kWorkspaceBytes), stream),
      product);
  if (SynchronousLaunches()) NW_CUDA_CHECK(cudaStreamSynchronize(stream));
  return true;
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

MatmulLayout CheckedLayout(const Product& p) {
  const DType in = p.a.dtype(), out = p.y->dtype();
  const bool quantized = IsFloat8(in) && IsFloat8(p.b.dtype()) &&
                         (out == DType::kF32 || out == DType::kBF16);
  NW_CHECK(quantized ||
           ((in == DType::kF32 || in == DType::kBF16) && p.b.dtype() == in &&
            (out == in || out == DType::kF32)))
      << p << " on a GPU";
  NW_CHECK(p.b.device() == p.a.device() && p.y->device() == p.a.device())
      << p << ", on " << p.a.device() << ", " << p.b.device() << " and "
      << p.y->device();
  return LayoutMatmul(p.op, p.a, p.transpose_a, p.b, p.transpose_b, *p.y);
}

void Run(const Product& p) {
  const MatmulLayout layout = CheckedLayout(p);
  if (p.y->numel() == 0) return;
  if (layout.depth == 0) return AddAddends(p);
  PerDevice<Multiplier>(p.y->device()).Multiply(p, layout);
}

// Runs a product with an epilogue, or returns that others have to, because it
// is empty, or the library has none for it.
bool RunFused(const Product& p) {
  const MatmulLayout layout = CheckedLayout(p);
  if (p.y->numel() == 0 || layout.depth == 0) return false;
  // The library wants whole packs in aux's rows.
  const bool aligned = !p.aux.defined() || layout.result.rows % 8 == 0;
  if (aligned && PerDevice<Multiplier>(p.y->device()).Multiply(p, layout)) {
    return true;
  }
  static auto* const mutex = new std::mutex;
  static auto* const said = new std::set<std::string>;
  const std::lock_guard<std::mutex> lock(*mutex);
  if (said->insert(absl::StrCat(p.op, " ", DTypeName(p.y->dtype()))).second) {
    std::ostringstream product;
    product << p;
    Log::warn(
        "{} runs as several kernels, which is slower: cuBLASLt has none "
        "for {}",
        p.op, product.str());
  }
  return false;
}

void Matmul(In a, bool ta, In b, bool tb, bool add, Out y) {
  NW_CHECK(!add || y->dtype() == DType::kF32)
      << "matmul: sums are not kept in " << y->dtype();
  Run({"matmul", a, ta, b, tb, Tensor(), add ? *y : Tensor(), y});
}

void Linear(In x, In w, In bias, In residual, Out y) {
  NW_CHECK(!bias.defined() || bias.shape() == Shape({w.dim(0)}))
      << "linear with weight " << w << " and bias " << bias;
  NW_CHECK(!residual.defined() ||
           (residual.shape() == y->shape() && residual.dtype() == y->dtype()))
      << "linear into " << *y << " with residual " << residual;
  Run({"linear", x, false, w, true,
       bias.defined() ? Cast(bias, y->dtype()) : Tensor(), residual, y});
}

void LinearGeluTanh(In x, In w, In bias, Out pre, Out y) {
  const Tensor narrow = bias.defined() ? Cast(bias, y->dtype()) : Tensor();
  if (!RunFused({"linear_gelu_tanh", x, false, w, true, narrow, Tensor(), y,
                 Epilogue::kGelu, *pre})) {
    composed::LinearGeluTanh(x, w, bias, pre, y);
  }
}

void LinearGrad(In dy, In x, bool add, Out dw, Out db) {
  NW_CHECK(!add || dw->dtype() == DType::kF32)
      << "linear_grad: sums are not kept in " << dw->dtype();
  const bool fused = db->defined() && db->dtype() == dw->dtype() &&
                     RunFused({"linear_grad", dy, true, x, false, *db,
                               add ? *dw : Tensor(), dw, Epilogue::kBiasGrad});
  if (!fused) composed::LinearGrad(dy, x, add, dw, db);
}

void LinearGeluTanhGrad(In dy, In w, In pre, Out dpre) {
  if (!RunFused({"linear_gelu_tanh_grad", dy, false, w, false, Tensor(),
                 Tensor(), dpre, Epilogue::kGeluGrad, pre})) {
    composed::LinearGeluTanhGrad(dy, w, pre, dpre);
  }
}

// The library takes a bias in bf16 only, perhaps not beside an addend, and both
// matrices by rows.
void MatmulQuantized(In a, In scale_a, In b, In scale_b, In bias, In addend,
                     Out y) {
  const auto run = [&](In narrow, In with) {
    return RunFused({"matmul_quantized", a, false, b, true, narrow, with, y,
                     Epilogue::kPlain, Tensor(), scale_a, scale_b});
  };
  if (run(bias.defined() ? Cast(bias, DType::kBF16) : Tensor(), addend)) return;
  if (bias.defined()) {
    Tensor both = EmptyLike(*y);
    add.AsPart(addend.defined() ? addend : ZerosLike(*y),
               Cast(bias, y->dtype()), &both);
    if (run(Tensor(), both)) return;
  }
  composed::MatmulQuantized(a, scale_a, b, scale_b, bias, addend, y);
}

[[maybe_unused]] const bool registered =
    matmul.Register(DeviceType::kCuda, Matmul) &&
    linear.Register(DeviceType::kCuda, Linear) &&
    linear_gelu_tanh.Register(DeviceType::kCuda, LinearGeluTanh) &&
    linear_grad.Register(DeviceType::kCuda, LinearGrad) &&
    linear_gelu_tanh_grad.Register(DeviceType::kCuda, LinearGeluTanhGrad) &&
    matmul_quantized.Register(DeviceType::kCuda, MatmulQuantized) &&
    RegisterDeviceCheck(DeviceType::kCuda,
                        [](int /*index*/) { return Load().status(); });

}  // namespace
}  // namespace nextword::kernels::cuda
