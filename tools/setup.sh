#!/bin/bash
# Installs what nextword needs and the machine lacks: packages of Debian 12 and
# Ubuntu 24.04, which have the same names. On other systems it lists them.
set -euo pipefail

packages=(
  g++ git bazel-bootstrap bazel-rules-java  # WORKSPACE uses the Java rules.
  libabsl-dev libprotobuf-dev protobuf-compiler zlib1g-dev libxxhash-dev
  libdnnl-dev libhwy-dev nlohmann-json3-dev libcli11-dev libspdlog-dev
  libpcre2-dev libgmock-dev
  clang-format-14  # One version everywhere, or the check would differ.
)

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
  exit 0
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
