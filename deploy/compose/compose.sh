#!/bin/sh
# compose.sh ARGUMENT…: `docker compose`, or Podman's, on compose.yaml; makes .env and secrets/ first
# where they are missing.
#
# In the environment: ENGINE (docker or podman; by default Docker where it is here).
set -eu
cd "$(dirname "$0")"

fail() {
  echo "error: $1" >&2
  exit 2
}

engine=${ENGINE:-}
if test -z "$engine"; then
  if docker compose version > /dev/null 2>&1 && docker info > /dev/null 2>&1; then engine=docker
  elif command -v podman-compose > /dev/null; then engine=podman
  elif docker info > /dev/null 2>&1; then
    fail "Docker has no compose plugin; install it (Debian: docker-compose-plugin), or podman-compose"
  elif command -v docker > /dev/null; then
    fail "Docker does not answer; start its daemon, or see whether you may speak to it: docker info"
  else fail "there is neither Docker with its compose plugin nor podman-compose; install one of them"
  fi
fi
case $engine in
  docker | podman) ;;
  *) fail "ENGINE=$engine: must be docker or podman" ;;
esac

secret() {
  od -An -N16 -tx1 /dev/urandom | tr -d ' \n'
}

if ! test -e .env; then
  (
    umask 077
    while IFS= read -r line; do
      case $line in
        *_PASSWORD=) echo "$line$(secret)" ;;
        *) echo "$line" ;;
      esac
    done < .env.example > .env
  )
  echo "made deploy/compose/.env with new passwords" >&2
fi
if ! test -f secrets/webhook-token; then
  # An engine that is asked to mount what is missing makes a folder of that name.
  test ! -d secrets/webhook-token || rmdir secrets/webhook-token
  # The folder keeps others out; the file is Alertmanager's to read, which runs as a user of its own.
  mkdir -p -m 0700 secrets
  secret > secrets/webhook-token
  chmod 0444 secrets/webhook-token
  echo "made deploy/compose/secrets/webhook-token: what alerts show to the webhook" >&2
fi

case $engine in
  docker) exec docker compose "$@" ;;
  podman) exec podman-compose "$@" ;;
esac
