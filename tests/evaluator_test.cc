// Loss on held-out text: what is counted, and by what it is divided.
#include "distributed/evaluator.h"

#include <cmath>
#include <string>
#include <vector>

#include "autograd/base/status.h"
#include "autograd/ops/loss.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "tests/testing.h"
#include "tests/testing_models.h"
#include "tests/testing_text.h"

namespace nextword {
namespace {

constexpr int64_t kLength = 20;
constexpr int kDocuments = 9;

class EvaluatorTest : public testing::Test {
 protected:
  static ModelConfig Config() {
    ModelConfig config = LlamaLike();
    config.set_vocab_size(Tokenizer::Bytes().vocab_size());
    return config;
  }

  // Documents of 30, 31, ... bytes, each with its end: 315 tokens.
  static EvaluationSequences Sequences(bool document_mask) {
    const std::string path = FreshDirectory("evaluator") + "/held_out.tokens";
    const Tokenizer tokenizer = Tokenizer::Bytes();
    const auto info = WriteTokenFile(
        path, tokenizer.vocabulary(),
        [&](TokenFileWriter& writer) -> absl::Status {
          for (int i = 0; i < kDocuments; ++i) {
            const std::string text = RandomText(i, 100).substr(0, 30 + i);
            NW_RETURN_IF_ERROR(writer.AddDocument(tokenizer, text));
          }
          return absl::OkStatus();
        });
    NW_CHECK_OK(info.status());
    auto stream = TokenStream::Open({path});
    NW_CHECK_OK(stream.status());
    auto sequences = EvaluationSequences::Create(
        *std::move(stream),
        {.sequence_length = kLength, .document_mask = document_mask});
    NW_CHECK_OK(sequences.status());
    return *std::move(sequences);
  }

  // The losses of the first `count` sequences, one sequence after the other.
  double SumOfLosses(const EvaluationSequences& sequences, uint64_t count) {
    double sum = 0;
    for (uint64_t i = 0; i < count; ++i) {
      Tensor inputs = Empty({1, kLength}, DType::kI32);
      Tensor targets = Empty({1, kLength}, DType::kI32);
      Tensor documents = Empty({1, kLength}, DType::kI32);
      sequences.Get(i, inputs.data<int32_t>(), targets.data<int32_t>(),
                    documents.data<int32_t>());
      const Device device = TestDevice();
      layers::ForwardContext context;
      if (sequences.options().document_mask) {
        context.documents = ToDevice(documents, device);
      }
      const Variable logits(
          LogitsOf(model_, ToDevice(inputs, device), context));
      const Variable losses = CrossEntropy(logits, ToDevice(targets, device));
      for (double loss : ToDoubles(losses.value())) {
        sum += loss;
      }
    }
    return sum;
  }

  const TestModel model_ = TestModel(Config());
};

constexpr int64_t kTokens = 30 * kDocuments + 36 + kDocuments;
constexpr double kBytes = 30 * kDocuments + 36;

TEST_F(EvaluatorTest, EveryTokenButTheFirstIsPredictedOnce) {
  const EvaluationSequences sequences = Sequences(false);
  const double wanted = SumOfLosses(sequences, sequences.size());
  for (const int64_t batch : {1, 3, 100}) {
    const Evaluation evaluation = *Evaluate(
        model_.transformer, sequences, batch, /*max_sequences=*/0, Alone());
    EXPECT_EQ(evaluation.tokens, kTokens - 1);
    EXPECT_EQ(evaluation.bytes, kBytes);
    EXPECT_NEAR(evaluation.nats, wanted, 1e-5 * wanted);
    EXPECT_DOUBLE_EQ(evaluation.loss(), evaluation.nats / (kTokens - 1));
    EXPECT_DOUBLE_EQ(evaluation.perplexity(), std::exp(evaluation.loss()));
    EXPECT_DOUBLE_EQ(evaluation.bits_per_byte(),
                     evaluation.nats / std::log(2) / kBytes);
  }
}

TEST_F(EvaluatorTest, APartCountsItsShareOfTheBytes) {
  const EvaluationSequences sequences = Sequences(false);
  const Evaluation part =
      *Evaluate(model_.transformer, sequences, 2, 5, Alone());
  EXPECT_EQ(part.tokens, 5 * kLength);
  EXPECT_DOUBLE_EQ(part.bytes, kBytes * 5 * kLength / (kTokens - 1));
  const double wanted = SumOfLosses(sequences, 5);
  EXPECT_NEAR(part.nats, wanted, 1e-5 * wanted);
  const Evaluation all =
      *Evaluate(model_.transformer, sequences, 2, 1000, Alone());
  EXPECT_EQ(all.tokens, kTokens - 1);
  EXPECT_EQ(all.bytes, kBytes);
}

// The first token of a document is then not predicted, but its bytes are there.
TEST_F(EvaluatorTest, DocumentMask) {
  const EvaluationSequences sequences = Sequences(true);
  const Evaluation all =
      *Evaluate(model_.transformer, sequences, 3, 0, Alone());
  EXPECT_EQ(all.tokens, kTokens - kDocuments);
  EXPECT_EQ(all.bytes, kBytes);
  const double wanted = SumOfLosses(sequences, sequences.size());
  EXPECT_NEAR(all.nats, wanted, 1e-5 * wanted);
  const Evaluation part =
      *Evaluate(model_.transformer, sequences, 3, 5, Alone());
  EXPECT_LT(part.tokens, 5 * kLength);
  EXPECT_DOUBLE_EQ(part.bytes, kBytes * 5 * kLength / (kTokens - 1));
}

}  // namespace
}  // namespace nextword
