"""Parsers of files as targets of libFuzzer."""

def fuzz_target(name, function, deps):
    """A library NAME_fuzz and a program NAME_fuzzer, which --config=fuzz builds.

    Args:
      name: of the parser; its source is NAME_fuzz.cc.
      function: of file_fuzz.h, which NAME_fuzz.cc has.
      deps: of NAME_fuzz.cc, beside what all of them need.
    """
    native.cc_library(
        name = name + "_fuzz",
        testonly = True,
        srcs = [name + "_fuzz.cc"],
        deps = deps + [
            ":file_fuzz",
            ":fuzz_file",
            "//autograd/base:status",
            "//third_party:absl",
        ],
    )
    native.cc_binary(
        name = name + "_fuzzer",
        testonly = True,
        srcs = ["fuzz_entry.cc"],
        linkopts = ["-fsanitize=fuzzer"],
        local_defines = ["FUZZ_FUNCTION=" + function],
        tags = ["manual"],
        deps = [
            ":" + name + "_fuzz",
            ":file_fuzz",
        ],
    )
