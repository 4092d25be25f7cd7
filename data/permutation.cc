#include "data/permutation.h"

#include <bit>

#include "autograd/base/check.h"

namespace nextword {
namespace {

// Luby and Rackoff (1988): four rounds look random if the round function does;
// more make up for short halves.
constexpr int kRounds = 8;

// The finalizer of SplitMix64 (Steele et al., 2014).
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

}  // namespace

Permutation::Permutation(uint64_t size, uint64_t key)
    : size_(size), key_(key), half_bits_((std::bit_width(size - 1) + 1) / 2) {
  NW_CHECK(size >= 1 && size <= uint64_t{1} << 62) << "size " << size;
}

// Scramble permutes a power of four that is at least `size`; walking its cycle
// until a value falls below `size` permutes [0, size) (Black and Rogaway,
// 2002). The power is at most four times the size: a few steps on average.
uint64_t Permutation::operator()(uint64_t index) const {
  NW_CHECK_LT(index, size_);
  do {
    index = Scramble(index);
  } while (index >= size_);
  return index;
}

// A Feistel network: invertible whatever the round function.
uint64_t Permutation::Scramble(uint64_t value) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = value >> half_bits_;
  uint64_t right = value & mask;
  for (uint64_t round = 0; round < kRounds; ++round) {
    const uint64_t mixed = Mix(key_ + Mix(right * kRounds + round)) & mask;
    const uint64_t next = left ^ mixed;
    left = right;
    right = next;
  }
  return left << half_bits_ | right;
}

}  // namespace nextword
