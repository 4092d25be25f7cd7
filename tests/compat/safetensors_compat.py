"""safetensors_compat.py NEXTWORD READ_SAFETENSORS FOLDER

Compares our safetensors files and reader with Hugging Face's library:
names, dtypes, shapes, bytes and metadata. Works in FOLDER.
"""

import json
import pathlib
import random
import subprocess
import sys

import ml_dtypes
import numpy as np
import safetensors
import safetensors.numpy
import xxhash

CONFIG = """
  steps: 3
  model {
    layers: 2 hidden_size: 32 num_heads: 4 context_length: 24 position: ROPE
  }
  data { tokenizer_vocab_size: 280 held_out_fraction: 0 }
  batch { lanes: 2 micro_batch: 4 }
  evaluation { every: 0 }
  log { every: 1 }
"""

# What the library calls the format's dtypes.
DTYPES = {"F32": np.float32, "F64": np.float64, "I32": np.int32,
          "BF16": ml_dtypes.bfloat16, "F16": np.float16, "I64": np.int64,
          "I16": np.int16, "I8": np.int8, "U64": np.uint64, "U32": np.uint32,
          "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_,
          "F8_E4M3": ml_dtypes.float8_e4m3fn, "F8_E5M2": ml_dtypes.float8_e5m2}


def run(*command):
    """What it prints; its errors, when it fails."""
    done = subprocess.run(command, capture_output=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: {done.stderr.decode()}")
    return done.stdout


def train(nextword, folder):
    """The checkpoint of a tiny model, trained for three steps."""
    generator = random.Random(1)
    words = ["the", "river", "of", "Stones", "it's", "we'll", "42", "naïve"]
    text = " ".join(generator.choice(words) for _ in range(3000))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    (folder / "config.textproto").write_text(CONFIG)
    run(nextword, "train", "--config", folder / "config.textproto",
        "--set", f"run_dir={folder / 'run'}",
        "--set", f"data.source={folder / 'text.txt'}")
    return folder / "run/checkpoints/step-00000003"


def seen_by_us(read_safetensors, path):
    """Name -> dtype, shape and hash; and the metadata."""
    lines = run(read_safetensors, path).splitlines()
    *tensors, last = map(json.loads, lines)
    return ({t["name"]: (t["dtype"], t["shape"], t["xxh3"]) for t in tensors},
            last["metadata"])


def seen_by_them(path):
    """The same, by the library."""
    tensors = {
        name: (tensor["dtype"], tensor["shape"],
               xxhash.xxh3_64_hexdigest(bytes(tensor["data"])))
        for name, tensor in safetensors.deserialize(path.read_bytes())
    }
    with safetensors.safe_open(path, framework="numpy") as file:
        return tensors, file.metadata() or {}


def compare(read_safetensors, path):
    """The tensors that both see; exits when they differ."""
    ours, theirs = seen_by_us(read_safetensors, path), seen_by_them(path)
    if ours != theirs:
        differing = {name for name in ours[0].keys() | theirs[0].keys()
                     if ours[0].get(name) != theirs[0].get(name)}
        sys.exit(f"{path}: we and the library differ in {sorted(differing)}, "
                 f"metadata {ours[1]} and {theirs[1]}")
    dtypes = sorted({dtype for dtype, _, _ in ours[0].values()})
    print(f"{path.name}: the same {len(ours[0])} tensors of {dtypes}, "
          f"metadata {ours[1]}")
    return ours[0]


def check_ours(read_safetensors, checkpoint):
    """A checkpoint's files in the library. The tensors, as arrays."""
    arrays = {}
    for name in ("model.safetensors", "optimizer.safetensors"):
        if not compare(read_safetensors, checkpoint / name):
            sys.exit(f"{name}: has no tensors")
        loaded = safetensors.numpy.load_file(checkpoint / name)
        for tensor, array in loaded.items():
            if not np.isfinite(array).all():
                sys.exit(f"{name}: {tensor} is not finite")
        arrays.update(loaded)
    # What reads like the model does have its shape.
    if arrays["embed.weight"].shape != (280, 32):
        sys.exit(f"embed.weight is {arrays['embed.weight'].shape}")
    return arrays


def check_theirs(read_safetensors, folder, arrays):
    """Files that the library writes, in our reader."""
    path = folder / "same_tensors.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"by": "numpy"})
    compare(read_safetensors, path)
    values = np.random.default_rng(1)
    for name, dtype in DTYPES.items():
        for kind, shape in {"matrix": (3, 5), "scalar": (), "empty": (0, 7),
                            "odd": (3,)}.items():
            array = values.uniform(0, 100, shape)
            arrays[f"{name}.{kind}"] = np.asarray(array).astype(dtype)
    arrays["naïve \"quoted\"\n水"] = np.zeros(2, np.float32)
    path = folder / "all_dtypes.safetensors"
    safetensors.numpy.save_file(arrays, path,
                                metadata={"": "", "naïve": "水\n\"\\"})
    seen = {dtype for dtype, _, _ in compare(read_safetensors, path).values()}
    if not seen >= DTYPES.keys():
        sys.exit(f"{path.name}: lacks {DTYPES.keys() - seen}")
    path = folder / "nothing.safetensors"
    safetensors.numpy.save_file({}, path)
    compare(read_safetensors, path)


def main():
    nextword, read_safetensors, folder = sys.argv[1:]
    folder = pathlib.Path(folder)
    print(f"safetensors {safetensors.__version__}, numpy {np.__version__}")
    arrays = check_ours(read_safetensors, train(nextword, folder))
    check_theirs(read_safetensors, folder, arrays)


if __name__ == "__main__":
    main()
