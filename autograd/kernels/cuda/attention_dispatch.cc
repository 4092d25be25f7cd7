// Attention on a GPU: by cuDNN where it can, else by the plain kernels, which
// can all that the contract asks for and are slower. NEXTWORD_ATTENTION=plain
// or cudnn in the environment takes one of them only.
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "autograd/base/check.h"
#include "autograd/base/log.h"
#include "autograd/kernels/cuda/cudnn_attention.h"
#include "autograd/kernels/cuda/plain_attention.h"
#include "autograd/kernels/kernels.h"

namespace nextword::kernels::cuda {
namespace {

enum class Choice { kBest, kPlain, kCudnn };

Choice ChoiceFromEnvironment() {
  static const Choice choice = [] {
    const char* const value = std::getenv("NEXTWORD_ATTENTION");
    const std::string name = value == nullptr ? "" : value;
    if (name == "plain") return Choice::kPlain;
    if (name == "cudnn") return Choice::kCudnn;
    NW_CHECK(name.empty()) << "NEXTWORD_ATTENTION=" << name
                           << ": wants plain or cudnn, or nothing at all";
    return Choice::kBest;
  }();
  return choice;
}

// Says, once per reason, that the plain kernel runs instead of cuDNN's.
void LogPlain(const char* op, const absl::Status& reason) {
  static auto* const mutex = new std::mutex;
  static auto* const said = new std::set<std::string>;
  const std::string message(reason.message());
  const std::lock_guard<std::mutex> lock(*mutex);
  if (!said->insert(message).second) return;
  Log::warn("{} runs the plain kernel on the GPU, which is slower: {}", op,
            message);
}

// Calls `cudnn`, which returns a status, or else `plain`, as chosen.
template <typename F, typename G>
void Dispatch(const char* op, const F& cudnn, const G& plain) {
  const Choice choice = ChoiceFromEnvironment();
  if (choice == Choice::kPlain) return plain();
  const absl::Status status = cudnn();
  if (status.ok()) return;
  NW_CHECK(choice == Choice::kBest)
      << op << ": NEXTWORD_ATTENTION=cudnn, but " << status.message();
  LogPlain(op, status);
  plain();
}

void Attention(const Heads& q, const Heads& k, const Heads& v, double scale,
               const AttentionMask& mask, Out y, Out lse) {
  NW_CHECK(scale > 0) << "attention: scale " << scale;
  Dispatch(
      "attention", [&] { return CudnnAttention(q, k, v, scale, mask, y, lse); },
      [&] { PlainAttention(q, k, v, scale, mask, y, lse); });
}

void AttentionGrad(const Heads& q, const Heads& k, const Heads& v, In y, In lse,
                   In dy, double scale, const AttentionMask& mask,
                   const Heads& dq, const Heads& dk, const Heads& dv) {
  Dispatch(
      "attention_grad",
      [&] {
        return CudnnAttentionGrad(q, k, v, y, lse, dy, scale, mask, dq, dk, dv);
      },
      [&] {
        PlainAttentionGrad(q, k, v, y, lse, dy, scale, mask, dq, dk, dv);
      });
}

[[maybe_unused]] const bool registered =
    attention.Register(DeviceType::kCuda, Attention) &&
    attention_grad.Register(DeviceType::kCuda, AttentionGrad);

}  // namespace
}  // namespace nextword::kernels::cuda
