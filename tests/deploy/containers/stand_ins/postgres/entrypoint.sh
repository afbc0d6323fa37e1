#!/bin/sh
# Makes the database once, as its official image does, and serves it.
set -eu

if test "$(id -u)" = 0; then
  mkdir -p "$PGDATA"
  chown postgres "$PGDATA" /run/postgresql
  chmod 0700 "$PGDATA"
  exec setpriv --reuid postgres --regid postgres --init-groups "$0"
fi

if ! test -s "$PGDATA/PG_VERSION"; then
  echo "$POSTGRES_PASSWORD" > /tmp/password
  initdb --username "$POSTGRES_USER" --pwfile /tmp/password --encoding UTF8 --locale C.UTF-8 \
    --auth-local trust --auth-host scram-sha-256 > /tmp/initdb.log
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  echo "CREATE DATABASE \"$POSTGRES_DB\"" | postgres --single -D "$PGDATA" postgres > /dev/null
  pg_ctl --silent --wait -o "-c listen_addresses=''" start
  for script in /docker-entrypoint-initdb.d/*.sh; do
    "$script"
  done
  pg_ctl --silent --wait stop
fi
exec postgres -c listen_addresses='*'
