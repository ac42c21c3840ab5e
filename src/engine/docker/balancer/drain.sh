# Waits until no worker of an older configuration is left, inside the balancer's container.
#
#   drain.sh SECONDS
#
# Exit code 6: some are left after that time; says how many.
left() {
    count=0
    for file in /proc/[0-9]*/cmdline; do
        title=
        { read -r title <"$file"; } 2>/dev/null
        case $title in
        'nginx: worker process is shutting down'*) count=$((count + 1)) ;;
        esac
    done
    [ "$count" -gt 0 ]
}

end=$(($(date +%s) + $1))
while left; do
    [ "$(date +%s)" -lt "$end" ] || {
        echo "$count"
        exit 6
    }
    sleep 0.02
done
