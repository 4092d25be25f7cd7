// Safetensors: named tensors in one file, the format of Hugging Face.
//
// Layout: 8 bytes with the header's length (little-endian), the header (JSON:
// name -> dtype, shape, data_offsets; padded with spaces to a multiple of 8),
// then the elements, row-major and little-endian, without holes.
// https://huggingface.co/docs/safetensors
#ifndef NEXTWORD_DISTRIBUTED_SAFETENSORS_H_
#define NEXTWORD_DISTRIBUTED_SAFETENSORS_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "autograd/base/file.h"
#include "autograd/tensor/tensor.h"

namespace nextword {

// Takes the bytes of a file in order.
using ByteSink = std::function<absl::Status(absl::string_view)>;

// Hands the elements of a tensor to a sink.
using ElementWriter =
    std::function<absl::Status(const NamedTensor& tensor, const ByteSink&)>;

// Writes `tensors`, which have different names, and `metadata`, any text.
// Elements of larger dtypes come first, so that every tensor is aligned;
// otherwise tensors stay in their order. The same input gives the same bytes.
// With `elements`, tensors may be declared only, and it is called for each in
// the file's order. Errors: the sink's; a name or metadata that is not UTF-8.
absl::Status WriteSafetensors(
    absl::Span<const NamedTensor> tensors,
    const std::map<std::string, std::string>& metadata, const ByteSink& sink,
    const ElementWriter& elements = {});
absl::Status WriteSafetensors(
    FileWriter& file, absl::Span<const NamedTensor> tensors,
    const std::map<std::string, std::string>& metadata);

// A safetensors file open for reading. Opening checks the whole header, so
// that reading cannot leave the file, whatever its bytes. An immutable handle:
// cheap to copy and thread-safe.
class SafetensorsFile {
 public:
  struct Entry {
    // "F32", "BF16", ... The format knows more dtypes than Tensor does.
    std::string dtype_name;
    std::optional<DType> dtype;
    Shape shape;
    size_t begin = 0;  // Of the elements, in bytes from the end of the header.
    size_t end = 0;
  };

  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const;
  const std::map<std::string, Entry>& entries() const;
  const std::map<std::string, std::string>& metadata() const;

  // OK when the file has a tensor `name` of this dtype and shape. Otherwise an
  // error with the file, the tensor, what was seen and what was wanted.
  absl::Status Check(const std::string& name, DType dtype,
                     const Shape& shape) const;

  // Copies the elements of `name` into `into`, whose dtype and shape must be
  // the file's.
  absl::Status Read(const std::string& name, Tensor* into) const;

  // Copies the elements of `name` from number `first` on, as many as the flat
  // tensor `into` has. Error: another dtype, or it has fewer.
  absl::Status ReadPart(const std::string& name, int64_t first,
                        Tensor* into) const;

 private:
  struct State;
  explicit SafetensorsFile(std::shared_ptr<const State> state);

  std::shared_ptr<const State> state_;
};

}  // namespace nextword

#endif  // NEXTWORD_DISTRIBUTED_SAFETENSORS_H_
