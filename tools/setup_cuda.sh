#!/bin/bash
# Installs what --config=cuda needs and the machine lacks, into a folder of the
# user's cache where the build finds it: NVIDIA's packages for Python. Nothing
# of a toolkit that lies in CUDA_HOME, by default /usr/local/cuda, is installed
# again. `setup.sh --cuda` runs this.
set -euo pipefail

# Where tools/bazel/cuda_toolkit.bzl looks.
folder=${XDG_CACHE_HOME:-$HOME/.cache}/nextword/cuda
home=${CUDA_HOME:-/usr/local/cuda}

# Versions that were tested together.
packages=()
if [ ! -x "$home/bin/nvcc" ]; then
  if [ -n "${CUDA_HOME:-}" ]; then
    echo "setup_cuda.sh: there is no bin/nvcc in CUDA_HOME=$home; set it to a" \
      "toolkit's folder, or unset it to have one installed" >&2
    exit 1
  fi
  home=$folder/nvidia/cu13
  packages+=(
    nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
    nvidia-cuda-nvrtc==13.0.88  # cuBLASLt loads it.
    nvidia-cuda-sanitizer-api==13.0.85
  )
fi

# Adds a package, unless the toolkit has the header that comes with it.
wants() {
  local header=$1 package=$2 place
  for place in . ../cudnn ../nccl ../..; do
    if [ "${home#"$folder"}" = "$home" ] && [ -e "$home/$place/include/$header" ]
    then
      return
    fi
  done
  packages+=("$package")
}
wants cublasLt.h nvidia-cublas==13.1.0.3
wants cudnn.h nvidia-cudnn-cu13==9.19.0.56
wants nccl.h nvidia-nccl-cu13==2.28.9
wants cudnn_frontend.h nvidia-cudnn-frontend==1.32.0

installed=$(cat "$folder/installed" 2>/dev/null || true)
if [ "$installed" = "${packages[*]}" ]; then
  echo "setup_cuda.sh: all ${#packages[@]} packages are installed"
else
  echo "setup_cuda.sh: installing ${packages[*]}"
  rm -rf "$folder.new"
  mkdir -p "$folder.new"
  if ! python3 -m pip install --quiet --disable-pip-version-check \
    --root-user-action=ignore --no-deps --only-binary=:all: \
    --target "$folder.new" "${packages[@]}"; then
    echo "setup_cuda.sh: pip could not install ${packages[*]}; see above" >&2
    exit 1
  fi
  echo "${packages[*]}" >"$folder.new/installed"
  rm -rf "$folder"
  mv "$folder.new" "$folder"
fi
echo "setup_cuda.sh: bazel build --config=cuda finds the toolkit in $home"
