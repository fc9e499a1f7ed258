#!/bin/sh
# Guet from a fresh clone: sets itself up in .venv, then does what it was asked.
#   ./run.sh demo      the whole town: devices, gateway, centre, page
#   ./run.sh test      lint, types, imports, tests: what CI runs
#   ./run.sh VERB ...  any verb of `guet` (./run.sh --help lists them)
set -eu
caller=$(pwd)
cd "$(dirname "$0")"
root=$(pwd)

# A Python that we support, or an explanation.
find_python() {
    for candidate in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    echo "Guet : il faut Python 3.11, 3.12 ou 3.13 : sudo apt install python3 python3-venv / Python 3.11 to 3.13 is needed" >&2
    return 2
}

# Installs a lock file into .venv unless that very file is installed already.
install() {
    lock=$1
    stamp=.venv/.installed-$lock
    if cmp -s "$lock" "$stamp" && cmp -s pyproject.toml .venv/.installed-pyproject.toml; then
        return 0
    fi
    if [ ! -x .venv/bin/python ]; then
        python=$(find_python)
        echo "Guet : première mise en place (quelques minutes au plus) / first set-up (a few minutes at most) ..." >&2
        if ! "$python" -m venv .venv 2>/dev/null; then
            rm -rf .venv
            echo "Guet : il manque venv : sudo apt install python3-venv / venv is missing: sudo apt install python3-venv" >&2
            exit 2
        fi
    fi
    pip="env PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip --quiet"
    $pip install --require-hashes --prefer-binary -r "$lock" >&2
    $pip install --no-deps --no-build-isolation --editable . >&2
    cp "$lock" "$stamp"
    cp pyproject.toml .venv/.installed-pyproject.toml
}

case "${1:-demo}" in
    test)
        shift
        install requirements-dev.lock
        # Types of the boards' own modules; beside the environment, because they would hide Python's.
        for board in esp32 rp2; do
            stubs=firmware/.stubs-$board
            [ -f "$stubs/machine.pyi" ] || .venv/bin/python -m pip --quiet install \
                --disable-pip-version-check --require-hashes --no-deps --target "$stubs" -r "tests/firmware/stubs-$board.lock" >&2
        done
        PATH="$root/.venv/bin:$PATH" exec sh tests/run.sh "$@"
        ;;
    *)
        # What the tests need holds what a run needs, too.
        cmp -s requirements-dev.lock .venv/.installed-requirements-dev.lock || install requirements.lock
        [ $# -gt 0 ] || set -- demo
        cd "$caller" # paths mean what they meant to whoever typed them
        exec "$root/.venv/bin/guet" "$@"
        ;;
esac
