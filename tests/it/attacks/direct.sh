# Two networks of the test's own, and what there is to reach in them; then a command in the first,
# which stands for the host. What it starts ends with its pid namespace. Usage:
# unshare --net --mount --pid --fork --kill-child --mount-proc sh direct.sh DIR COMMAND...
set -eu
dir=$1
shift

serve() { # WORD ADDRESS PORT: says its word to who asks by HTTP
  mkdir -p "$dir/$1" && echo "$1" >"$dir/$1/index.html"
  (cd "$dir/$1" && exec python3 -m http.server --bind "$2" "$3" >/dev/null 2>&1) &
}

# The other network: a public host, a private one, a metadata service.
unshare --net sleep 1000 &
other=$!
while [ "$(readlink "/proc/$other/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.05; done
there() { nsenter --net="/proc/$other/ns/net" "$@"; }

ip link set lo up
ip link add up0 type veth peer name up0 netns "$other"
ip addr add 203.0.113.1/24 dev up0
ip link set up0 up
there ip link set lo up
there ip addr add 203.0.113.2/24 dev up0
there ip link set up0 up
for address in 10.9.9.9 172.16.9.9 192.168.9.9 169.254.169.254 100.100.100.200 10.8.8.8; do
  there ip addr add "$address/32" dev lo
done
ip route add default via 203.0.113.2
echo 1 >/proc/sys/net/ipv4/ip_forward

mkdir -p "$dir/world" && echo world >"$dir/world/index.html"
(cd "$dir/world" && there python3 -m http.server --bind 0.0.0.0 80 >/dev/null 2>&1) &
serve platform 0.0.0.0 7007
serve loopback 127.0.0.1 8080
printf 'nameserver 203.0.113.2\noptions timeout:2 attempts:1\n' >"$dir/resolv.conf"
mount --bind "$dir/resolv.conf" /etc/resolv.conf
there python3 - <<'PYTHON' &
import socket
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("203.0.113.2", 53))
while True:
    query, client = server.recvfrom(512)
    end = query.index(b"\0", 12) + 5
    is_a = query[end - 4 : end - 2] == b"\0\1"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + socket.inet_aton("203.0.113.2") if is_a else b""
    head = query[:2] + b"\x81\x80" + query[4:6] + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
    server.sendto(head + query[12:end] + record, client)
PYTHON
for url in http://203.0.113.2 http://10.9.9.9 http://169.254.169.254 http://127.0.0.1:7007 http://127.0.0.1:8080; do
  tries=0
  # Reached from the host: what a build does not reach is kept from it.
  until curl -sf -m 2 -o /dev/null "$url"; do
    tries=$((tries + 1))
    [ "$tries" -lt 100 ] || { echo "$url does not answer" >&2; exit 99; }
    sleep 0.1
  done
done
"$@"
