#include "tools/commands/coordinator_options.h"

#include <cmath>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nextword {
void CoordinatorOptions::AddTo(CLI::App& command) {
  command
      .add_option("--heartbeat-timeout", heartbeat_timeout,
                  "A rank without a sign of life for so long is given up")
      ->type_name("SECONDS")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  command
      .add_option("--start-timeout", start_timeout,
                  "How long ranks wait for the coordinator and for each other")
      ->type_name("SECONDS")
      ->check(CLI::Range(1.0, 1e6))
      ->capture_default_str();
  command
      .add_option("--phase-timeout", phase_timeouts,
                  "A rank that stays in one phase (data read, all-reduce, ...) "
                  "for longer counts as stuck: of all phases, 1800 if not "
                  "given, or of one; 0 for never, as for data open, which "
                  "may tokenize; may be repeated")
      ->type_name("[PHASE=]SECONDS")
      ->allow_extra_args(false);
  CLI::Option* const certificate =
      command
          .add_option("--tls-certificate", tls_certificate,
                      "The coordinator's certificate, PEM; node 0 alone")
          ->type_name("FILE");
  CLI::Option* const key =
      command.add_option("--tls-key", tls_key, "Its key, PEM")
          ->type_name("FILE")
          ->needs(certificate);
  certificate->needs(key);
}

std::vector<std::string> CoordinatorOptions::Arguments() const {
  std::vector<std::string> arguments = {
      "--heartbeat-timeout", absl::StrCat(heartbeat_timeout), "--start-timeout",
      absl::StrCat(start_timeout)};
  for (const std::string& timeout : phase_timeouts) {
    arguments.insert(arguments.end(), {"--phase-timeout", timeout});
  }
  if (!tls_certificate.empty()) {
    arguments.insert(arguments.end(), {"--tls-certificate", tls_certificate,
                                       "--tls-key", tls_key});
  }
  return arguments;
}

absl::StatusOr<Coordinator::Options> CoordinatorOptions::Resolve() const {
  Coordinator::Options options;
  options.heartbeat_timeout = absl::Seconds(heartbeat_timeout);
  options.start_timeout = absl::Seconds(start_timeout);
  options.tls_certificate_file = tls_certificate;
  options.tls_key_file = tls_key;
  options.phase_deadlines = DefaultPhaseDeadlines();
  for (const std::string& timeout : phase_timeouts) {
    const absl::string_view text = timeout;
    const size_t equals = text.rfind('=');
    const bool of_all = equals == absl::string_view::npos;
    double seconds;
    if (!absl::SimpleAtod(of_all ? text : text.substr(equals + 1), &seconds) ||
        !std::isfinite(seconds) || seconds < 0 || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--phase-timeout: is \"", timeout,
          "\", wanted SECONDS or PHASE=SECONDS, for instance 'data read=60'"));
    }
    if (of_all) {
      options.phase_deadlines.others = absl::Seconds(seconds);
    } else {
      options.phase_deadlines.by_phase[std::string(text.substr(0, equals))] =
          absl::Seconds(seconds);
    }
  }
  return options;
}

}  // namespace nextword
