#include "autograd/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace nextword {

void CheckContext::DescribeAll(std::ostream& out) {
  for (const CheckContext* context = innermost_; context != nullptr;
       context = context->outer_) {
    context->describe_(context->what_, out << "\n  in ");
  }
}

CheckFailure::CheckFailure(const char* file, int line, const char* condition) {
  stream_ << file << ":" << line << ": check failed: " << condition << " ";
}

CheckFailure::~CheckFailure() {
  CheckContext::DescribeAll(stream_);
  std::fprintf(stderr, "%s\n", stream_.str().c_str());
  std::abort();
}

}  // namespace nextword
