#!/bin/bash
# fetch_corpus.sh [FOLDER=corpus]: English prose from two Debian packages.
#   FOLDER/austen/*.txt  Jane Austen's six novels (r-cran-janeaustenr)
#   FOLDER/kjv.txt       the King James Bible, a verse a line (bible-kjv)
# The packages are unpacked in a temporary folder, not installed: no root.
# Does nothing when the text is there and undamaged.
set -euo pipefail

fail() {
  echo "fetch_corpus.sh: $*" >&2
  exit 1
}

folder=$(realpath -m "${1:-corpus}")
cd "$(dirname "$0")/.."

show_sizes() {
  (cd "$folder" && wc --bytes austen/*.txt kjv.txt)
}

# SHA256SUMS is written last, so it vouches for all of the files.
if (cd "$folder" && sha256sum --check --status SHA256SUMS) 2>/dev/null; then
  echo "fetch_corpus.sh: $folder is complete"
  show_sizes
  exit 0
fi

mkdir -p "$folder"
temporary=$(mktemp -d "$folder/.fetch.XXXXXX")
trap 'rm -rf "$temporary"' EXIT

# Lists of packages of our own: the machine's may be absent or out of date.
apt=(apt-get -q -o Dir::State::Lists="$temporary/lists"
  -o Dir::Cache="$temporary/cache" -o APT::Sandbox::User="$(id -un)"
  -o APT::Update::Error-Mode=any)
mkdir -p "$temporary"/{lists,cache/archives}/partial
cd "$temporary"
"${apt[@]}" update && "${apt[@]}" download \
  r-cran-janeaustenr bible-kjv bible-kjv-text ||
  fail "apt cannot download the packages (no network?); see above"
for package in *.deb; do
  dpkg-deb --extract "$package" unpacked
done
cd - >/dev/null

bazel build //tools/corpus:janeausten_text
bazel-bin/tools/corpus/janeausten_text \
  "$temporary/unpacked/usr/lib/R/site-library/janeaustenr/data/Rdata" \
  "$temporary/text/austen"

# `bible` looks for its data in the working folder first. Each of its lines is
# "Ge1:1 In the beginning ..."; the place is cut off.
(cd "$temporary/unpacked/usr/lib" && ../bin/bible -f gen1:1-rev22:21) |
  cut -d' ' -f2- >"$temporary/text/kjv.txt" ||
  fail "the program bible of bible-kjv failed"

(cd "$temporary/text" && sha256sum austen/*.txt kjv.txt) \
  >"$temporary/SHA256SUMS"
if ! cmp --quiet tools/corpus/SHA256SUMS "$temporary/SHA256SUMS"; then
  echo "fetch_corpus.sh: the packages here hold another edition of the text" \
    "than nextword's figures are for:" >&2
  diff tools/corpus/SHA256SUMS "$temporary/SHA256SUMS" >&2 || true
fi

# What lay there before is kept beside, under a numbered name.
mv -T --backup=numbered "$temporary/text/austen" "$folder/austen"
mv -T --backup=numbered "$temporary/text/kjv.txt" "$folder/kjv.txt"
mv "$temporary/SHA256SUMS" "$folder/SHA256SUMS"
show_sizes
