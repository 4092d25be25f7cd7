"""A C++ protobuf library made with the installed protoc."""

def cc_proto(name, src, visibility = None):
    """Compiles one .proto file to a cc_library.

    Args:
      name: the library's name.
      src: the .proto file; what it imports must lie in its own folder.
      visibility: who may use the library.
    """
    stem = src[:-len(".proto")]
    native.genrule(
        name = name + "_gen",
        srcs = [src],
        outs = [stem + ".pb.cc", stem + ".pb.h"],
        cmd = "protoc --cpp_out=$(GENDIR) --proto_path=. $<",
    )
    native.cc_library(
        name = name,
        srcs = [stem + ".pb.cc"],
        hdrs = [stem + ".pb.h"],
        visibility = visibility,
        deps = ["//third_party:protobuf"],
    )
