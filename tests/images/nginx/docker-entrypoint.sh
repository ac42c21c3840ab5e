#!/bin/sh
# Runs /docker-entrypoint.d in order before nginx: *.envsh change the environment, *.sh are programs.
set -e

case $1 in
nginx | nginx-debug)
    # shellcheck disable=SC1090 # what the image or its user put there
    for script in /docker-entrypoint.d/*; do
        case $script in
        *.envsh) if [ -x "$script" ]; then . "$script"; fi ;;
        *.sh) if [ -x "$script" ]; then "$script"; fi ;;
        esac
    done
    ;;
esac

exec "$@"
