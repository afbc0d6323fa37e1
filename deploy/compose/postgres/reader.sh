#!/bin/sh
# Run once, by PostgreSQL's image when it has made the database: `reader`, who may read all of it and
# write nothing, is whom Grafana and the exporter log in as.
set -eu
psql --set ON_ERROR_STOP=1 --set "password=$READER_PASSWORD" \
  --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" << 'SQL'
CREATE ROLE reader LOGIN PASSWORD :'password';
GRANT pg_read_all_data TO reader;
SQL
