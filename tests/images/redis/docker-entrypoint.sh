#!/bin/sh
# Drops from root to redis where redis-server is what runs. Options or a configuration file alone mean redis-server.
set -e

case $1 in
-* | *.conf) set -- redis-server "$@" ;;
esac

if [ "$1" = redis-server ]; then
    # The official program is built without protected mode: a container's port is closed unless it is published.
    case " $* " in
    *" --protected-mode "* | *" --version "* | *" -v "* | *" --help "* | *" -h "*) ;;
    *) set -- "$@" --protected-mode no ;;
    esac
    umask 0077
    if [ "$(id -u)" -eq 0 ]; then
        find . \! -user redis -exec chown redis '{}' +
        exec setpriv --reuid=redis --regid=redis --clear-groups -- "$@"
    fi
fi

exec "$@"
