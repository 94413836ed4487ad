# On a host of the test's own (direct.sh): a server whose dynos are connected directly, two apps, and
# what each reaches, a line each: APP ADDRESS ANSWER. Usage: sh direct_dynos.sh SLUGLINE APP_DIR
set -eu
slugline=$1
cd "$2"
export SLUGLINE_URL=http://127.0.0.1:7017 SLUGLINE_DYNO_NETWORK=direct
export SLUGLINE_NETWORK_ALLOW=10.8.8.8:80,203.0.113.1:5432,10.0.0.0/8:81
# A database of the host's own, which the operator has opened by name.
python3 -m http.server --bind 203.0.113.1 5432 >/dev/null 2>&1 &
"$slugline" serve --listen 127.0.0.1:7017 --router-listen 127.0.0.1:7080 >server.out 2>server.log &
until grep -q 'Apps answer' server.out; do sleep 0.1; done
git init -q -b main
git add -A
git commit -qm First
for app in one two; do
  "$slugline" apps create "$app" >&2
  "$slugline" buildpacks set inline -a "$app" >&2
  git -c "http.extraHeader=Authorization: Bearer $(cat "$SLUGLINE_DATA/admin-token")" push -q "$SLUGLINE_URL/$app.git" main >&2
done
get() { curl -s -m 20 -H "Host: $1.localhost" "http://127.0.0.1:7080$2"; }
tell() { echo "$1 $2 $(get "$1" "/connect/$2")"; }
"$slugline" ps scale web=2 -a one >&2
until [ "$("$slugline" ps -a one | grep -c ': up')" = 2 ]; do sleep 0.1; done
for address in 203.0.113.2:80 name.example:80 10.8.8.8:80 203.0.113.1:5432 \
  10.8.8.8:81 203.0.113.1:7007 10.9.9.9:80 172.16.9.9:80 192.168.9.9:80 169.254.169.254:80 100.100.100.200:80 \
  127.0.0.1:7007 127.0.0.1:8080 127.0.0.1:7017 127.0.0.1:7080 203.0.113.1:7017; do
  tell one "$address" &
  pids="${pids-} $!"
done
# Every network there can be so far: a dyno's own end, and the host's.
port=$(get two /env/PORT)
for number in $(seq 0 24); do
  for app in one two; do
    tell "$app" "198.18.0.$((number * 4 + 2)):$port" &
    pids="$pids $!"
  done
  tell two "198.18.0.$((number * 4 + 1)):7007" &
  pids="$pids $!"
done
wait $pids
nft list tables | grep -c slugline_ | sed 's/^/tables while they run: /'
for app in one two; do "$slugline" ps scale web=0 -a "$app" >&2; done
tries=0
while nft list tables | grep -q slugline_ && [ "$tries" -lt 100 ]; do
  tries=$((tries + 1))
  sleep 0.1
done
nft list tables | grep -c slugline_ | sed 's/^/tables after them: /' || true
