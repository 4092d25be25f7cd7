// What token files and loaders need to know of a tokenizer. A plain value.
#ifndef NEXTWORD_DATA_VOCABULARY_H_
#define NEXTWORD_DATA_VOCABULARY_H_

#include <cstdint>

namespace nextword {

struct Vocabulary {
  // Identity of the tokenizer: a hash of its contents.
  uint64_t fingerprint = 0;
  // Token ids are in [0, size).
  int32_t size = 0;
  // The token that ends each document.
  int32_t end_of_text = 0;

  friend bool operator==(const Vocabulary&, const Vocabulary&) = default;
};

}  // namespace nextword

#endif  // NEXTWORD_DATA_VOCABULARY_H_
