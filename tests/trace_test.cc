// Spans: what is recorded, on which thread, and what the reports make of it.
#include "autograd/base/trace.h"

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "autograd/base/parallel.h"
#include "autograd/base/trace_report.h"
#include "autograd/engine.h"
#include "autograd/kernels/kernels.h"
#include "autograd/ops/arithmetic.h"
#include "autograd/ops/reduction.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "tests/testing_text.h"

namespace nextword {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

void Work(int milliseconds) {
  std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
}

// The sums of one category by name.
std::map<std::string, trace::SpanSum> Sums(const std::string& category) {
  std::map<std::string, trace::SpanSum> sums;
  for (const trace::SpanSum& sum : trace::Summarize()) {
    if (sum.category == category) sums[sum.name] = sum;
  }
  return sums;
}

class TraceTest : public testing::Test {
 protected:
  void TearDown() override {
    trace::Stop();
    SetNumThreads(0);
  }
};

TEST_F(TraceTest, OffRecordsNothing) {
  trace::Start();
  trace::Stop();
  {
    const trace::Span span("test", "off");
    ParallelForEach(8, [](int64_t) {});
  }
  EXPECT_THAT(trace::Summarize(), IsEmpty());
  // Nor is a span half recorded.
  {
    const trace::Span before("test", "before");
    trace::Start();
  }
  {
    const trace::Span open("test", "open");
    trace::Stop();
  }
  EXPECT_THAT(trace::Summarize(), IsEmpty());
}

TEST_F(TraceTest, SelfTimeIsWithoutWhatIsNested) {
  trace::Start();
  {
    const trace::Span outer("test", "outer");
    Work(4);
    for (int i = 0; i < 3; ++i) {
      const trace::Span middle("test", "middle");
      Work(2);
      const trace::Span inner("test", "inner");
      Work(5);
    }
  }
  trace::Stop();
  const auto sums = Sums("test");
  EXPECT_EQ(sums.at("outer").calls, 1);
  EXPECT_EQ(sums.at("middle").calls, 3);
  EXPECT_EQ(sums.at("inner").calls, 3);
  EXPECT_GE(sums.at("outer").seconds, 0.025);
  EXPECT_GE(sums.at("outer").self_seconds, 0.004);
  EXPECT_NEAR(sums.at("outer").self_seconds,
              sums.at("outer").seconds - sums.at("middle").seconds, 1e-9);
  EXPECT_NEAR(sums.at("middle").self_seconds,
              sums.at("middle").seconds - sums.at("inner").seconds, 1e-9);
  EXPECT_EQ(sums.at("inner").self_seconds, sums.at("inner").seconds);
  // The largest self time first.
  std::vector<std::string> names;
  for (const trace::SpanSum& sum : trace::Summarize()) {
    names.push_back(sum.name);
  }
  EXPECT_EQ(names.front(), "inner");
}

TEST_F(TraceTest, SumsTheWorkOfSpans) {
  trace::Start();
  for (int i = 1; i <= 2; ++i) {
    trace::Span span("test", "counted");
    ASSERT_TRUE(span.is_recorded());
    span.SetWork({.flops = 10.0 * i, .bytes = 3e12});
  }
  trace::Stop();
  EXPECT_FALSE(trace::Span("test", "off").is_recorded());
  EXPECT_EQ(Sums("test").at("counted").work.flops, 30);
  EXPECT_EQ(Sums("test").at("counted").work.bytes, 6e12);
  const std::string path = testing::TempDir() + "/work.json";
  ASSERT_TRUE(trace::Write(path).ok());
  const auto json = nlohmann::json::parse(*ReadFile(path));
  EXPECT_EQ(json["traceEvents"].back()["args"],
            nlohmann::json({{"flops", 20}, {"bytes", 3'000'000'000'000}}));
}

// What kernels have to do, by arithmetic of one's own.
TEST_F(TraceTest, KernelsKnowTheirWork) {
  const auto zeros = [](const Shape& shape, DType dtype = DType::kF32) {
    return Zeros(shape, dtype);
  };
  const auto work_of = [](const char* name, const auto& body) {
    trace::Start();
    body();
    trace::Stop();
    const trace::Work work = Sums("kernel").at(name).work;
    return std::pair(work.flops, work.bytes);
  };
  using Pair = std::pair<double, double>;
  Tensor y = zeros({2, 3, 5});
  const Tensor a = zeros({2, 3, 4}), b = zeros({2, 4, 5});
  EXPECT_EQ(work_of("matmul",
                    [&] { kernels::matmul(a, false, b, false, false, &y); }),
            Pair(2 * 2 * 3 * 4 * 5, 4 * (24 + 40 + 30)));
  EXPECT_EQ(
      work_of("matmul", [&] { kernels::matmul(a, false, b, false, true, &y); }),
      Pair(2 * 2 * 3 * 4 * 5, 4 * (24 + 40 + 2 * 30)));
  Tensor line = zeros({7, 5});
  EXPECT_EQ(work_of("linear",
                    [&] {
                      kernels::linear(zeros({7, 4}), zeros({5, 4}), zeros({5}),
                                      line, &line);
                    }),
            Pair(2 * 7 * 4 * 5, 4 * (28 + 20 + 5 + 35 + 35)));
  Tensor narrow = zeros({7, 5}, DType::kBF16);
  EXPECT_EQ(work_of("copy", [&] { kernels::copy(line, &narrow); }),
            Pair(0, (4 + 2) * 35));
  EXPECT_EQ(work_of("accumulate", [&] { kernels::accumulate(narrow, &line); }),
            Pair(0, (2 + 4 + 4) * 35));
  EXPECT_EQ(work_of("accumulate_each",
                    [&] {
                      kernels::accumulate_each({line, a}, {line, a});
                    }),
            Pair(0, 3 * 4 * (35 + 24)));
  // Two of 100 rows.
  Tensor rows = zeros({2, 6});
  Tensor table = zeros({100, 6});
  const Tensor ids = zeros({2}, DType::kI32);
  EXPECT_EQ(
      work_of("embedding", [&] { kernels::embedding(table, ids, &rows); }),
      Pair(0, 4 * (2 + 2 * 12)));
  EXPECT_EQ(work_of("embedding_grad",
                    [&] { kernels::embedding_grad(ids, rows, &table); }),
            Pair(0, 4 * (2 + 12 + 2 * 12)));
  // Queries, keys and values as parts of one tensor: 2 heads of 4, keys of 1.
  const Tensor packed = zeros({1, 6, 4, 8});
  const kernels::Heads q{packed, 0, 2}, k{packed, 2, 1}, v{packed, 3, 1};
  Tensor out = zeros({1, 6, 2, 8}), lse = zeros({1, 2, 6});
  const auto attend = [&](int64_t window) {
    return work_of("attention", [&] {
      kernels::attention(q, k, v, 1, {.window = window}, &out, &lse);
    });
  };
  const double bytes = 4 * (6 * 4 * 8 + 6 * 2 * 8 + 12);
  EXPECT_EQ(attend(0), Pair(2 * 2 * 8 * 2 * (1 + 2 + 3 + 4 + 5 + 6), bytes));
  EXPECT_EQ(attend(3), Pair(2 * 2 * 8 * 2 * (1 + 2 + 3 + 3 + 3 + 3), bytes));
}

TEST_F(TraceTest, StartForgets) {
  trace::Start();
  { const trace::Span span("test", "first"); }
  trace::Start();
  { const trace::Span span("test", "second"); }
  trace::Stop();
  ASSERT_EQ(trace::Summarize().size(), 1);
  EXPECT_EQ(trace::Summarize()[0].name, "second");
}

TEST_F(TraceTest, EachThreadHasALogThatOutlivesIt) {
  constexpr int kThreads = 4;
  constexpr int kSpans = 2000;  // More than a block of a log.
  trace::Start();
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < kSpans; ++i) {
        const trace::Span outer("test", "outer");
        const trace::Span inner("test", "inner");
      }
    });
  }
  // A reader beside the writers sees whole spans.
  for (const trace::ThreadTrace& thread : trace::Collect()) {
    for (const trace::SpanRecord& span : thread.spans) {
      EXPECT_GE(span.duration, span.self);
    }
  }
  for (std::thread& thread : threads) thread.join();
  trace::Stop();
  std::set<int64_t> ids;
  for (const trace::ThreadTrace& thread : trace::Collect()) {
    EXPECT_EQ(thread.spans.size(), 2 * kSpans);
    EXPECT_EQ(thread.dropped, 0);
    EXPECT_NE(thread.name, "main");
    ids.insert(thread.id);
    int64_t end = 0;
    for (const trace::SpanRecord& span : thread.spans) {
      EXPECT_GE(span.start + span.duration, end);
      end = span.start + span.duration;
    }
  }
  EXPECT_EQ(ids.size(), kThreads);
}

TEST_F(TraceTest, WorkersBearTheNameOfTheKernel) {
  SetNumThreads(3);
  trace::Start();
  std::atomic<int> arrived{0};
  {
    const trace::Span span("kernel", "here");
    // Each waits for the others, so that three threads take part.
    ParallelForEach(3, [&](int64_t) {
      ++arrived;
      while (arrived < 3) std::this_thread::yield();
    });
  }
  trace::Stop();
  EXPECT_EQ(Sums("kernel").at("here").calls, 1);
  EXPECT_EQ(Sums("worker").at("here").calls, 2);
  int rows = 0;
  for (const trace::ThreadTrace& thread : trace::Collect()) {
    EXPECT_EQ(thread.spans.size(), 1);
    EXPECT_STREQ(thread.spans[0].category,
                 thread.id == getpid() ? "kernel" : "worker");
    ++rows;
  }
  EXPECT_EQ(rows, 3);
}

TEST_F(TraceTest, KernelsAndOpsOpenSpans) {
  const Variable x(Zeros({3, 5}, DType::kF32), true);
  trace::Start();
  Backward(Sum(Mul(x, x)));
  trace::Stop();
  const auto kernels = Sums("kernel");
  EXPECT_GE(kernels.at("mul").calls, 3);  // Once forward, twice backward.
  EXPECT_EQ(kernels.at("sum_to").calls, 1);
  const auto backward = Sums("backward");
  EXPECT_EQ(backward.at("mul").calls, 1);
  EXPECT_EQ(backward.at("sum").calls, 1);
  EXPECT_LT(backward.at("mul").self_seconds, backward.at("mul").seconds);
}

TEST_F(TraceTest, WritesAChromeTrace) {
  SetNumThreads(2);
  trace::Start();
  {
    const trace::Span outer("test", "outer");
    const trace::Span inner("test", "inner");
    Work(2);
  }
  std::thread([] { const trace::Span span("test", "elsewhere"); }).join();
  trace::Stop();
  const std::string path = FreshDirectory("trace") + "/trace.json";
  ASSERT_TRUE(trace::Write(path).ok());

  const auto json = nlohmann::json::parse(*ReadFile(path));
  std::map<std::string, nlohmann::json> spans;
  std::map<int64_t, std::string> threads;
  for (const auto& event : json.at("traceEvents")) {
    EXPECT_EQ(event.at("pid"), getpid());
    if (event.at("ph") == "X") {
      spans[event.at("name")] = event;
    } else if (event.at("name") == "thread_name") {
      threads[event.at("tid")] = event.at("args").at("name");
    }
  }
  ASSERT_EQ(spans.size(), 3);
  EXPECT_EQ(threads.size(), 2);
  const auto& outer = spans.at("outer");
  const auto& inner = spans.at("inner");
  EXPECT_EQ(threads.at(outer.at("tid")), "main");
  EXPECT_THAT(threads.at(spans.at("elsewhere").at("tid")), HasSubstr("thread"));
  EXPECT_EQ(outer.at("cat"), "test");
  // Microseconds; the inner one lies within the outer one.
  EXPECT_GE(inner.at("dur"), 2000.0);
  EXPECT_LT(inner.at("dur"), 2e6);
  EXPECT_LE(outer.at("ts"), inner.at("ts"));
  EXPECT_GE(double{outer.at("ts")} + double{outer.at("dur")} + 1e-3,
            double{inner.at("ts")} + double{inner.at("dur")});
}

TEST_F(TraceTest, AFileThatCannotBeWrittenIsAnError) {
  const absl::Status status = trace::Write("/proc/nowhere/trace.json");
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr("/proc/nowhere/trace.json"));
}

TEST_F(TraceTest, ASpanThatIsOffCostsNextToNothing) {
  constexpr int kSpans = 10'000'000;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < kSpans; ++i) {
    const trace::Span span("test", "off");
    asm volatile("" ::: "memory");
  }
  const double nanoseconds = std::chrono::duration<double, std::nano>(
                                 std::chrono::steady_clock::now() - start)
                                 .count() /
                             kSpans;
  std::printf("a span while tracing is off: %.2f ns\n", nanoseconds);
  EXPECT_LT(nanoseconds, 50);
}

}  // namespace
}  // namespace nextword
