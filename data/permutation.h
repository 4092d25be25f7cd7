// A pseudo-random permutation of [0, size) in constant memory: any element is
// computed on its own. A plain value, thread-safe.
#ifndef NEXTWORD_DATA_PERMUTATION_H_
#define NEXTWORD_DATA_PERMUTATION_H_

#include <cstdint>

namespace nextword {

class Permutation {
 public:
  // `size` in [1, 2^62]. Another key gives another order.
  Permutation(uint64_t size, uint64_t key);

  // The element at `index`, which must be in [0, size).
  uint64_t operator()(uint64_t index) const;

 private:
  uint64_t Scramble(uint64_t value) const;

  uint64_t size_;
  uint64_t key_;
  int half_bits_;
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_PERMUTATION_H_
