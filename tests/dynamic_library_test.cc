#include "autograd/cuda/dynamic_library.h"

#include <math.h>
#include <stdlib.h>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nextword {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;

struct Maths {
  explicit Maths(const DynamicLibrary& library) : library(library) {}

  const DynamicLibrary library;
  NW_LIBRARY_FUNCTION(library, j0);
};

TEST(DynamicLibraryTest, FindsTypedFunctions) {
  const auto library = DynamicLibrary::Load("libm.so.6");
  ASSERT_TRUE(library.ok()) << library.status();
  EXPECT_EQ(library->path(), "libm.so.6");
  EXPECT_EQ(Maths(*library).j0(0.0), 1.0);
}

TEST(DynamicLibraryTest, SaysWhereItLookedAndWhatToDo) {
  setenv("CUDA_HOME", "/no/toolkit", 1);
  setenv("XDG_CACHE_HOME", "/no/cache", 1);
  const auto library = DynamicLibrary::Load("libabsent.so.1");
  EXPECT_EQ(library.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(library.status().message(),
              AllOf(HasSubstr("libabsent.so.1 cannot be loaded"),
                    HasSubstr("/no/toolkit/lib64/libabsent.so.1"),
                    HasSubstr("/no/toolkit/lib/libabsent.so.1"),
                    HasSubstr("/no/toolkit/../cudnn/lib/libabsent.so.1"),
                    HasSubstr("/no/cache/nextword/cuda/nvidia/cudnn/lib/"),
                    HasSubstr("CUDA_HOME"), HasSubstr("LD_LIBRARY_PATH")));
}

TEST(LibraryVersionsTest, AreOfWhatWasLoaded) {
  EXPECT_THAT(LibraryVersions(), IsEmpty());
  NoteLibraryVersion("cublaslt", 130002);
  NoteLibraryVersion("cudnn", 91300);
  EXPECT_THAT(LibraryVersions(),
              ElementsAre(Pair("cublaslt", "13.0.2"), Pair("cudnn", "9.13.0")));
}

TEST(DynamicLibraryDeathTest, NamesTheMissingFunction) {
  const auto library = DynamicLibrary::Load("libm.so.6");
  ASSERT_TRUE(library.ok()) << library.status();
  EXPECT_DEATH(library->Find<void()>("no_such_function"),
               "libm.so.6 has no function no_such_function");
}

}  // namespace
}  // namespace nextword
