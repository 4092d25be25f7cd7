// CHECK: for mistakes of our own code (a shape, a dtype), never of a user's.
//
// A failed check prints file, line, condition and message, then aborts.
// Errors that a user, a disk or a peer can cause are absl::Status instead.
#ifndef NEXTWORD_AUTOGRAD_BASE_CHECK_H_
#define NEXTWORD_AUTOGRAD_BASE_CHECK_H_

#include <sstream>
#include <string>

namespace nextword {

// While one lives, checks that fail on its thread also say what `describe`
// prints, such as the operation that they are a part of. Costs two stores.
class CheckContext {
 public:
  // Calls describe(std::ostream&) when a check fails; `describe` outlives this.
  template <typename F>
  explicit CheckContext(const F& describe)
      : describe_([](const void* f, std::ostream& out) {
          (*static_cast<const F*>(f))(out);
        }),
        what_(&describe),
        outer_(innermost_) {
    innermost_ = this;
  }
  ~CheckContext() { innermost_ = outer_; }
  CheckContext(const CheckContext&) = delete;
  CheckContext& operator=(const CheckContext&) = delete;

  // All that live on this thread, the innermost first, a line each.
  static void DescribeAll(std::ostream& out);

 private:
  static inline thread_local const CheckContext* innermost_ = nullptr;

  void (*const describe_)(const void*, std::ostream&);
  const void* const what_;
  const CheckContext* const outer_;
};

// Collects the message of a failed check; its destructor aborts.
class CheckFailure {
 public:
  CheckFailure(const char* file, int line, const char* condition);
  [[noreturn]] ~CheckFailure();
  CheckFailure(const CheckFailure&) = delete;
  CheckFailure& operator=(const CheckFailure&) = delete;

  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

}  // namespace nextword

#define NW_CHECK(condition) \
  while (!(condition))      \
  [[unlikely]] ::nextword::CheckFailure(__FILE__, __LINE__, #condition).stream()

#define NW_CHECK_OP_(a, op, b) \
  NW_CHECK((a)op(b)) << " (" << (a) << " against " << (b) << ") "

#define NW_CHECK_EQ(a, b) NW_CHECK_OP_(a, ==, b)
#define NW_CHECK_NE(a, b) NW_CHECK_OP_(a, !=, b)
#define NW_CHECK_LT(a, b) NW_CHECK_OP_(a, <, b)
#define NW_CHECK_LE(a, b) NW_CHECK_OP_(a, <=, b)
#define NW_CHECK_GT(a, b) NW_CHECK_OP_(a, >, b)
#define NW_CHECK_GE(a, b) NW_CHECK_OP_(a, >=, b)

#endif  // NEXTWORD_AUTOGRAD_BASE_CHECK_H_
