// Names for memory, for the message of a device that has run out of it.
#ifndef NEXTWORD_AUTOGRAD_TENSOR_MEMORY_LABEL_H_
#define NEXTWORD_AUTOGRAD_TENSOR_MEMORY_LABEL_H_

namespace nextword {

// While one lives, memory that its thread allocates goes by `name`, a string
// literal; by the innermost one's, if there are several.
class MemoryLabel {
 public:
  explicit MemoryLabel(const char* name) : outer_(current_) { current_ = name; }
  ~MemoryLabel() { current_ = outer_; }
  MemoryLabel(const MemoryLabel&) = delete;
  MemoryLabel& operator=(const MemoryLabel&) = delete;

  // "activations" where nobody says otherwise.
  static const char* current() { return current_; }

 private:
  static inline thread_local const char* current_ = "activations";
  const char* const outer_;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_TENSOR_MEMORY_LABEL_H_
