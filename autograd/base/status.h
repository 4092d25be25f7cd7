// Status macros: hand an error up, or take the value out.
#ifndef NEXTWORD_AUTOGRAD_BASE_STATUS_H_
#define NEXTWORD_AUTOGRAD_BASE_STATUS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "autograd/base/check.h"

// Returns from the enclosing function when `expression` is an error.
#define NW_RETURN_IF_ERROR(expression)     \
  do {                                     \
    absl::Status nw_status = (expression); \
    if (!nw_status.ok()) return nw_status; \
  } while (false)

#define NW_CONCAT_INNER_(a, b) a##b
#define NW_CONCAT_(a, b) NW_CONCAT_INNER_(a, b)

// Assigns the value of a StatusOr to `lhs`, or returns its error.
#define NW_ASSIGN_OR_RETURN(lhs, expression) \
  NW_ASSIGN_OR_RETURN_IMPL_(NW_CONCAT_(nw_or_, __LINE__), lhs, expression)

#define NW_ASSIGN_OR_RETURN_IMPL_(temp, lhs, expression) \
  auto temp = (expression);                              \
  if (!temp.ok()) return std::move(temp).status();       \
  lhs = *std::move(temp)

// For callers that know the expression cannot fail; aborts if it does.
#define NW_CHECK_OK(expression)            \
  do {                                     \
    absl::Status nw_status = (expression); \
    NW_CHECK(nw_status.ok()) << nw_status; \
  } while (false)

#endif  // NEXTWORD_AUTOGRAD_BASE_STATUS_H_
