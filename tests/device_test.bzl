"""Tests of what computes on any device."""

def device_test(name, deps, tags = [], emulated_filter = "*", **options):
    """A cc_test, and once more, emulated_NAME, with the emulated GPU.

    Args:
      name: of the test on the CPU, or, with --config=cuda, on a GPU.
      deps: of both.
      tags: of both. ThreadSanitizer does not follow the emulated threads.
      emulated_filter: GoogleTest's, of the second: emulation is slow.
      **options: of cc_test.
    """
    native.cc_test(name = name, deps = deps, tags = tags, **options)
    native.cc_test(
        name = "emulated_" + name,
        args = ["--gtest_filter=" + emulated_filter],
        tags = tags + ["no_tsan"],
        deps = deps + ["//autograd/kernels/cuda:emulated"],
        **options
    )
