#!/usr/bin/env bash
# Drops from root to rabbitmq where one of its programs is what runs. RabbitMQ itself reads RABBITMQ_DEFAULT_USER,
# RABBITMQ_DEFAULT_PASS, RABBITMQ_DEFAULT_VHOST and RABBITMQ_CONFIG_FILE.
set -euo pipefail

# What the official image had before 3.9: refused, so that nobody believes that it works.
gone=(
    RABBITMQ_DEFAULT_PASS_FILE RABBITMQ_DEFAULT_USER_FILE RABBITMQ_MANAGEMENT_SSL_CACERTFILE
    RABBITMQ_MANAGEMENT_SSL_CERTFILE RABBITMQ_MANAGEMENT_SSL_KEYFILE RABBITMQ_SSL_CACERTFILE RABBITMQ_SSL_CERTFILE
    RABBITMQ_SSL_KEYFILE RABBITMQ_VM_MEMORY_HIGH_WATERMARK
)
refused=false
for name in "${gone[@]}"; do
    if [ -n "${!name:-}" ]; then
        printf 'error: %s is set but deprecated\n' "$name" >&2
        refused=true
    fi
done
if $refused; then
    printf 'error: deprecated environment variables detected: use a configuration file instead\n' >&2
    exit 1
fi

if [[ ${1:-} == rabbitmq* ]] && [ "$(id -u)" -eq 0 ]; then
    if [ "$1" = rabbitmq-server ]; then
        find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +
    fi
    exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups -- "$@"
fi

exec "$@"
