#!/bin/sh
# What test_elsewhere.py needs, into build/elsewhere: an arm64 Debian to emulate, and tflite-runtime. About 90 MB to fetch.
# As root: missing Debian packages are installed. PYTHON: a Python with pip (its version does not matter).
set -eu
cd "$(dirname "$0")/../../.."
to=build/elsewhere
python=${PYTHON:-.venv/bin/python}
[ -f $to/.whole ] && exit 0
if ! command -v qemu-aarch64-static >/dev/null || ! command -v mmdebstrap >/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "set_up.sh: sudo apt install qemu-user-static mmdebstrap, then again / qemu-user-static, mmdebstrap are missing" >&2
        exit 2
    fi
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends qemu-user-static mmdebstrap >/dev/null
fi
rm -rf $to
mkdir -p $to
mmdebstrap --quiet --variant=extract --architectures=arm64 \
    --include=python3.11-minimal,libpython3.11-stdlib,libstdc++6,libgcc-s1 bookworm $to/arm64
# With the host's own processor description LiteRT crashes; with none it drops its delegate.
mkdir -p $to/arm64/proc $to/arm64/sys/devices/system/cpu
for list in possible present; do echo 0-3 >$to/arm64/sys/devices/system/cpu/$list; done
for core in 0 1 2 3; do
    printf 'processor\t: %s\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\n' $core
    printf 'CPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n'
done >$to/arm64/proc/cpuinfo
pip="$python -m pip install --quiet --disable-pip-version-check --only-binary :all: --no-deps"
$pip --target $to/litert-arm64 --platform manylinux_2_27_aarch64 --platform manylinux_2_28_aarch64 \
    --platform manylinux2014_aarch64 --python-version 3.11 --implementation cp \
    numpy==2.4.6 ai-edge-litert==2.3.0 flatbuffers
# Built for Python 3.11 at most, and for the first numpy.
$pip --target $to/tflite --platform manylinux_2_34_x86_64 --platform manylinux2014_x86_64 \
    --python-version 3.11 --implementation cp numpy==1.26.4 tflite-runtime==2.14.0
touch $to/.whole
