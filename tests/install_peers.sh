#!/bin/sh
# The real peers that the tests talk to: DCMTK, dicom3tools, Orthanc and Chromium, as Debian 12 packages.
# As root the missing ones are installed; otherwise they are named and the tests that need them skip and say so.
# Always ends 0: a missing peer is for the test report, not for this script.
set -u

packages="dcmtk dicom3tools orthanc orthanc-dicomweb chromium"
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
