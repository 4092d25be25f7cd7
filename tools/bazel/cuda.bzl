"""Objects that nvcc makes of CUDA sources, for the srcs of a cc_library."""

_ARCHITECTURES = ["80", "89", "90", "100"]

def _architecture_flags(ctx):
    """Code for each chosen GPU, and what newer ones compile for themselves."""
    chosen = ctx.var.get("cuda_archs", "90").split(",")
    for arch in chosen:
        if arch not in _ARCHITECTURES:
            fail("--define=cuda_archs has '%s'; it takes a list of %s" %
                 (arch, ",".join(_ARCHITECTURES)))
    return [
        "-gencode=arch=compute_%s,code=sm_%s" % (arch, arch)
        for arch in chosen
    ] + ["-gencode=arch=compute_%s,code=compute_%s" % (chosen[-1], chosen[-1])]

def _cuda_objects_impl(ctx):
    contexts = [dep[CcInfo].compilation_context for dep in ctx.attr.deps]
    flags = ctx.actions.args()
    flags.add_all(["-x", "cu", "-std=c++20", "-O3", "-lineinfo"])
    flags.add("--expt-relaxed-constexpr")
    flags.add("--fmad=false")  # As -ffp-contract=off, in .bazelrc.
    flags.add_all(["-Werror", "all-warnings"])
    flags.add_all(_architecture_flags(ctx))
    flags.add("-Xcompiler=-fPIC")

    # Of .bazelrc and the command line: warnings, sanitizers.
    flags.add_all(ctx.fragments.cpp.copts, format_each = "-Xcompiler=%s")
    flags.add("-I.")
    for context in contexts:
        flags.add_all(context.defines, before_each = "-D")
        flags.add_all(context.quote_includes, before_each = "-I")
        flags.add_all(context.includes, before_each = "-I")
        flags.add_all(context.system_includes, before_each = "-isystem")

    objects = []
    for src in ctx.files.srcs:
        objects.append(ctx.actions.declare_file(
            "%s/%s.pic.o" % (ctx.label.name, src.basename),
        ))
        ctx.actions.run(
            executable = ctx.executable._nvcc,
            arguments = [flags, "-c", src.path, "-o", objects[-1].path],
            inputs = depset(
                [src] + ctx.files.hdrs,
                transitive = [context.headers for context in contexts],
            ),
            outputs = [objects[-1]],
            mnemonic = "CudaCompile",
            progress_message = "Compiling %s for GPUs" % src.short_path,
            use_default_shell_env = True,
        )
    return [DefaultInfo(files = depset(objects))]

cuda_objects = rule(
    implementation = _cuda_objects_impl,
    attrs = {
        "deps": attr.label_list(providers = [CcInfo]),
        "hdrs": attr.label_list(allow_files = [".h"]),
        "srcs": attr.label_list(allow_files = [".cu.cc"]),
        "_nvcc": attr.label(
            default = "@cuda_toolkit//:nvcc",
            executable = True,
            cfg = "host",
        ),
    },
    fragments = ["cpp"],
)
