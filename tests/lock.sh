#!/bin/sh
# Writes the lock files anew from pyproject.toml: every platform and Python we support, with hashes, without any address.
set -eu
cd "$(dirname "$0")/.."
compile() {
    out=$1
    shift
    # backports-strenum 1.3 says that it is not for 3.11 and later, which uv does not heed and pip does.
    printf "setuptools>=77\nbackports-strenum<1.3\n" | uv pip compile pyproject.toml - "$@" --universal --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-annotate --quiet --output-file "$out"
}
compile requirements.lock --extra central --extra node
compile requirements-gateway.lock --constraint requirements.lock
compile requirements-dev.lock --extra central --extra node --extra dev --constraint requirements.lock
for board in esp32 rp2; do
    echo "micropython-$board-stubs==1.29.0.post1" | uv pip compile - --universal --python-version 3.11 --generate-hashes \
        --no-header --no-emit-index-url --no-annotate --quiet --output-file "tests/firmware/stubs-$board.lock"
done
