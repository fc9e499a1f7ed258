#!/bin/sh
# Builds guet_VERSION_ARCH.deb, which installs without any network: the checkout, and wheels for the Pythons of Debian 12 and 13.
#   sh gateway/system/deb.sh [--arch arm64|amd64] [--python "3.11 3.13"] [--out FOLDER] [--wheels FOLDER]
# --wheels only gathers the wheels there, for `install.sh --offline`.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
arch=$(dpkg --print-architecture 2>/dev/null || echo amd64) pythons="3.11 3.13" out=$(pwd) only=
while [ $# -gt 0 ]; do
    case "$1" in
        --arch) arch=$2; shift ;;
        --python) pythons=$2; shift ;;
        --out) out=$(cd "$2" && pwd); shift ;;
        --wheels) mkdir -p "$2"; only=$(cd "$2" && pwd); shift ;;
        *) echo "deb.sh: $1 ?" >&2; exit 2 ;;
    esac
    shift
done
case "$arch" in
    arm64) machine=aarch64 ;;
    amd64) machine=x86_64 ;;
    *) echo "deb.sh: expected arm64 or amd64, got $arch" >&2; exit 2 ;;
esac

gather() {
    for python in $pythons; do
        platforms=
        # Newest first; a wheel says the oldest C library that it runs on.
        for glibc in 2_36 2_35 2_34 2_31 2_28 2_27 2_26 2_24 2_17; do platforms="$platforms --platform manylinux_${glibc}_$machine"; done
        # shellcheck disable=SC2086 # one word each
        "${PYTHON:-python3}" -m pip --quiet --disable-pip-version-check download --require-hashes --no-deps --only-binary=:all: \
            $platforms --platform "manylinux2014_$machine" --python-version "$python" --implementation cp \
            --dest "$1" -r "$here/requirements-gateway.lock"
    done
}

if [ -n "$only" ]; then
    gather "$only"
    exit 0
fi
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$here/gateway/__init__.py")
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
source=$tree/usr/share/guet/source
mkdir -p "$source" "$tree/usr/share/guet/wheels" "$tree/DEBIAN"
for part in install.sh pyproject.toml requirements-gateway.lock README.md LICENSE gateway simulator central firmware \
    device_profiles edge_models docs; do
    cp -a "$here/$part" "$source/"
done
find "$source" -name __pycache__ -type d -prune -exec rm -rf {} +
rm -rf "$source"/firmware/.stubs-*
gather "$tree/usr/share/guet/wheels"

cat >"$tree/DEBIAN/control" <<EOF
Package: guet
Version: $version
Architecture: $arch
Maintainer: Guet <guet@localhost>
Depends: python3 (>= 3.11), python3 (<< 3.14), python3-venv, tzdata, adduser, passwd
Recommends: bluez
Section: net
Priority: optional
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Description: the night watch of municipal hardware
 A gateway that reads water sensors, street lamps, lifts, meters and bins over Modbus, BLE and serial lines, judges them
 on the spot, acts alone when the network is gone, and sends summaries and explained alerts to a central platform.
EOF
cat >"$tree/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = configure ]; then sh /usr/share/guet/source/install.sh --offline /usr/share/guet/wheels; fi
EOF
cat >"$tree/DEBIAN/prerm" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = remove ]; then sh /usr/share/guet/source/install.sh --remove; fi
EOF
cat >"$tree/DEBIAN/postrm" <<'EOF'
#!/bin/sh
set -e
if [ "$1" = purge ]; then
    rm -rf /etc/guet /var/lib/guet /etc/NetworkManager/system-connections/guet.nmconnection
    userdel guet 2>/dev/null || true
fi
EOF
chmod 755 "$tree/DEBIAN/postinst" "$tree/DEBIAN/prerm" "$tree/DEBIAN/postrm"
find "$tree/usr" -type d -exec chmod 755 {} +
dpkg-deb --root-owner-group -Zgzip -z1 --build "$tree" "$out/guet_${version}_$arch.deb" >&2
echo "$out/guet_${version}_$arch.deb"
