// Parsers of files, driven with any bytes: by libFuzzer (run.sh), and by
// tests/fuzz_corpus_test with the files in corpus/ and with mutations of them.
//
// Each function gives `input` to a parser as a file's contents and aborts when
// a promise is broken: an error that does not name the file, a value that
// differs once written and read again. Where chance would never find a right
// checksum, the input is also tried with its checksums put right.
// Not thread-safe: they write to files of the process.
#ifndef NEXTWORD_TESTS_FUZZ_FILE_FUZZ_H_
#define NEXTWORD_TESTS_FUZZ_FILE_FUZZ_H_

#include "absl/strings/string_view.h"

namespace nextword {

enum class FuzzResult {
  kRefused,
  kPartly,  // Some of it, or only once it was put right.
  kAccepted,
};

// A text proto, then overrides of the command line, each after a zero byte.
// Partly: it is read, but not fit to train with.
FuzzResult DriveConfig(absl::string_view input);

// Partly: once the checksum of all of it stands below it.
FuzzResult DriveManifest(absl::string_view input);

// For several last steps. Partly: lines that are none are dropped.
FuzzResult DriveMetrics(absl::string_view input);

// Partly: once its lengths fit, or some of its dtypes are not ours.
FuzzResult DriveSafetensors(absl::string_view input);

// Partly: once its checksums and counts are right.
FuzzResult DriveTokenFile(absl::string_view input);

// Partly: once its fingerprint and size are right.
FuzzResult DriveTokenizer(absl::string_view input);

}  // namespace nextword

#endif  // NEXTWORD_TESTS_FUZZ_FILE_FUZZ_H_
