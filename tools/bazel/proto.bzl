"""A C++ protobuf library made with the installed protoc."""

def cc_proto(
        name,
        src,
        imports = [],
        deps = [],
        grpc = False,
        visibility = None):
    """Compiles one .proto file to a cc_library.

    Args:
      name: the library's name.
      src: the .proto file.
      imports: labels of the .proto files that it imports.
      deps: the cc_proto libraries of those.
      grpc: whether to make a library NAME_grpc, too, with the file's services.
      visibility: who may use the library.
    """
    stem = src[:-len(".proto")]
    native.genrule(
        name = name + "_gen",
        srcs = [src] + imports,
        outs = [stem + ".pb.cc", stem + ".pb.h"],
        cmd = "protoc --cpp_out=$(GENDIR) --proto_path=. $(location " + src + ")",
    )
    native.cc_library(
        name = name,
        srcs = [stem + ".pb.cc"],
        hdrs = [stem + ".pb.h"],
        visibility = visibility,
        deps = deps + ["//third_party:protobuf"],
    )
    if grpc:
        native.genrule(
            name = name + "_grpc_gen",
            srcs = [src] + imports,
            outs = [stem + ".grpc.pb.cc", stem + ".grpc.pb.h"],
            cmd = "protoc --grpc_out=$(GENDIR) --proto_path=. " +
                  "--plugin=protoc-gen-grpc=$$(command -v grpc_cpp_plugin) " +
                  "$(location " + src + ")",
        )
        native.cc_library(
            name = name + "_grpc",
            srcs = [stem + ".grpc.pb.cc"],
            hdrs = [stem + ".grpc.pb.h"],
            visibility = visibility,
            deps = deps + [
                ":" + name,
                "//third_party:grpc",
            ],
        )
