// Collectives between GPUs, by NCCL.
//
// They run on a stream of the communicator's, beside the model's: each waits on
// the GPU for what the model's stream had been given when it was asked for, and
// its Work is over when the GPU is done with it, so that a peer that is gone
// becomes an error and not a stream that never ends.
#include <cuda_runtime.h>
#include <nccl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "autograd/base/check.h"
#include "autograd/base/status.h"
#include "autograd/cuda/cuda_check.h"
#include "autograd/cuda/cuda_device.h"
#include "autograd/cuda/dynamic_library.h"
#include "autograd/tensor/tensor.h"
#include "distributed/collectives/communicator.h"
#include "distributed/collectives/connect.h"

namespace nextword {
namespace {

struct Nccl {
  explicit Nccl(const DynamicLibrary& library) : library(library) {
    int version = 0;
    if (ncclGetVersion(&version) == ncclSuccess) {
      NoteLibraryVersion("nccl", version);
    }
  }

  const DynamicLibrary library;
  NW_LIBRARY_FUNCTION(library, ncclGetUniqueId);
  NW_LIBRARY_FUNCTION(library, ncclGetVersion);
  NW_LIBRARY_FUNCTION(library, ncclCommInitRank);
  NW_LIBRARY_FUNCTION(library, ncclCommAbort);
  NW_LIBRARY_FUNCTION(library, ncclCommGetAsyncError);
  NW_LIBRARY_FUNCTION(library, ncclGetLastError);
  NW_LIBRARY_FUNCTION(library, ncclGetErrorString);
  NW_LIBRARY_FUNCTION(library, ncclGroupStart);
  NW_LIBRARY_FUNCTION(library, ncclGroupEnd);
  NW_LIBRARY_FUNCTION(library, ncclSend);
  NW_LIBRARY_FUNCTION(library, ncclRecv);
  NW_LIBRARY_FUNCTION(library, ncclBroadcast);
  NW_LIBRARY_FUNCTION(library, ncclAllGather);
};

absl::StatusOr<const Nccl*> LoadNccl() {
  static const auto* const result = [] {
    const auto loaded =
        DynamicLibrary::Load(absl::StrCat("libnccl.so.", NCCL_MAJOR));
    return loaded.ok() ? new absl::StatusOr<const Nccl*>(new Nccl(*loaded))
                       : new absl::StatusOr<const Nccl*>(loaded.status());
  }();
  return *result;
}

// What the GPU has come to in a stream. Thread-safe.
class Event {
 public:
  explicit Event(cudaStream_t stream) {
    NW_CUDA_CHECK(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming));
    NW_CUDA_CHECK(cudaEventRecord(event_, stream));
  }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void HoldBack(cudaStream_t stream) const {
    NW_CUDA_CHECK(cudaStreamWaitEvent(stream, event_, 0));
  }
  bool HasPassed() const {
    const cudaError_t error = cudaEventQuery(event_);
    if (error == cudaErrorNotReady) return false;
    NW_CUDA_CHECK(error);
    return true;
  }

 private:
  cudaEvent_t event_;
};

class NcclCommunicator : public Communicator {
 public:
  NcclCommunicator(const ConnectOptions& options, const Nccl& nccl,
                   ncclComm_t comm)
      : Communicator(options.rank, options.world_size),
        device_(options.device),
        timeout_(options.timeout),
        nccl_(nccl),
        comm_(comm) {
    StreamOf(device_);  // Makes the device current.
    NW_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  }

  ~NcclCommunicator() override {
    Finish();
    nccl_.ncclCommAbort(comm_);
    NW_CUDA_CHECK(cudaStreamDestroy(stream_));
  }

 private:
  std::shared_ptr<const void> Now() override {
    return std::make_shared<Event>(StreamOf(device_));
  }

  absl::Status Begin(const std::shared_ptr<const void>& now) override {
    UseStream(device_, stream_);
    static_cast<const Event*>(now.get())->HoldBack(stream_);
    return absl::OkStatus();
  }

  // Until the GPU is done, or no longer will be.
  absl::Status End() override {
    const Event done(stream_);
    const absl::Time deadline = absl::Now() + timeout_;
    while (!done.HasPassed()) {
      ncclResult_t error = ncclSuccess;
      nccl_.ncclCommGetAsyncError(comm_, &error);
      if (error != ncclSuccess && error != ncclInProgress) return Error(error);
      if (absl::Now() > deadline) {
        return absl::UnavailableError(
            absl::StrCat("timed out after ", absl::FormatDuration(timeout_)));
      }
      std::this_thread::sleep_for(std::chrono::microseconds(20));
    }
    return absl::OkStatus();
  }

  absl::Status DoAllToAll(const Tensor& send, Tensor* receive) override {
    const int64_t mine = receive->size_bytes() / world_size();
    CountBytes(send.size_bytes() - mine);
    char* const from = static_cast<char*>(send.raw_data());
    char* const to = static_cast<char*>(receive->raw_data());
    const int64_t size = send.size_bytes() / std::max<int64_t>(1, send.numel());
    return Group([&](int peer) {
      const Piece piece = PieceOf(send.numel(), world_size(), peer);
      NW_RETURN_IF_ERROR(
          Check(nccl_.ncclSend(from + piece.begin * size, piece.size() * size,
                               ncclChar, peer, comm_, stream_)));
      return Check(nccl_.ncclRecv(to + peer * mine, mine, ncclChar, peer, comm_,
                                  stream_));
    });
  }

  absl::Status DoAllGather(Tensor* data,
                           const std::vector<int64_t>& sizes) override {
    const int64_t size =
        data->size_bytes() / std::max<int64_t>(1, data->numel());
    CountBytes((world_size() - 1) * sizes[rank()] * size);
    char* at = static_cast<char*>(data->raw_data());
    return Group([&](int root) {
      const int64_t bytes = sizes[root] * size;
      char* const piece = std::exchange(at, at + bytes);
      return Check(nccl_.ncclBroadcast(piece, piece, bytes, ncclChar, root,
                                       comm_, stream_));
    });
  }

  absl::Status DoBroadcast(Tensor* data, int root) override {
    if (rank() == root) CountBytes(data->size_bytes());
    const Tensor here = ToGpu(*data);
    NW_RETURN_IF_ERROR(Check(
        nccl_.ncclBroadcast(here.raw_data(), here.raw_data(), here.size_bytes(),
                            ncclChar, root, comm_, stream_)));
    return Back(here, data);
  }

  absl::Status DoGather(const Tensor& row, Tensor* rows) override {
    CountBytes((world_size() - 1) * row.size_bytes());
    const Tensor from = ToGpu(row);
    const Tensor to = ToGpu(*rows);
    NW_RETURN_IF_ERROR(Check(nccl_.ncclAllGather(from.raw_data(), to.raw_data(),
                                                 from.size_bytes(), ncclChar,
                                                 comm_, stream_)));
    return Back(to, rows);
  }

  // Numbers such as losses are on the CPU.
  Tensor ToGpu(const Tensor& x) const {
    return x.device() == device_ ? x : ToDevice(x, device_);
  }
  absl::Status Back(const Tensor& from, Tensor* to) {
    if (to->device() == device_) return absl::OkStatus();
    NW_RETURN_IF_ERROR(End());
    const Tensor here = ToDevice(from, Device::Cpu());
    std::memcpy(to->raw_data(), here.raw_data(), to->size_bytes());
    return absl::OkStatus();
  }

  // Calls part(r) for each rank; NCCL does all parts at once.
  template <typename Part>
  absl::Status Group(const Part& part) {
    NW_RETURN_IF_ERROR(Check(nccl_.ncclGroupStart()));
    absl::Status status;
    for (int r = 0; r < world_size() && status.ok(); ++r) status = part(r);
    const absl::Status end = Check(nccl_.ncclGroupEnd());
    return status.ok() ? end : status;
  }

  absl::Status Check(ncclResult_t result) const {
    return result == ncclSuccess ? absl::OkStatus() : Error(result);
  }
  absl::Status Error(ncclResult_t result) const {
    return absl::UnavailableError(
        absl::StrCat("NCCL: ", nccl_.ncclGetErrorString(result), ": ",
                     nccl_.ncclGetLastError(comm_)));
  }

  const Device device_;
  const absl::Duration timeout_;
  const Nccl& nccl_;
  const ncclComm_t comm_;
  cudaStream_t stream_ = nullptr;
};

// The first rank draws the id by which all find each other.
absl::StatusOr<ncclUniqueId> ShareId(const ConnectOptions& options,
                                     const Nccl& nccl, KeyValueStore* store) {
  const std::string key = absl::StrCat("nccl/", options.group, "/id");
  ncclUniqueId id;
  if (options.rank == 0) {
    const ncclResult_t result = nccl.ncclGetUniqueId(&id);
    if (result != ncclSuccess) {
      return absl::UnavailableError(
          absl::StrCat("NCCL has no id: ", nccl.ncclGetErrorString(result)));
    }
    NW_RETURN_IF_ERROR(
        store->Put(key, std::string(id.internal, sizeof id.internal)));
    return id;
  }
  NW_ASSIGN_OR_RETURN(const std::string bytes,
                      store->Get(key, options.start_timeout));
  if (bytes.size() != sizeof id.internal) {
    return absl::InvalidArgumentError(absl::StrCat(
        "NCCL's id has ", bytes.size(), " bytes, wanted ", sizeof id.internal));
  }
  std::memcpy(id.internal, bytes.data(), bytes.size());
  return id;
}

absl::StatusOr<std::unique_ptr<Communicator>> ConnectByNccl(
    const ConnectOptions& options, KeyValueStore* store) {
  NW_ASSIGN_OR_RETURN(const Nccl* const nccl, LoadNccl());
  NW_ASSIGN_OR_RETURN(const ncclUniqueId id, ShareId(options, *nccl, store));
  StreamOf(options.device);  // Makes the device current.
  ncclComm_t comm = nullptr;
  const ncclResult_t result =
      nccl->ncclCommInitRank(&comm, options.world_size, id, options.rank);
  if (result != ncclSuccess) {
    return absl::UnavailableError(absl::StrCat(
        "rank ", options.rank, " cannot connect with the others by NCCL: ",
        nccl->ncclGetErrorString(result), ": ",
        nccl->ncclGetLastError(nullptr)));
  }
  return std::make_unique<NcclCommunicator>(options, *nccl, comm);
}

[[maybe_unused]] const bool registered =
    RegisterConnector(DeviceType::kCuda, ConnectByNccl);

}  // namespace
}  // namespace nextword
