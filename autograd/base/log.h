// Logging: spdlog under one name, so that a call site reads `Log::info(...)`.
// The binary sends messages to standard error; standard output is for results.
// Thread-safe.
#ifndef NEXTWORD_AUTOGRAD_BASE_LOG_H_
#define NEXTWORD_AUTOGRAD_BASE_LOG_H_

#include "spdlog/spdlog.h"

namespace nextword {
namespace Log = ::spdlog;
}  // namespace nextword

#endif  // NEXTWORD_AUTOGRAD_BASE_LOG_H_
