// Collectives between ranks: the tree's bits, whatever the sizes, and errors
// instead of hangs. Each rank is a thread with connections of its own.
#include "distributed/collectives/communicator.h"

#include <functional>
#include <latch>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "autograd/kernels/kernels.h"
#include "tests/testing.h"
#include "tests/testing_world.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// Of such different sizes that every order of adding them has other bits.
Tensor DataOf(int rank, int64_t numel, DType dtype = DType::kF32) {
  Tensor data = Cast(RandomNormal({numel}, 70 + rank), DType::kF64);
  double* const values = data.data<double>();
  for (int64_t i = 0; i < numel; ++i) {
    values[i] *= static_cast<double>(1 + (i * 7 + rank * 13) % 1000) / 3.0;
  }
  return Cast(data, dtype);
}

Tensor SumOfTree(int begin, int end, int64_t numel, DType dtype) {
  if (end - begin == 1) return DataOf(begin, numel, dtype);
  const int middle = (begin + end) / 2;
  const Tensor left = SumOfTree(begin, middle, numel, dtype);
  Tensor sum = EmptyLike(left);
  kernels::add(left, SumOfTree(middle, end, numel, dtype), &sum);
  return sum;
}

// From nothing to more than one unit for each of eight ranks.
constexpr int64_t kSizes[] = {1, 100, kPieceUnit, 3 * kPieceUnit + 5,
                              20 * kPieceUnit + 1};

TEST(PiecesTest, CoverTheBufferInUnits) {
  for (int64_t numel : {int64_t{0}, int64_t{1}, kPieceUnit, kPieceUnit + 1,
                        10 * kPieceUnit + 7}) {
    for (int world_size : {1, 2, 3, 8}) {
      int64_t end = 0;
      for (int rank = 0; rank < world_size; ++rank) {
        const Piece piece = PieceOf(numel, world_size, rank);
        EXPECT_EQ(piece.begin, end);
        EXPECT_GE(piece.size(), 0);
        if (piece.end < numel) {
          EXPECT_EQ(piece.end % kPieceUnit, 0);
        }
        end = piece.end;
      }
      EXPECT_EQ(end, numel);
    }
  }
}

TEST(CommunicatorTest, AllReduceHasTheBitsOfTheTree) {
  for (const int ranks : {2, 4, 8}) {
    for (const DType dtype : {DType::kF32, DType::kF64}) {
      InWorld(ranks, [&](Communicator* communicator) {
        for (const int64_t size : kSizes) {
          const Tensor data = DataOf(communicator->rank(), size, dtype);
          ASSERT_TRUE(communicator->AllReduce(data, "sum").Wait().ok());
          EXPECT_THAT(data, HasBitsOf(SumOfTree(0, ranks, size, dtype)));
        }
      });
    }
  }
}

TEST(CommunicatorTest, AnotherOrderWouldHaveOtherBits) {
  Tensor sum = DataOf(0, 1000);
  for (int rank = 1; rank < 8; ++rank) {
    kernels::accumulate(DataOf(rank, 1000), &sum);
  }
  EXPECT_THAT(sum, Not(HasBitsOf(SumOfTree(0, 8, 1000, DType::kF32))));
}

TEST(CommunicatorTest, ReduceScatterLeavesThePieceOfARank) {
  InWorld(4, [](Communicator* communicator) {
    for (const int64_t size : kSizes) {
      const Tensor data = DataOf(communicator->rank(), size);
      ASSERT_TRUE(communicator->ReduceScatter(data, "sum").Wait().ok());
      const Tensor wanted = Zeros({size}, DType::kF32);
      const Piece piece = PieceOf(size, 4, communicator->rank());
      const Tensor sum = SumOfTree(0, 4, size, DType::kF32);
      if (piece.size() > 0) {
        Tensor mine = wanted.View(piece.begin, {piece.size()});
        kernels::copy(sum.View(piece.begin, {piece.size()}), &mine);
      }
      EXPECT_THAT(data, HasBitsOf(wanted));
    }
  });
}

TEST(CommunicatorTest, AllGatherTakesEachPieceFromItsRank) {
  InWorld(4, [](Communicator* communicator) {
    for (const int64_t size : kSizes) {
      const Tensor data = Zeros({size}, DType::kF32);
      Tensor wanted = Zeros({size}, DType::kF32);
      for (int rank = 0; rank < 4; ++rank) {
        const Piece piece = PieceOf(size, 4, rank);
        if (piece.size() == 0) continue;
        Tensor part = wanted.View(piece.begin, {piece.size()});
        kernels::fill(&part, rank + 1.0);
        if (rank != communicator->rank()) continue;
        Tensor mine = data.View(piece.begin, {piece.size()});
        kernels::fill(&mine, rank + 1.0);
      }
      ASSERT_TRUE(communicator->AllGather(data, "gather").Wait().ok());
      EXPECT_THAT(data, HasBitsOf(wanted));
    }
  });
}

TEST(CommunicatorTest, BroadcastAndGather) {
  InWorld(4, [](Communicator* communicator) {
    const int rank = communicator->rank();
    for (int root = 0; root < 4; ++root) {
      const Tensor data = DataOf(rank, 1000);
      ASSERT_TRUE(communicator->Broadcast(data, root, "copy").Wait().ok());
      EXPECT_THAT(data, HasBitsOf(DataOf(root, 1000)));
    }
    const Tensor rows = Empty({4, 3}, DType::kI32);
    const Tensor row = FromVector<int32_t>({rank, rank * rank, 7}, {3});
    ASSERT_TRUE(communicator->Gather(row, rows, "gather").Wait().ok());
    EXPECT_EQ(ToVector<int32_t>(rows),
              (std::vector<int32_t>{0, 0, 7, 1, 1, 7, 2, 4, 7, 3, 9, 7}));
  });
}

TEST(CommunicatorTest, RunsInOrderWhileTheCallerGoesOn) {
  InWorld(2, [](Communicator* communicator) {
    Tensor data = Empty({40 * kPieceUnit}, DType::kF32);
    kernels::fill(&data, 1.0);
    std::vector<Work> works;
    for (int i = 0; i < 10; ++i) {
      works.push_back(communicator->AllReduce(data, "sum"));
    }
    for (const Work& work : works) ASSERT_TRUE(work.Wait().ok());
    EXPECT_EQ(data.data<float>()[0], 1024);
    EXPECT_GT(communicator->busy(), absl::ZeroDuration());
    EXPECT_GT(communicator->waited(), absl::ZeroDuration());
    const absl::Duration waited = communicator->waited();
    ASSERT_TRUE(works.back().Wait().ok());  // It is over.
    EXPECT_LT(communicator->waited() - waited, absl::Milliseconds(100));
  });
}

// What nobody has waited for is finished all the same.
TEST(CommunicatorTest, EndsAfterWhatIsUnderWay) {
  std::vector<Tensor> data;
  for (int rank = 0; rank < 4; ++rank) {
    data.push_back(DataOf(rank, 60 * kPieceUnit));
  }
  InWorld(4, [&](Communicator* communicator) {
    communicator->AllReduce(data[communicator->rank()], "sum");
    communicator->Barrier("end").IgnoreError();
    for (int i = 0; i < 5; ++i) {
      communicator->AllGather(data[communicator->rank()], "gather");
    }
  });
  for (const Tensor& each : data) {
    EXPECT_THAT(each, HasBitsOf(SumOfTree(0, 4, 60 * kPieceUnit, DType::kF32)));
  }
}

TEST(CommunicatorTest, SendsWhatARingSends) {
  constexpr int64_t kSize = 64 * kPieceUnit;
  for (const int ranks : {2, 4, 8}) {
    InWorld(ranks, [&](Communicator* communicator) {
      const Tensor data = DataOf(communicator->rank(), kSize);
      const int64_t before = communicator->bytes_sent();
      ASSERT_TRUE(communicator->AllReduce(data, "sum").Wait().ok());
      EXPECT_EQ(communicator->bytes_sent() - before,
                2 * (ranks - 1) * (kSize / ranks) * int64_t{sizeof(float)});
    });
  }
}

TEST(CommunicatorTest, ABarrierHoldsUntilAllAreThere) {
  std::atomic<int> arrived = 0;
  InWorld(4, [&](Communicator* communicator) {
    ++arrived;
    ASSERT_TRUE(communicator->Barrier("start").ok());
    EXPECT_EQ(arrived, 4);
  });
}

TEST(CommunicatorTest, ARankThatIsGoneIsAnError) {
  // Whoever left while others still connect would be missed by these.
  std::latch all_connected(4);
  InWorld(4, [&](Communicator* communicator) {
    all_connected.arrive_and_wait();
    if (communicator->rank() == 2) return;  // Closes its connections.
    const Tensor data = DataOf(communicator->rank(), 100 * kPieceUnit);
    const absl::Status status =
        communicator->AllReduce(data, "all-reduce").Wait();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("all-reduce"));
    // And stays one.
    EXPECT_FALSE(communicator->Barrier("again").ok());
  });
}

TEST(CommunicatorTest, ARankThatIsLateIsAnError) {
  absl::Notification over;
  WorldOptions options;
  options.timeout = absl::Milliseconds(300);
  InWorld(
      2,
      [&](Communicator* communicator) {
        if (communicator->rank() == 1) {
          over.WaitForNotification();
          return;
        }
        const Tensor data = DataOf(0, 100 * kPieceUnit);
        const absl::Status status =
            communicator->AllReduce(data, "all-reduce").Wait();
        EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
        over.Notify();
      },
      options);
}

TEST(CommunicatorTest, AloneThereIsNothingToDo) {
  const Tensor data = DataOf(0, 100);
  EXPECT_TRUE(Alone()->AllReduce(data, "sum").Wait().ok());
  EXPECT_THAT(data, HasBitsOf(DataOf(0, 100)));
  const Tensor rows = Empty({1, 100}, DType::kF32);
  EXPECT_TRUE(Alone()->Gather(data, rows, "gather").Wait().ok());
  EXPECT_THAT(rows, HasBitsOf(data.Reshape({1, 100})));
  EXPECT_TRUE(Alone()->Barrier("start").ok());
  EXPECT_EQ(Alone()->bytes_sent(), 0);
}

}  // namespace
}  // namespace nextword
