"""The repository of the CUDA toolkit that the machine has.

It lies in CUDA_HOME, by default /usr/local/cuda or where tools/setup.sh --cuda
puts NVIDIA's packages. Those keep cuDNN and NCCL in folders beside CUDA_HOME,
and cudnn-frontend, which no toolkit has, two folders up. Only builds that use
the GPU fetch this repository, so that others need no toolkit.
"""

_BUILD = """
package(default_visibility = ["//visibility:public"])

sh_binary(
    name = "nvcc",
    srcs = ["nvcc.sh"],
)

# Of the CUDA runtime and the libraries that are loaded at run time.
cc_library(
    name = "headers",
    hdrs = glob(["*/include/**"]),
    includes = %s,
)

# The runtime; the driver is loaded when the first call needs it.
cc_library(
    name = "cudart",
    srcs = ["libcudart_static.a"],
    linkopts = ["-ldl", "-lpthread", "-lrt"],
    deps = [":headers"],
)
"""

# The wrapper is an input of what nvcc compiles: with another version in it,
# nothing is taken from a cache.
_NVCC = """#!/bin/sh
# {version}
exec '{home}/bin/nvcc' "$@"
"""

_HEADERS = [
    "cuda_runtime.h",
    "cublasLt.h",
    "cudnn.h",
    "nccl.h",
    "cudnn_frontend.h",
]

def _first(context, folders, name):
    """The first of `folders` that has a file, or None."""
    for folder in folders:
        if context.path(folder + "/" + name).exists:
            return folder
    return None

def _cuda_toolkit_impl(context):
    environ = context.os.environ
    cache = environ.get("XDG_CACHE_HOME", environ.get("HOME", "") + "/.cache")
    packages = cache + "/nextword/cuda"
    homes = ["/usr/local/cuda", packages + "/nvidia/cu13"]
    if environ.get("CUDA_HOME"):
        homes = [environ["CUDA_HOME"]]
    remedy = "; run tools/setup.sh --cuda, or set CUDA_HOME to a toolkit's folder"
    home = _first(context, homes, "bin/nvcc")
    if not home:
        fail("no bin/nvcc in " + " or ".join(homes) + remedy)

    folders = [
        home + "/include",
        home + "/../cudnn/include",
        home + "/../nccl/include",
        home + "/../../include",
        packages + "/include",
    ]
    includes = []
    for name in _HEADERS:
        folder = _first(context, folders, name)
        if not folder:
            fail("no %s for the CUDA toolkit in %s%s" % (name, home, remedy))
        if folder not in includes:
            includes.append(folder)
    for i, folder in enumerate(includes):
        context.symlink(folder, "%d/include" % i)
    libraries = _first(
        context,
        [home + "/lib64", home + "/lib"],
        "libcudart_static.a",
    )
    if not libraries:
        fail("no libcudart_static.a in %s/lib64%s" % (home, remedy))
    context.symlink(libraries + "/libcudart_static.a", "libcudart_static.a")

    version = context.execute([home + "/bin/nvcc", "--version"])
    if version.return_code != 0:
        fail("%s/bin/nvcc does not run: %s" % (home, version.stderr))
    context.file("nvcc.sh", _NVCC.format(
        home = home,
        version = version.stdout.strip().split("\n")[-1],
    ))
    context.file("BUILD.bazel", _BUILD % repr(
        # CUDA's own C++ library comes with the runtime's headers.
        ["%d/include" % i for i in range(len(includes))] +
        ["0/include/cccl"],
    ))

cuda_toolkit = repository_rule(
    implementation = _cuda_toolkit_impl,
    environ = ["CUDA_HOME", "HOME", "XDG_CACHE_HOME"],
    local = True,
)
