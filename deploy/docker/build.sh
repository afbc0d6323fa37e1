#!/bin/sh
# build.sh serve|train|mlflow [ARGUMENT…]: builds the image trainyard-NAME:TAG with Docker, Podman or
# Buildah, and prints its size. Arguments go to the builder (--build-arg TORCH_INDEX=URL).
#
# In the environment: EXTRAS (cpu), TAG (local; local-EXTRAS for other extras than cpu), ENGINE.
set -eu
cd "$(dirname "$0")/../.."

fail() {
  echo "error: $1" >&2
  exit 2
}

name=${1:-}
case $name in
  serve | train | mlflow) shift ;;
  *) fail "image $name: must be serve, train or mlflow" ;;
esac
extras=${EXTRAS:-cpu}
test "$name" != mlflow || test "$extras" = cpu || fail "EXTRAS=$extras: the image mlflow has no extras"
suffix=
test "$extras" = cpu || suffix=-$extras
image=trainyard-$name:${TAG:-local$suffix}

engine=${ENGINE:-}
if test -z "$engine"; then
  # A Docker client without a server to talk to is of no use.
  if docker info > /dev/null 2>&1; then engine=docker
  elif command -v podman > /dev/null; then engine=podman
  elif command -v buildah > /dev/null; then engine=buildah
  else fail "none of docker, podman and buildah is here; install one of them"
  fi
fi

case $engine in
  docker | podman | buildah) ;;
  *) fail "ENGINE=$engine: must be docker, podman or buildah" ;;
esac

# The format of OCI has no place for HEALTHCHECK.
test "$engine" = docker || set -- --format docker --layers "$@"
revision=$(git rev-parse HEAD 2> /dev/null || true)
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
"$engine" build --file "deploy/docker/Dockerfile.$name" --tag "$image" \
  --build-arg "EXTRAS=$extras" --build-arg "VERSION=$version" --build-arg "REVISION=$revision" \
  --build-arg "CREATED=$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$@" .

if test "$engine" = buildah; then
  buildah images "$image"
else
  bytes=$("$engine" image inspect --format '{{.Size}}' "$image")
  echo "$image: $((bytes / 1000000)) MB"
fi
