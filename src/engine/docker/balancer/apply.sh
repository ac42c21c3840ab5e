# Puts nginx.conf.new in force, inside the balancer's container, and waits until it is.
#
#   apply.sh PATH [ID ROUTE HOST:PORT]...    the new members, which are then asked for PATH through the balancer
#
# Exit codes: 3 the configuration was refused, and the old one goes on; 4 nginx did not take it; 5 a member was not
# reached. Reads /proc, since the image has no ps.
conf=/etc/scalectl/nginx.conf
path=$1
shift

# The workers that take new connections.
workers() {
    for file in /proc/[0-9]*/cmdline; do
        title=
        { read -r title <"$file"; } 2>/dev/null
        case $title in
        'nginx: worker process is shutting down'*) ;;
        'nginx: worker process'*) pid=${file#/proc/} && echo "${pid%/cmdline}" ;;
        esac
    done
}

# New ones take connections, and none of the old ones does.
in_force() {
    new=
    for pid in $(workers); do
        case $before in
        *" $pid "*) return 1 ;;
        *) new=$pid ;;
        esac
    done
    [ -n "$new" ]
}

# The balancer gets an answer from the very address that the member has now.
reached() {
    address=$(getent hosts "${2%:*}" | cut -d' ' -f1):${2##*:}
    answer=$(curl --silent --max-time 6 --output /dev/null --dump-header - --unix-socket /tmp/scalectl.sock \
        --header "X-Scalectl-Member: $1" "http://localhost$path" | tr -d '\r')
    case $answer in
    *"X-Scalectl-Address: $address"*) return 0 ;;
    *) return 1 ;;
    esac
}

until_true() {
    end=$(($(date +%s) + $1))
    shift
    until "$@"; do
        [ "$(date +%s)" -lt "$end" ] || return 1
        sleep 0.02
    done
}

sed -n 's/^nameserver \([0-9.]*\)$/resolver \1 valid=1s ipv6=off;/p' /etc/resolv.conf | head -n 1 >/etc/scalectl/resolver.conf
nginx -q -t -c "$conf.new" || {
    rm -f "$conf.new"
    exit 3
}
before=" $(workers | tr '\n' ' ')"
mv "$conf.new" "$conf" && nginx -c "$conf" -s reload || exit 4
until_true 30 in_force || exit 4
while [ $# -gt 2 ]; do
    until_true 15 reached "$2" "$3" || {
        echo "$1 at $address answered: $(echo "$answer" | head -n 1)" >&2
        exit 5
    }
    shift 3
done
