// Safetensors: what is written, what is read, and what is refused.
#include "distributed/safetensors.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "autograd/base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Tensor Zeros(const Shape& shape, DType dtype) {
  const Tensor tensor = Empty(shape, dtype);
  std::memset(tensor.raw_data(), 0, tensor.size_bytes());
  return tensor;
}

std::string TestPath() {
  return absl::StrCat(
      testing::TempDir(), "/",
      testing::UnitTest::GetInstance()->current_test_info()->name(),
      ".safetensors");
}

std::string Write(const std::vector<NamedTensor>& tensors,
                  const std::map<std::string, std::string>& metadata = {}) {
  std::string bytes;
  const absl::Status status =
      WriteSafetensors(tensors, metadata, [&](absl::string_view part) {
        bytes.append(part.data(), part.size());
        return absl::OkStatus();
      });
  EXPECT_TRUE(status.ok()) << status;
  return bytes;
}

absl::StatusOr<SafetensorsFile> Open(const std::string& bytes) {
  EXPECT_TRUE(WriteFileAtomically(TestPath(), bytes).ok());
  return SafetensorsFile::Open(TestPath());
}

std::string LengthBytes(uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes;
}

// A file of this header and `data_size` bytes of elements.
std::string FileOf(const std::string& header, size_t data_size) {
  return LengthBytes(header.size()) + header + std::string(data_size, '\1');
}

// The error that opening gives.
std::string ErrorOf(const std::string& bytes) {
  const absl::Status status = Open(bytes).status();
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(status.message(), HasSubstr(TestPath()));
  return std::string(status.message());
}

template <typename T>
std::vector<T> ReadBack(const SafetensorsFile& file, const std::string& name,
                        const Shape& shape) {
  Tensor tensor = Empty(shape, DTypeOf<T>::value);
  const absl::Status status = file.Read(name, &tensor);
  EXPECT_TRUE(status.ok()) << status;
  return ToVector<T>(tensor);
}

TEST(Safetensors, WritesTheDocumentedBytes) {
  const std::string bytes =
      Write({{"w", FromVector<float>({1.0f, -2.0f}, {2, 1})}});
  std::string header =
      R"({"w":{"data_offsets":[0,8],"dtype":"F32","shape":[2,1]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(bytes, LengthBytes(header.size()) + header +
                       std::string("\x00\x00\x80\x3f\x00\x00\x00\xc0", 8));
}

TEST(Safetensors, RoundTripsEveryDTypeToTheBit) {
  const float inf = std::numeric_limits<float>::infinity();
  Tensor halves = Empty({3}, DType::kBF16);
  halves.data<BFloat16>()[0] = BFloat16(1.5f);
  halves.data<BFloat16>()[1] = BFloat16(-0.0f);
  halves.data<BFloat16>()[2] = BFloat16(3e38f);
  const Shape matrix = {2, 3};
  const auto file =
      Open(Write({{"half", halves},
                  {"int", FromVector<int32_t>({-1, 2147483647, 0}, {3, 1})},
                  {"empty", Empty({0, 5}, DType::kF32)},
                  {"scalar", FromVector<float>({0.1f}, {})},
                  {"double", FromVector<double>({1e-300, 0.1}, {2})},
                  {"a.name with \"quotes\" \n \xc3\xa9",
                   FromVector<float>({1, 2, 3, -0.0f, inf, 1e-45f}, matrix)}},
                 {{"key", "value"}, {"\xe2\x82\xac", ""}}));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->entries().size(), 6);
  EXPECT_EQ(file->metadata(), (std::map<std::string, std::string>{
                                  {"key", "value"}, {"\xe2\x82\xac", ""}}));
  EXPECT_THAT(
      ReadBack<float>(*file, "a.name with \"quotes\" \n \xc3\xa9", matrix),
      ElementsAre(1, 2, 3, -0.0f, inf, 1e-45f));
  EXPECT_THAT(ReadBack<int32_t>(*file, "int", {3, 1}),
              ElementsAre(-1, 2147483647, 0));
  EXPECT_THAT(ReadBack<double>(*file, "double", {2}), ElementsAre(1e-300, 0.1));
  EXPECT_THAT(ReadBack<float>(*file, "scalar", {}), ElementsAre(0.1f));
  EXPECT_THAT(ReadBack<float>(*file, "empty", {0, 5}), ElementsAre());
  Tensor read = EmptyLike(halves);
  ASSERT_TRUE(file->Read("half", &read).ok());
  EXPECT_EQ(std::memcmp(read.raw_data(), halves.raw_data(), 6), 0);
}

TEST(Safetensors, AlignsEveryTensor) {
  const std::string bytes = Write({{"a", Zeros({3}, DType::kBF16)},
                                   {"b", Zeros({1}, DType::kF64)},
                                   {"c", Zeros({1}, DType::kF32)}});
  const auto file = Open(bytes);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->entries().at("b").begin, 0);
  EXPECT_EQ(file->entries().at("c").begin, 8);
  EXPECT_EQ(file->entries().at("a").begin, 12);
  uint64_t header;
  std::memcpy(&header, bytes.data(), 8);
  EXPECT_EQ(header % 8, 0);
}

TEST(Safetensors, WritesThroughAFileWriter) {
  auto writer = FileWriter::Create(TestPath());
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE(
      WriteSafetensors(*writer, {{"x", Zeros({4}, DType::kF32)}}, {}).ok());
  ASSERT_TRUE(writer->SyncAndClose().ok());
  EXPECT_EQ(*ReadFile(TestPath()), Write({{"x", Zeros({4}, DType::kF32)}}));
}

TEST(Safetensors, PassesOnTheSinksError) {
  const std::vector<NamedTensor> tensors = {{"x", Zeros({4}, DType::kF32)}};
  EXPECT_EQ(WriteSafetensors(tensors, {},
                             [](absl::string_view) {
                               return absl::ResourceExhaustedError("full");
                             })
                .code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(Safetensors, RefusesNamesThatAreNoText) {
  const std::vector<NamedTensor> tensors = {{"\xff", Zeros({1}, DType::kF32)}};
  const absl::Status status = WriteSafetensors(
      tensors, {}, [](absl::string_view) { return absl::OkStatus(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
}

TEST(Safetensors, ReadingTellsWhatDiffers) {
  const auto file = Open(Write({{"wte.weight", Zeros({2, 3}, DType::kF32)}}));
  ASSERT_TRUE(file.ok()) << file.status();
  Tensor other = Zeros({3, 2}, DType::kF32);
  EXPECT_THAT(file->Read("wte.weight", &other).message(),
              AllOf(HasSubstr(TestPath()),
                    HasSubstr("tensor wte.weight is F32[2, 3], wanted "
                              "F32[3, 2]")));
  EXPECT_THAT(file->Check("wte.weight", DType::kBF16, {2, 3}).message(),
              HasSubstr("is F32[2, 3], wanted BF16[2, 3]"));
  EXPECT_THAT(file->Check("wte.wieght", DType::kF32, {2, 3}).message(),
              HasSubstr("has no tensor wte.wieght; did you mean wte.weight?"));
}

TEST(Safetensors, KnowsDTypesThatItCannotRead) {
  const auto file = Open(
      FileOf(R"({"x":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT(file->Check("x", DType::kBF16, {2}).message(),
              HasSubstr("is F16[2], wanted BF16[2]"));
}

// Every prefix of a good file is refused, and no bit of its header may flip
// without an error or a change that keeps every tensor inside the file.
TEST(Safetensors, RefusesEveryTruncationAndSurvivesEveryFlip) {
  const std::string good = Write(
      {{"a", Zeros({3}, DType::kF32)}, {"b", Zeros({2, 2}, DType::kBF16)}});
  for (size_t size = 0; size < good.size(); ++size) {
    ErrorOf(good.substr(0, size));
  }
  ErrorOf(good + "x");
  const size_t data_size = 20;
  for (size_t bit = 0; bit < 8 * (good.size() - data_size); ++bit) {
    std::string bad = good;
    bad[bit / 8] ^= static_cast<char>(1 << (bit % 8));
    const auto file = Open(bad);
    if (!file.ok()) continue;
    for (const auto& [name, entry] : file->entries()) {
      EXPECT_LE(entry.begin, entry.end);
      EXPECT_LE(entry.end, data_size);
    }
  }
}

TEST(Safetensors, RefusesHostileHeaders) {
  const auto tensor = [](const std::string& shape, const std::string& offsets) {
    return absl::StrCat(R"({"dtype":"F32","shape":)", shape,
                        R"(,"data_offsets":)", offsets, "}");
  };
  const std::string fine = tensor("[2]", "[0,8]");
  EXPECT_THAT(ErrorOf(""), HasSubstr("has 0 bytes, wanted 8 or more"));
  EXPECT_THAT(ErrorOf(LengthBytes(UINT64_MAX) + "{}"),
              HasSubstr("has a header of 18446744073709551615 bytes, wanted at "
                        "most 2"));
  EXPECT_THAT(ErrorOf(FileOf("[1]", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf(FileOf("{", 0)), HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf(FileOf("{\"\xff\":1}", 0)),
              HasSubstr("not a JSON object"));
  EXPECT_THAT(ErrorOf(FileOf(std::string(100000, '['), 0)),
              HasSubstr("not a JSON object"));
  EXPECT_THAT(
      ErrorOf(FileOf(absl::StrCat("{\"x\":", fine, ",\"x\":", fine, "}"), 8)),
      HasSubstr("has x twice"));
  EXPECT_THAT(ErrorOf(FileOf(R"({"__metadata__":{"a":1}})", 0)),
              HasSubstr("not an object of strings"));
  const struct {
    std::string entry;
    const char* error;
  } kCases[] = {
      {"1", "tensor x has no dtype"},
      {R"({"dtype":"F31","shape":[],"data_offsets":[0,0]})",
       "unknown dtype F31"},
      {R"({"dtype":"F32","data_offsets":[0,8]})", "has no shape"},
      {R"({"dtype":"F32","shape":[2]})", "has no data_offsets"},
      {tensor("[-2]", "[0,8]"), "has no shape"},
      {tensor("[2.0]", "[0,8]"), "has no shape"},
      {tensor("[18446744073709551615]", "[0,8]"), "has no shape"},
      {tensor("[4294967296,4294967296]", "[0,8]"), "too large for memory"},
      {tensor("[4611686018427387904]", "[0,8]"), "too large for memory"},
      {tensor("[4611686018427387904,4,0]", "[0,0]"), "too large for memory"},
      {tensor("[2]", "[0]"), "has no data_offsets"},
      {tensor("[2]", "[8,0]"), "lies at [8,0], wanted 8 bytes"},
      {tensor("[3]", "[0,8]"), "lies at [0,8], wanted 12 bytes"},
      {tensor("[2]", "[4,12]"), "starts at byte 4, wanted 0"},
      {tensor("[4]", "[0,16]"), "has 8 bytes of elements, wanted 16"},
      {tensor("[1]", "[0,4]"), "has 8 bytes of elements, wanted 4"},
      {absl::StrCat(fine, ",\"y\":", tensor("[1]", "[4,8]")),
       "tensor y starts at byte 4, wanted 8"},
      {absl::StrCat(tensor("[1]", "[0,4]"), ",\"y\":", tensor("[0]", "[6,6]")),
       "tensor y starts at byte 6, wanted 4"},
  };
  for (const auto& [entry, error] : kCases) {
    EXPECT_THAT(ErrorOf(FileOf(absl::StrCat("{\"x\":", entry, "}"), 8)),
                HasSubstr(error))
        << entry;
  }
}

TEST(SafetensorsDeathTest, TwoTensorsOfOneNameAreOurMistake) {
  const std::vector<NamedTensor> tensors(2, {"x", Zeros({1}, DType::kF32)});
  EXPECT_DEATH(Write(tensors), "two tensors named x");
}

}  // namespace
}  // namespace nextword
