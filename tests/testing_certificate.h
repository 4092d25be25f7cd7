// Certificates for tests of TLS.
#ifndef NEXTWORD_TESTS_TESTING_CERTIFICATE_H_
#define NEXTWORD_TESTS_TESTING_CERTIFICATE_H_

#include <string>

namespace nextword {

// PEM; self-signed, for 127.0.0.1, valid for an hour.
struct TestCertificate {
  std::string certificate;
  std::string key;
};

// Aborts when it cannot be made. Thread-safe.
TestCertificate MakeTestCertificate();

}  // namespace nextword

#endif  // NEXTWORD_TESTS_TESTING_CERTIFICATE_H_
