#!/bin/sh
# Roles and database, made by the postgres image of compose.yaml when its volume is empty.
set -e

# No `exec`: where the file has lost its mode, the image reads it into its own shell.
psql --no-psqlrc --quiet --username "$POSTGRES_USER" --dbname postgres \
  -v owner_password="$OWNER_PASSWORD" \
  -v app_password="$APP_PASSWORD" \
  -v reader_password="$READER_PASSWORD" \
  -v relay_password="$RELAY_PASSWORD" \
  -v worker_password="$WORKER_PASSWORD" \
  -v saga_password="$SAGA_PASSWORD" \
  -f "${ROLES_SQL:-/roles/postgres.sql}"
