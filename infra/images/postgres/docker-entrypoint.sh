#!/bin/bash
# Starts PostgreSQL with the environment that users of the official image know: POSTGRES_USER, POSTGRES_PASSWORD,
# POSTGRES_DB, POSTGRES_INITDB_ARGS (each also as NAME_FILE), POSTGRES_HOST_AUTH_METHOD, PGDATA and the files in
# /docker-entrypoint-initdb.d. As root it hands the data folder to uid 999 and goes on as that user.
set -euo pipefail

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Export NAME from itself or from the file that NAME_FILE names, else with a default.
setting() {
  local name=$1 file=${1}_FILE value=${!1-}
  [[ -z $value || -z ${!file-} ]] || fail "both $name and $file are set; set one of them"
  [[ -z ${!file-} ]] || value=$(<"${!file}")
  export "$name=${value:-${2-}}"
  unset "$file"
}

become_postgres() {
  mkdir -p "$PGDATA" /var/run/postgresql
  chmod 700 "$PGDATA"
  find "$PGDATA" /var/run/postgresql \! -user 999 -exec chown 999:999 {} +
  chmod 3777 /var/run/postgresql
  exec setpriv --reuid=999 --regid=999 --clear-groups -- "$0" "$@"
}

require_password() {
  [[ -n $POSTGRES_PASSWORD || $POSTGRES_HOST_AUTH_METHOD == trust ]] || fail \
    "the database is not initialised and POSTGRES_PASSWORD is empty; set it (or POSTGRES_PASSWORD_FILE)"
}

create_cluster() {
  local arguments
  # Word by word on purpose: the official contract gives several arguments in one variable, shell quoting included.
  eval "arguments=($POSTGRES_INITDB_ARGS)"
  initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --auth-local=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 "${arguments[@]}"
  printf '\nhost all all all %s\n' "$POSTGRES_HOST_AUTH_METHOD" >>"$PGDATA/pg_hba.conf"
  printf "\nlisten_addresses = '*'\n" >>"$PGDATA/postgresql.conf"
}

query() { PGHOST= psql --no-psqlrc --no-password -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" "$@"; }

create_database() {
  [[ $POSTGRES_DB == postgres ]] || query --dbname postgres -v name="$POSTGRES_DB" <<<'CREATE DATABASE :"name";'
}

run_init_files() {
  local file
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh) if [[ -x $file ]]; then "$file"; else . "$file"; fi ;;
      *.sql) query --dbname "$POSTGRES_DB" -f "$file" ;;
      *.sql.gz) gzip -cd "$file" | query --dbname "$POSTGRES_DB" ;;
      *.sql.xz) xz -cd "$file" | query --dbname "$POSTGRES_DB" ;;
      *.sql.zst) zstd -cd "$file" | query --dbname "$POSTGRES_DB" ;;
    esac
  done
}

# Nobody but this script gets in while the files run: the server listens on its local socket only.
initialise() {
  require_password
  create_cluster
  local options=
  [[ $# -lt 2 ]] || options=$(printf '%q ' "${@:2}") # without arguments it would print one that is empty
  pg_ctl --pgdata="$PGDATA" --wait -o "$options -c listen_addresses=''" start
  create_database
  run_init_files
  pg_ctl --pgdata="$PGDATA" --wait --mode=fast stop
  echo 'PostgreSQL init process complete; ready for start up.'
}

[[ ${1-} != -* ]] || set -- postgres "$@"
if [[ ${1-} == postgres ]]; then
  [[ $(id -u) != 0 ]] || become_postgres "$@"
  setting POSTGRES_PASSWORD
  setting POSTGRES_USER postgres
  setting POSTGRES_DB "$POSTGRES_USER"
  setting POSTGRES_INITDB_ARGS
  : "${POSTGRES_HOST_AUTH_METHOD:=scram-sha-256}"
  if [[ -s $PGDATA/PG_VERSION ]]; then
    echo 'PostgreSQL finds its database in place and skips initialisation.'
  else
    initialise "$@"
  fi
  # The server has no use for it, and the environment of a process can be read for as long as it runs.
  unset POSTGRES_PASSWORD
fi
exec "$@"
