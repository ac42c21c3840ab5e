#!/usr/bin/env bash
# Makes the database of an empty PGDATA, then runs postgres as the user postgres.
set -euo pipefail
shopt -s nullglob

# from_file NAME DEFAULT: sets NAME from NAME, the file NAME_FILE, or the default.
from_file() {
    local name=$1 file=$1_FILE
    if [ -n "${!name:-}" ] && [ -n "${!file:-}" ]; then
        printf 'error: both %s and %s are set (but are exclusive)\n' "$name" "$file" >&2
        exit 1
    fi
    if [ -n "${!file:-}" ]; then
        printf -v "$name" '%s' "$(<"${!file}")"
    else
        printf -v "$name" '%s' "${!name:-$2}"
    fi
    export "${name?}"
    unset "$file"
}

settings() {
    from_file POSTGRES_PASSWORD ''
    from_file POSTGRES_USER postgres
    from_file POSTGRES_DB "$POSTGRES_USER"
    from_file POSTGRES_INITDB_ARGS ''
    : "${POSTGRES_HOST_AUTH_METHOD:=}"
}

refuse_without_password() {
    if [ -z "$POSTGRES_PASSWORD" ] && [ "$POSTGRES_HOST_AUTH_METHOD" != trust ]; then
        cat >&2 <<'TEXT'
Error: Database is uninitialized and superuser password is not specified.
       You must specify POSTGRES_PASSWORD to a non-empty value for the
       superuser. For example, "-e POSTGRES_PASSWORD=password" on "docker run".
TEXT
        exit 1
    fi
}

own_folders() {
    mkdir -p "$PGDATA" /var/run/postgresql
    chmod 00700 "$PGDATA" || true
    chmod 03775 /var/run/postgresql || true
    if [ "$(id -u)" -eq 0 ]; then
        find "$PGDATA" \! -user postgres -exec chown postgres '{}' +
        find /var/run/postgresql \! -user postgres -exec chown postgres '{}' +
    fi
}

make_cluster() {
    local method=$POSTGRES_HOST_AUTH_METHOD
    # shellcheck disable=SC2086 # several arguments in one variable
    initdb --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") $POSTGRES_INITDB_ARGS
    : "${method:=$(postgres -C password_encryption)}"
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
}

# sql ARGUMENTS OF psql: on the temporary server.
sql() {
    PGHOST='' PGHOSTADDR='' psql -v ON_ERROR_STOP=1 --no-psqlrc --no-password --username "$POSTGRES_USER" "$@"
}

make_database() {
    if [ "$POSTGRES_DB" != postgres ]; then
        sql --dbname postgres --set name="$POSTGRES_DB" <<<'CREATE DATABASE :"name";'
    fi
}

run_scripts() {
    local file
    for file in /docker-entrypoint-initdb.d/*; do
        printf '%s: running %s\n' "$0" "$file"
        case $file in
        *.sh)
            if [ -x "$file" ]; then
                "$file"
            else
                # shellcheck disable=SC1090 # the user's own script
                . "$file"
            fi
            ;;
        *.sql) sql --dbname "$POSTGRES_DB" -f "$file" ;;
        *.sql.gz) gunzip -c "$file" | sql --dbname "$POSTGRES_DB" ;;
        *.sql.xz) xzcat "$file" | sql --dbname "$POSTGRES_DB" ;;
        *.sql.zst) zstd -dc "$file" | sql --dbname "$POSTGRES_DB" ;;
        *) printf '%s: ignoring %s\n' "$0" "$file" ;;
        esac
    done
}

# Nobody can reach the database over the network before its scripts have run.
initialise() {
    refuse_without_password
    make_cluster
    export PGPASSWORD=$POSTGRES_PASSWORD
    NOTIFY_SOCKET='' pg_ctl -D "$PGDATA" -o "-c listen_addresses='' -p ${PGPORT:-5432}" -w start
    make_database
    run_scripts
    pg_ctl -D "$PGDATA" -m fast -w stop
    unset PGPASSWORD
    printf '\nPostgreSQL init process complete; ready for start up.\n\n'
}

# Asks for help or a version start no server.
only_asks() {
    local argument
    for argument in "$@"; do
        case $argument in
        -'?' | --help | --describe-config | -V | --version | -C) return 0 ;;
        esac
    done
    return 1
}

main() {
    if [ "${1#-}" != "${1:-}" ]; then set -- postgres "$@"; fi
    if [ "${1:-}" = postgres ] && ! only_asks "$@"; then
        # While root: a secret's file may be root's own.
        settings
        own_folders
        if [ "$(id -u)" -eq 0 ]; then
            exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
        fi
        if [ -s "$PGDATA/PG_VERSION" ]; then
            printf '\nPostgreSQL Database directory appears to contain a database; Skipping initialization\n\n'
        else
            initialise
        fi
    fi
    exec "$@"
}

main "$@"
