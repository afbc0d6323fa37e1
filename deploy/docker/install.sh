#!/bin/sh
# Inside a build: makes /opt/trainyard, an environment of the locked packages without pip.
#
#   install.sh serve|train|mlflow [EXTRAS] [TORCH_INDEX]   the packages
#   install.sh project                                     Trainyard, from the working directory
#   install.sh sbom                                        the CycloneDX list of what is in it
set -eu
target=/opt/trainyard

fail() {
  echo "error: $1" >&2
  exit 2
}

into() { # into ENVIRONMENT ARGUMENT…: pip install
  environment=$1
  shift
  test -d "$environment" || python -m venv --without-pip "$environment"
  python -m pip --disable-pip-version-check --python "$environment/bin/python" install --root-user-action ignore "$@"
}

torch() { # torch LOCK TORCH_INDEX [REQUIREMENT]
  into "$target" --constraint "requirements/$1.lock" ${2:+--extra-index-url "$2"} \
    "${3:-$(grep '^torch==' requirements/torch.lock)}"
}

what=${1:-}
extras=${2:-cpu}
index=${3:-}
case $what/$extras in
  serve/cpu)
    into "$target" --no-deps --requirement requirements/serve.lock
    ;;
  serve/gpu)
    into "$target" --no-deps --requirement requirements/serve-gpu.lock
    ;;
  serve/trt)
    # TensorRT's own package fetches its libraries while it is installed, and so cannot be locked.
    into "$target" --no-deps --requirement requirements/serve.lock
    python -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["trt"], sep="\n")' > /tmp/trt.txt
    into "$target" --constraint requirements/serve-gpu.lock --requirement /tmp/trt.txt
    ;;
  serve/torch)
    into "$target" --no-deps --requirement requirements/serve.lock
    torch serve "$index"
    ;;
  train/cpu)
    into "$target" --no-deps --requirement requirements/train.lock
    torch train "$index" "$(grep '^torch==' requirements/torch.lock)+cpu" \
      || fail "no CPU build of torch in pip's index; name PyTorch's: --build-arg TORCH_INDEX=URL (its Start Locally page has it)"
    ;;
  train/gpu)
    into "$target" --no-deps --requirement requirements/train.lock
    torch train "$index"
    "$target/bin/python" -c 'import sys, torch; sys.exit(torch.version.cuda is None)' \
      || fail "EXTRAS=gpu, but pip took the CPU build of torch; name an index of the CUDA build: --build-arg TORCH_INDEX=URL"
    ;;
  mlflow/cpu)
    into "$target" --no-deps --requirement requirements/mlflow.lock
    ;;
  project/cpu)
    # The constraint is for what builds the wheel; PIP_CONSTRAINT reaches that, --constraint does not.
    PIP_CONSTRAINT=requirements/dev.lock python -m pip --disable-pip-version-check wheel --no-deps --wheel-dir /tmp/wheel .
    into "$target" --no-deps /tmp/wheel/trainyard-*.whl
    ;;
  sbom/cpu)
    into /opt/sbom --no-deps --requirement requirements/sbom.lock
    mkdir -p "$target/share"
    /opt/sbom/bin/cyclonedx-py environment --output-format JSON --output-file "$target/share/sbom.cdx.json" \
      "$target/bin/python"
    ;;
  serve/*)
    fail "EXTRAS=$extras must be cpu, gpu, trt or torch"
    ;;
  train/*)
    fail "EXTRAS=$extras must be cpu or gpu"
    ;;
  *)
    fail "install.sh $what $extras: see its head for what it takes"
    ;;
esac
