// Work that is left out once there is a request to stop (stop.h): what it would
// give is not going to be used.
#ifndef NEXTWORD_AUTOGRAD_BASE_INTERRUPTIBLE_H_
#define NEXTWORD_AUTOGRAD_BASE_INTERRUPTIBLE_H_

namespace nextword {

// While one lives, and is enabled, kernels that its thread calls compute
// nothing from the first request on: a pass through a model runs to its end in
// no time, with every result undefined and every exchange with other ranks in
// its place.
class InterruptibleScope {
 public:
  explicit InterruptibleScope(bool enabled = true);
  ~InterruptibleScope() { current_ = outer_; }
  InterruptibleScope(const InterruptibleScope&) = delete;
  InterruptibleScope& operator=(const InterruptibleScope&) = delete;

  // Whether anything was left out.
  bool interrupted() const { return interrupted_; }

  // Whether to leave out what this thread is about to compute.
  static bool LeaveOut() {
    return current_ != nullptr && current_->IsInterrupted();
  }

 private:
  bool IsInterrupted();

  static thread_local InterruptibleScope* current_;
  InterruptibleScope* const outer_;
  bool interrupted_ = false;
};

}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_INTERRUPTIBLE_H_
