#!/bin/bash
# bundle.sh ARCHIVE FILE...: packs programs and their files into one archive,
# nextword/..., that runs on any x86-64 Linux whose C library is not older than
# this machine's. `bazel build //tools:bundle` runs this.
#
# A FILE keeps its path, less Bazel's output folder; programs bring the shared
# objects that they load, into lib/ where their run path looks (.bazelrc), but
# for the C library, which belongs to the kernel it finds, and the GPU's driver.
set -euo pipefail

archive=$(realpath "$1")
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
root=$folder/nextword
mkdir -p "$root/lib"

is_program() { [ -x "$1" ] && [ "$(head -c 4 "$1")" = $'\x7fELF' ]; }

for file; do
  path=${file#bazel-out/*/bin/}
  install -D --mode="$([ -x "$file" ] && echo 755 || echo 644)" \
    "$file" "$root/$path"
  is_program "$file" || continue
  strip --strip-unneeded "$root/$path"
  libraries=$(ldd "$file")
  if grep 'not found' <<<"$libraries" >&2; then exit 1; fi
  awk '$2 == "=>" {print $3}' <<<"$libraries" |
    grep -vE '/(libc|libm|libdl|librt|libpthread|libcuda)\.so' |
    while read -r library; do
      # By the name that programs ask for, whatever it links to.
      [ -e "$root/lib/${library##*/}" ] ||
        cp --dereference "$library" "$root/lib/"
    done
done
mv "$root/tools/"* "$root/"
rmdir "$root/tools"

# The same bytes from the same files.
tar --create --directory="$folder" --sort=name --owner=0 --group=0 \
  --numeric-owner --mtime=@0 nextword | gzip -n9 >"$archive"
