#!/bin/sh
# What CI runs: lint, types, imports, then the tests on every core. Called by ./run.sh test, inside its environment.
set -eu
echo "== ruff" && ruff check . && ruff format --check --quiet gateway simulator central tests || exit 1
echo "== mypy" && mypy
echo "== imports" && lint-imports --no-cache
[ -n "${GUET_CHROMIUM:-$(command -v chromium || command -v google-chrome)}" ] && [ -d node_modules/axe-core ] ||
    echo "== browser: no Chromium or no axe-core, so the pages are NOT tried in a browser (.ci/run installs both)"
echo "== pytest"
exec python -m pytest -q -n "$(nproc)" --dist loadgroup "$@"
