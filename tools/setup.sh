#!/bin/bash
# setup.sh [--cuda]: installs what nextword needs and the machine lacks: packages
# of Debian 12 and Ubuntu 24.04, which have the same names. On other systems it
# lists them. With --cuda also what --config=cuda needs (setup_cuda.sh).
set -euo pipefail

cuda=no
for argument; do
  if [ "$argument" != --cuda ]; then
    echo "setup.sh: takes --cuda or nothing, not '$argument'" >&2
    exit 2
  fi
  cuda=yes
done

packages=(
  g++ git bazel-bootstrap bazel-rules-java  # WORKSPACE uses the Java rules.
  libabsl-dev libprotobuf-dev protobuf-compiler zlib1g-dev libxxhash-dev
  libdnnl-dev libhwy-dev nlohmann-json3-dev libcli11-dev libspdlog-dev
  libpcre2-dev libgmock-dev
  libgrpc++-dev protobuf-compiler-grpc libgloo-dev
  clang-format-14  # One version everywhere, or the check would differ.
)
if [ "$cuda" = yes ] && ! python3 -m pip --version >/dev/null 2>&1; then
  packages+=(python3-pip)
fi

finish() {
  if [ "$cuda" = yes ]; then exec "$(dirname "$0")/setup_cuda.sh"; fi
  exit 0
}

release=$(. /etc/os-release && echo "${ID:-} ${VERSION_ID:-}")
case "$release" in
  "debian 12" | "ubuntu 24.04") ;;
  *)
    echo "setup.sh: knows Debian 12 and Ubuntu 24.04, this is '$release'." >&2
    echo "Install the equivalents of these Debian packages:" >&2
    printf '  %s\n' "${packages[@]}" >&2
    exit 1
    ;;
esac

# One line per installed package; dpkg-query fails when any is unknown.
installed=$(dpkg-query --show --showformat='${db:Status-Status} ${Package}\n' \
  "${packages[@]}" 2>/dev/null || true)
missing=()
for package in "${packages[@]}"; do
  grep -qxF "installed $package" <<<"$installed" || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
  echo "setup.sh: all ${#packages[@]} packages are installed"
  finish
fi

sudo=
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "setup.sh: needs root and there is no sudo; as root, run" >&2
    echo "  apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  sudo=sudo
fi

echo "setup.sh: installing ${missing[*]}"
if ! { $sudo apt-get -q update && $sudo env DEBIAN_FRONTEND=noninteractive \
  apt-get -q install --yes --no-install-recommends "${missing[@]}"; }; then
  echo "setup.sh: apt could not install ${missing[*]}; see above" >&2
  exit 1
fi
finish
