#include "distributed/collectives/communicator.h"

#include <deque>
#include <numeric>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "autograd/base/check.h"
#include "autograd/base/parallel.h"
#include "autograd/base/status.h"
#include "autograd/base/trace.h"
#include "autograd/kernels/kernels.h"
#include "autograd/tensor/memory_label.h"

namespace nextword {
namespace {

// Adds rows along the tree; the sum ends in row 0.
void SumRows(const Tensor& rows) {
  const int64_t count = rows.dim(0);
  for (int64_t distance = 1; distance < count; distance *= 2) {
    for (int64_t i = 0; i + distance < count; i += 2 * distance) {
      Tensor sum = rows.Rows(i, i + 1);
      kernels::accumulate(rows.Rows(i + distance, i + distance + 1), &sum);
    }
  }
}

Tensor ViewOf(const Tensor& data, const Piece& piece) {
  return data.View(piece.begin, {piece.size()});
}

}  // namespace

struct Work::State {
  absl::Notification done;
  absl::Status status;  // Before done: not to be read.
  std::shared_ptr<std::atomic<int64_t>> waited_ns;  // Null where all is done.
};

Work::Work() : state_(std::make_shared<State>()) {}

Work::Work(absl::Status status) : Work() {
  state_->status = std::move(status);
  state_->done.Notify();
}

absl::Status Work::Wait() const {
  if (state_->waited_ns != nullptr) {
    const absl::Time start = absl::Now();
    state_->done.WaitForNotification();
    *state_->waited_ns += absl::ToInt64Nanoseconds(absl::Now() - start);
  }
  return state_->status;
}

// A thread that runs one task after the other.
struct Communicator::Queue {
  Queue() : thread([this] { Run(); }) {}

  // Waits for what was pushed before.
  void Close() {
    {
      const absl::MutexLock lock(&mutex);
      closed = true;
    }
    if (thread.joinable()) thread.join();
  }

  void Push(std::function<void()> task) {
    const absl::MutexLock lock(&mutex);
    tasks.push_back(std::move(task));
  }

  void Run() {
    // The processors are the model's.
    SetNumThreads(1);
    while (true) {
      std::function<void()> task;
      {
        const absl::MutexLock lock(&mutex);
        mutex.Await(absl::Condition(
            +[](Queue* queue) {
              return queue->closed || !queue->tasks.empty();
            },
            this));
        if (tasks.empty()) return;
        task = std::move(tasks.front());
        tasks.pop_front();
      }
      task();
    }
  }

  absl::Mutex mutex;
  std::deque<std::function<void()>> tasks;
  bool closed = false;
  absl::Status broken;  // The first error; of the thread alone.
  Tensor received;      // Of the thread alone; memory that is used again.
  std::thread thread;
};

Communicator::Communicator(int rank, int world_size)
    : rank_(rank), world_size_(world_size) {
  NW_CHECK(0 <= rank && rank < world_size) << rank << " of " << world_size;
  if (world_size > 1) queue_ = std::make_unique<Queue>();
}

Communicator::~Communicator() { Finish(); }

void Communicator::Finish() {
  if (queue_ != nullptr) queue_->Close();
}

Work Communicator::Start(const char* name, std::function<absl::Status()> run) {
  if (queue_ == nullptr) return Work(absl::OkStatus());
  Work work;
  work.state_->waited_ns = waited_ns_;
  queue_->Push([this, name, run = std::move(run), state = work.state_,
                now = Now()]() mutable {
    absl::Status& broken = queue_->broken;
    if (broken.ok()) {
      const trace::Span span("communication", name);
      const absl::Time start = absl::Now();
      absl::Status status = Begin(now);
      if (status.ok()) status = run();
      if (status.ok()) status = End();
      busy_ns_ += absl::ToInt64Nanoseconds(absl::Now() - start);
      if (!status.ok()) {
        broken = absl::Status(status.code(),
                              absl::StrCat(name, ": ", status.message()));
      }
    }
    // What it holds is given up while the caller still holds it, too, and not
    // some time later, by this thread.
    run = nullptr;
    state->status = broken;
    state->done.Notify();
  });
  return work;
}

// Piece rank() of `data` becomes its sum over ranks.
absl::Status Communicator::SumPieces(const Tensor& data) {
  const Piece piece = PieceOf(data.numel(), world_size_, rank_);
  const int64_t needed = world_size_ * piece.size();
  Tensor& memory = queue_->received;
  if (!memory.defined() || memory.numel() < needed ||
      memory.dtype() != data.dtype()) {
    const MemoryLabel label("gradients");
    memory = Tensor();
    memory = Empty({needed}, data.dtype(), data.device());
  }
  Tensor received = memory.View(0, {world_size_, piece.size()});
  NW_RETURN_IF_ERROR(DoAllToAll(data, &received));
  if (piece.size() == 0) return absl::OkStatus();
  SumRows(received);
  Tensor mine = ViewOf(data, piece);
  kernels::copy(received.View(0, {piece.size()}), &mine);
  return absl::OkStatus();
}

void Communicator::AddReplicas(std::unique_ptr<Communicator> replicas) {
  replicas_ = std::move(replicas);
}

int64_t Communicator::bytes_sent() const {
  return bytes_sent_ + (replicas_ == nullptr ? 0 : replicas_->bytes_sent());
}

std::vector<int64_t> Communicator::SizesOf(const Tensor& data) const {
  std::vector<int64_t> sizes;
  for (int r = 0; r < world_size_; ++r) {
    sizes.push_back(PieceOf(data.numel(), world_size_, r).size());
  }
  return sizes;
}

Work Communicator::AllReduce(Tensor data, const char* name) {
  return Start(name, [this, data = std::move(data)]() mutable {
    NW_RETURN_IF_ERROR(SumPieces(data));
    return DoAllGather(&data, SizesOf(data));
  });
}

Work Communicator::ReduceScatter(Tensor data, const char* name) {
  return Start(name, [this, name, data = std::move(data)] {
    NW_RETURN_IF_ERROR(SumPieces(data));
    const Piece mine = PieceOf(data.numel(), world_size_, rank_);
    if (replicas_ != nullptr) {
      NW_RETURN_IF_ERROR(replicas_->AllReduce(ViewOf(data, mine), name).Wait());
    }
    Discard(ViewOf(data, {0, mine.begin}));
    Discard(ViewOf(data, {mine.end, data.numel()}));
    return absl::OkStatus();
  });
}

Work Communicator::AllGather(Tensor data, const char* name) {
  return AllGather(data, SizesOf(data), name);
}

Work Communicator::AllGather(Tensor data, std::vector<int64_t> sizes,
                             const char* name) {
  NW_CHECK(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) ==
               data.numel() &&
           static_cast<int>(sizes.size()) == world_size_)
      << name << ": pieces of " << data;
  return Start(
      name, [this, data = std::move(data), sizes = std::move(sizes)]() mutable {
        return DoAllGather(&data, sizes);
      });
}

Work Communicator::Broadcast(Tensor data, int root, const char* name) {
  NW_CHECK(0 <= root && root < world_size_) << root << " of " << world_size_;
  return Start(name, [this, root, data = std::move(data)]() mutable {
    return DoBroadcast(&data, root);
  });
}

Work Communicator::Gather(Tensor row, Tensor rows, const char* name) {
  NW_CHECK_EQ(rows.numel(), world_size_ * row.numel()) << name;
  if (queue_ == nullptr) {
    Tensor first = rows.View(0, row.shape());
    kernels::copy(row, &first);
    return Work(absl::OkStatus());
  }
  return Start(name,
               [this, row = std::move(row), rows = std::move(rows)]() mutable {
                 return DoGather(row, &rows);
               });
}

absl::Status Communicator::Barrier(const char* name) {
  const Tensor row = Zeros({1}, DType::kF32);
  return Gather(row, Zeros({world_size_}, DType::kF32), name).Wait();
}

namespace {

class Single : public Communicator {
 public:
  Single() : Communicator(0, 1) {}

 private:
  absl::Status DoAllToAll(const Tensor&, Tensor*) override { return Refuse(); }
  absl::Status DoAllGather(Tensor*, const std::vector<int64_t>&) override {
    return Refuse();
  }
  absl::Status DoBroadcast(Tensor*, int) override { return Refuse(); }
  absl::Status DoGather(const Tensor&, Tensor*) override { return Refuse(); }

  static absl::Status Refuse() {
    NW_CHECK(false) << "a world of one rank has nothing to exchange";
    return absl::OkStatus();
  }
};

}  // namespace

Communicator* Alone() {
  static Single* const single = new Single;
  return single;
}

}  // namespace nextword
