#include "autograd/base/hash.h"

#include "absl/strings/str_format.h"
#include "autograd/base/check.h"
#include "xxhash.h"

namespace nextword {

uint64_t Hash64(absl::string_view bytes) {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::string HexDigits(uint64_t hash) { return absl::StrFormat("%016x", hash); }

struct StreamHash::State {
  XXH3_state_t* xxh = XXH3_createState();
  ~State() { XXH3_freeState(xxh); }
};

StreamHash::StreamHash() : state_(std::make_unique<State>()) {
  NW_CHECK(state_->xxh != nullptr) << "out of memory";
  XXH3_64bits_reset(state_->xxh);
}

StreamHash::~StreamHash() = default;

void StreamHash::Update(absl::string_view bytes) {
  XXH3_64bits_update(state_->xxh, bytes.data(), bytes.size());
}

uint64_t StreamHash::Digest() const { return XXH3_64bits_digest(state_->xxh); }

}  // namespace nextword
