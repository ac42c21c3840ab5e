#!/bin/sh
# Renders /etc/nginx/templates/**/NAME.template into /etc/nginx/conf.d/**/NAME. Only variables that the environment
# has are replaced: nginx's own ($host, …) look the same.
set -e

templates=${NGINX_ENVSUBST_TEMPLATE_DIR:-/etc/nginx/templates}
suffix=${NGINX_ENVSUBST_TEMPLATE_SUFFIX:-.template}
target=${NGINX_ENVSUBST_OUTPUT_DIR:-/etc/nginx/conf.d}
[ -d "$templates" ] || exit 0

if [ ! -w "$target" ]; then
    echo "$0: ERROR: $templates exists, but $target is not writable" >&2
    exit 0
fi

variables=$(env | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/\1/p' |
    { grep -E "${NGINX_ENVSUBST_FILTER:-}" || true; } | sed 's/.*/${&}/' | tr '\n' ' ')

find -L "$templates" -type f -name "*$suffix" | while read -r template; do
    file=$target/${template#"$templates"/}
    file=${file%"$suffix"}
    mkdir -p "$(dirname "$file")"
    envsubst "$variables" <"$template" >"$file"
done
