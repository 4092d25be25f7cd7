"""Libraries that are linked, but not compiled against."""

def _link_only_impl(ctx):
    merged = cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
    )
    return [
        CcInfo(linking_context = merged.linking_context),
        DefaultInfo(runfiles = ctx.runfiles(collect_default = True)),
    ]

# For what registers itself and is not called by name: what depends on it is not
# compiled again when it, or that it is there at all, changes.
link_only = rule(
    implementation = _link_only_impl,
    attrs = {"deps": attr.label_list(providers = [CcInfo])},
)
