// `nextword checkpoint`, and `train` when it is asked to stop, as users see
// them.
#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing_cli.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kStopped = 85;

class CheckpointCommandTest : public CliTest {
 protected:
  // On text.txt, until it says `at`; then the signal.
  Outcome TrainUntil(const std::string& at, int signal,
                     const Arguments& overrides = {}) const {
    Arguments all = overrides;
    all.push_back(Text());
    return Nextword(Train(all), {.kill_at = at, .signal = signal});
  }
};

TEST_F(CheckpointCommandTest, ListsShowsAndPrunes) {
  TrainOnce();
  const Outcome list = Nextword({"checkpoint", "list", Path("run")});
  EXPECT_EQ(list.exit_code, 0) << list.errors;
  EXPECT_THAT(list.output,
              AllOf(HasSubstr("3  "), HasSubstr("6  "), HasSubstr("9  "),
                    HasSubstr("whole"), Not(HasSubstr("damaged"))));
  const Outcome show =
      Nextword({"checkpoint", "show", Path("run"), "--tensors"});
  EXPECT_EQ(show.exit_code, 0) << show.errors;
  EXPECT_THAT(show.output,
              AllOf(HasSubstr("9 of 9"), HasSubstr("held-out loss"),
                    HasSubstr("tokenizer_vocab_size: 300"),
                    HasSubstr("model.safetensors"), HasSubstr("embed.weight"),
                    HasSubstr("F32[300, 32]")));
  const Outcome would = Nextword(
      {"checkpoint", "prune", Path("run"), "--keep", "1", "--dry-run"});
  EXPECT_THAT(would.output, AllOf(HasSubstr("would remove step 3"),
                                  HasSubstr("keeps step 9")));
  EXPECT_TRUE(ReadFile(CheckpointFile("run", 3, "model.safetensors")).ok());
  const Outcome prune = Nextword(
      {"checkpoint", "prune", Path("run"), "--keep", "1", "--keep-every", "6"});
  EXPECT_EQ(prune.exit_code, 0) << prune.errors;
  EXPECT_THAT(prune.output, HasSubstr("keeps step 6: multiple of 6"));
  EXPECT_FALSE(ReadFile(CheckpointFile("run", 3, "model.safetensors")).ok());
  EXPECT_TRUE(ReadFile(CheckpointFile("run", 6, "model.safetensors")).ok());
}

TEST_F(CheckpointCommandTest, VerifiesEveryByte) {
  TrainOnce();
  const Outcome whole = Nextword({"checkpoint", "verify", Path("run")});
  EXPECT_EQ(whole.exit_code, 0) << whole.errors;
  EXPECT_THAT(whole.output, HasSubstr("step-00000009: whole"));
  Damage(CheckpointFile("run", 6, "optimizer.safetensors"));
  ExpectRefusal({"checkpoint", "verify", Path("run")},
                {CheckpointFile("run", 6, "optimizer.safetensors"),
                 "is damaged: its checksum is"});
  // Sizes tell nothing of it.
  EXPECT_THAT(Nextword({"checkpoint", "list", Path("run")}).output,
              Not(HasSubstr("damaged")));
}

TEST_F(CheckpointCommandTest, RefusesWhatIsNone) {
  ExpectRefusal({"checkpoint", "list", Path("nowhere")},
                {"nowhere: is no folder, wanted that of a run"});
  ExpectRefusal({"checkpoint", "list", Path("")},
                {"has no folder checkpoints"});
  ExpectRefusal({"checkpoint", "verify", Path("")}, {"manifest.textproto"});
  ExpectRefusal({"checkpoint", "show", Path("nowhere")}, {"is no folder"});
  EXPECT_NE(Nextword({"checkpoint", "prune", Path("run")}).exit_code, 0);
}

TEST_F(CheckpointCommandTest, KeepsAtLeastOne) {
  const Outcome none =
      Nextword({"checkpoint", "prune", Path("run"), "--keep", "0"});
  EXPECT_NE(none.exit_code, 0);
  EXPECT_THAT(none.errors,
              HasSubstr("--keep: Value 0 not in range 1 to 1000000000\n"));
}

TEST_F(CheckpointCommandTest, ASignalStopsTraining) {
  ASSERT_EQ(Nextword(Train({Text()})).exit_code, 0);
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1}) {
    SCOPED_TRACE(signal);
    const std::string run = absl::StrCat("stopped_", signal);
    const Arguments here = {"run_dir=" + Path(run)};
    const Outcome stopped = TrainUntil("step 4/9", signal, here);
    EXPECT_EQ(stopped.exit_code, kStopped) << stopped.errors;
    EXPECT_THAT(stopped.errors, AllOf(HasSubstr("stopped by SIG"),
                                      HasSubstr("--resume auto goes on")));
    const Outcome resumed =
        Nextword(Train({"run_dir=" + Path(run), Text()}, {"--resume", "auto"}));
    EXPECT_EQ(resumed.exit_code, 0) << resumed.errors;
    EXPECT_THAT(resumed.errors, HasSubstr("resumed from"));
    for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
      EXPECT_TRUE(*ReadFile(CheckpointFile(run, 9, file)) ==
                  *ReadFile(CheckpointFile("run", 9, file)));
    }
  }
}

TEST_F(CheckpointCommandTest, StopsInALongAccumulation) {
  // Whose first step would take hours, and says nothing.
  const Outcome outcome =
      TrainUntil("held_out.tokens: ", SIGTERM, {"batch.micro_batches=1000000"});
  EXPECT_EQ(outcome.exit_code, kStopped) << outcome.errors;
  EXPECT_LT(outcome.seconds, 10);
}

TEST_F(CheckpointCommandTest, StopsWhileItTokenizes) {
  WriteTestFile(Path("text.txt"), RandomText(1, 40'000'000));
  const Outcome outcome = TrainUntil("training a tokenizer", SIGTERM);
  EXPECT_EQ(outcome.exit_code, kStopped) << outcome.errors;
  EXPECT_THAT(outcome.errors, HasSubstr("nextword: stopped by SIGTERM"));
  EXPECT_LT(outcome.seconds, 10);
}

TEST_F(CheckpointCommandTest, StopsAfterATime) {
  Arguments arguments = Train({Text(), "steps=1000000"});
  arguments.insert(arguments.end(), {"--stop-after", "1s"});
  const Outcome outcome = Nextword(arguments);
  EXPECT_EQ(outcome.exit_code, kStopped) << outcome.errors;
  EXPECT_THAT(outcome.errors, HasSubstr("stopped by --stop-after at step"));
  EXPECT_LT(outcome.seconds, 10);
  for (const char* time : {"soon", "-1h", "0s"}) {
    Arguments wrong = Train({Text()});
    wrong.insert(wrong.end(), {"--stop-after", time});
    ExpectRefusal(wrong, {absl::StrCat("--stop-after is ", time), "3h55m"});
  }
}

// A launcher passes the signal on, and takes the stop for no failure.
TEST_F(CheckpointCommandTest, ASignalStopsAJob) {
  Arguments arguments = Train({Text(), "steps=1000000"});
  arguments.insert(arguments.begin(), {"launch", "--nproc", "2", "--"});
  const Outcome outcome =
      Nextword(arguments, {.kill_at = "step 4/", .signal = SIGTERM});
  EXPECT_EQ(outcome.exit_code, kStopped) << outcome.errors;
  EXPECT_THAT(outcome.errors, AllOf(HasSubstr("stopped by SIGTERM at step"),
                                    Not(HasSubstr("starting again"))));
  EXPECT_LT(outcome.seconds, 20);
  Arguments timed =
      Train({Text(), "steps=1000000", "run_dir=" + Path("timed")});
  timed.insert(timed.begin(), {"launch", "--nproc", "2", "--"});
  timed.insert(timed.end(), {"--stop-after", "3s"});
  const Outcome after = Nextword(timed);
  EXPECT_EQ(after.exit_code, kStopped) << after.errors;
  EXPECT_THAT(after.errors, Not(HasSubstr("starting again")));
}

}  // namespace
}  // namespace nextword
