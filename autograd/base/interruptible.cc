#include "autograd/base/interruptible.h"

#include "autograd/base/stop.h"

namespace nextword {

thread_local InterruptibleScope* InterruptibleScope::current_ = nullptr;

InterruptibleScope::InterruptibleScope(bool enabled) : outer_(current_) {
  current_ = enabled ? this : nullptr;
}

bool InterruptibleScope::IsInterrupted() {
  // Once it is, it stays so: half of a pass is of no use.
  interrupted_ = interrupted_ || StopRequested();
  return interrupted_;
}

}  // namespace nextword
