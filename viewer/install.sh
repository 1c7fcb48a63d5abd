#!/bin/sh
# The OHIF viewer as it was published on npm, into the folder that is named, or into viewer/ for the node itself, without
# the parts for microscopy and for segmenting by a neural network. Ends 0 where it is there, 1 with a sentence where not.
set -u

version=3.13.2
sha512=5997719a9986eeba85816f5924b71b82bdd70ad2e2d4a0cd3e831a798e4f3dee\
a3e06e1f8c48e393271933a0ba664d85f3b04ac457e9abe8dde715d907d13c10
here=$(cd "$(dirname "$0")" && pwd)
target=${1:-$here}

grep -qs "\"version\": \"$version\"" "$target/package.json" && exit 0
if ! command -v npm > /dev/null; then
    echo "OHIF not installed: npm is missing"
    exit 1
fi
mkdir -p "$target" && work=$(mktemp -d "$target.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
if (
    cd "$work" && npm pack --silent --fetch-retries=1 "@ohif/app@$version" > /dev/null 2>&1 &&
        echo "$sha512  ohif-app-$version.tgz" | sha512sum --check --status &&
        tar -xzf "ohif-app-$version.tgz" --exclude=package/dist/ort --exclude=package/dist/dicom-microscopy-viewer
); then
    rm -rf "$target/dist" && mv "$work/package/dist" "$work/package/LICENSE" "$target" &&
        mv "$work/package/package.json" "$target"
else
    echo "OHIF not installed: npm could not fetch @ohif/app $version as it was published"
    exit 1
fi
