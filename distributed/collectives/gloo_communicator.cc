#include "distributed/collectives/gloo_communicator.h"

#include <chrono>
#include <exception>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gloo/allgather.h"
#include "gloo/allgatherv.h"
#include "gloo/alltoallv.h"
#include "gloo/broadcast.h"
#include "gloo/rendezvous/context.h"
#include "gloo/rendezvous/store.h"
#include "gloo/transport/tcp/device.h"

namespace nextword {
namespace {

// Gloo reports by exceptions; none leaves this file.
template <typename Body>
absl::Status Guard(const Body& body) {
  try {
    body();
    return absl::OkStatus();
  } catch (const std::exception& error) {
    return absl::UnavailableError(error.what());
  }
}

// Throws what `status` says, to get it through Gloo.
void ThrowIfError(const absl::Status& status) {
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
}

class StoreForGloo : public gloo::rendezvous::Store {
 public:
  StoreForGloo(const ConnectOptions& options, KeyValueStore* store)
      : prefix_(absl::StrCat("gloo/", options.group, "/")),
        store_(store),
        timeout_(options.start_timeout) {}

  void set(const std::string& key, const std::vector<char>& data) override {
    ThrowIfError(
        store_->Put(Prefixed(key), std::string(data.begin(), data.end())));
  }
  std::vector<char> get(const std::string& key) override {
    const auto value = store_->Get(Prefixed(key), timeout_);
    ThrowIfError(value.status());
    return {value->begin(), value->end()};
  }
  void wait(const std::vector<std::string>& keys) override {
    for (const std::string& key : keys) get(key);
  }
  // Gloo's own timeout is a constant; ours is the user's.
  void wait(const std::vector<std::string>& keys,
            const std::chrono::milliseconds&) override {
    wait(keys);
  }

 private:
  std::string Prefixed(const std::string& key) const {
    return absl::StrCat(prefix_, key);
  }

  const std::string prefix_;
  KeyValueStore* const store_;
  const absl::Duration timeout_;
};

using Sizes = std::vector<int64_t>;

class Gloo : public Communicator {
 public:
  Gloo(int rank, int world_size, std::shared_ptr<gloo::Context> context)
      : Communicator(rank, world_size), context_(std::move(context)) {}

  ~Gloo() override {
    Finish();
    Guard([this] { context_->closeConnections(); }).IgnoreError();
  }

 private:
  absl::Status DoAllToAll(const Tensor& send, Tensor* receive) override {
    const int64_t mine = receive->numel() / world_size();
    CountBytes((send.numel() - mine) * ElementSize(send));
    return Guard([&] {
      gloo::AlltoallvOptions options(context_);
      options.setInput(Bytes(send), ByteSizes(send));
      options.setOutput(Bytes(*receive),
                        Sizes(world_size(), mine * ElementSize(send)));
      gloo::alltoallv(options);
    });
  }

  absl::Status DoAllGather(Tensor* data,
                           const std::vector<int64_t>& sizes) override {
    const int64_t size = ElementSize(*data);
    CountBytes((world_size() - 1) * sizes[rank()] * size);
    std::vector<size_t> bytes;
    for (int64_t elements : sizes) {
      bytes.push_back(static_cast<size_t>(elements * size));
    }
    return Guard([&] {
      gloo::AllgathervOptions options(context_);
      options.setOutput(Bytes(*data), bytes);
      gloo::allgatherv(options);
    });
  }

  absl::Status DoBroadcast(Tensor* data, int root) override {
    if (rank() == root) CountBytes(data->size_bytes());
    return Guard([&] {
      gloo::BroadcastOptions options(context_);
      options.setOutput(Bytes(*data), data->size_bytes());
      options.setRoot(root);
      gloo::broadcast(options);
    });
  }

  absl::Status DoGather(const Tensor& row, Tensor* rows) override {
    CountBytes((world_size() - 1) * row.size_bytes());
    return Guard([&] {
      gloo::AllgatherOptions options(context_);
      options.setInput(Bytes(row), row.size_bytes());
      options.setOutput(Bytes(*rows), rows->size_bytes());
      gloo::allgather(options);
    });
  }

  static uint8_t* Bytes(const Tensor& tensor) {
    return static_cast<uint8_t*>(tensor.raw_data());
  }
  static int64_t ElementSize(const Tensor& tensor) {
    return static_cast<int64_t>(DTypeSize(tensor.dtype()));
  }
  Sizes ByteSizes(const Tensor& tensor) const {
    Sizes sizes;
    for (int r = 0; r < world_size(); ++r) {
      sizes.push_back(PieceOf(tensor.numel(), world_size(), r).size() *
                      ElementSize(tensor));
    }
    return sizes;
  }

  const std::shared_ptr<gloo::Context> context_;
};

std::chrono::milliseconds Milliseconds(absl::Duration duration) {
  return std::chrono::milliseconds(absl::ToInt64Milliseconds(duration));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Communicator>> ConnectByGloo(
    const ConnectOptions& options, KeyValueStore* store) {
  std::shared_ptr<gloo::rendezvous::Context> context;
  const absl::Status status = Guard([&] {
    gloo::transport::tcp::attr attributes(options.address.c_str());
    std::shared_ptr<gloo::transport::Device> device =
        gloo::transport::tcp::CreateDevice(attributes);
    context = std::make_shared<gloo::rendezvous::Context>(options.rank,
                                                          options.world_size);
    context->setTimeout(Milliseconds(options.start_timeout));
    StoreForGloo adapter(options, store);
    context->connectFullMesh(adapter, device);
    context->setTimeout(Milliseconds(options.timeout));
  });
  if (!status.ok()) {
    return absl::UnavailableError(absl::StrCat(
        "rank ", options.rank, " at ", options.address,
        " cannot connect with the other ranks: ", status.message()));
  }
  return std::make_unique<Gloo>(options.rank, options.world_size, context);
}

}  // namespace nextword
