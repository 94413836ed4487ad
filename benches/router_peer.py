#!/usr/bin/env python3
"""The router side by side with nginx as reverse proxy of the same app, interleaved; prints medians.

    cargo build --release
    benches/router_peer.py --rounds 9

The app is one dyno on the host's network, which both reach at 127.0.0.1: an nginx that answers thirteen
bytes or streams a gigabyte, and another time a Python process that holds WebSockets. The peer keeps
connections to the app, writes an access log and sets the headers that the router sets. Needs nginx, wrk
and curl of Debian; a WebSocket takes two of the server's open files (`ulimit -Hn`).
"""

import argparse
import asyncio
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SLUGLINE = pathlib.Path(__file__).resolve().parent.parent / "target/release/slugline"
STREAM_BYTES = 1 << 30

APP_NGINX = """
daemon off; pid /tmp/pid; error_log /tmp/error.log; worker_processes 1;
events { worker_connections 4096; }
http {
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; keepalive_timeout 300s;
  client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f; uwsgi_temp_path /tmp/u;
  scgi_temp_path /tmp/s;
  server {
    listen 127.0.0.1:@PORT@ backlog=4096;
    location = / { default_type text/plain; return 200 "Hello, world\\n"; }
    location = /big { root /tmp; }
  }
}
"""

APP_START = """#!/bin/bash
if [[ $KIND == ws ]]; then exec /usr/bin/python3 ws.py; fi
truncate -s 1G /tmp/big
sed "s/@PORT@/$PORT/" app.conf >/tmp/app.conf
exec /usr/sbin/nginx -e /tmp/error.log -c /tmp/app.conf
"""

# Accepts every upgrade and echoes raw frames; idle, it does nothing.
APP_WS = """
import asyncio, base64, hashlib, os, re
class Peer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.head = transport, b""
    def data_received(self, data):
        if self.head is None:
            self.transport.write(data)
            return
        self.head += data
        if b"\\r\\n\\r\\n" in self.head:
            key = re.search(rb"(?i)sec-websocket-key: *(\\S+)", self.head).group(1)
            accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            self.head = None
            self.transport.write(b"HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
                b"Connection: Upgrade\\r\\nSec-WebSocket-Accept: " + accept + b"\\r\\n\\r\\n")
async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Peer, "0.0.0.0", int(os.environ["PORT"]), backlog=4096)
    await server.serve_forever()
asyncio.run(main())
"""

PEER = """
daemon off; pid @DIR@/pid; error_log @DIR@/error.log; worker_processes auto; worker_rlimit_nofile 60000;
events { worker_connections 25000; }
http {
  access_log @DIR@/access.log combined; sendfile on; tcp_nopush on;
  client_body_temp_path @DIR@/b; proxy_temp_path @DIR@/p; fastcgi_temp_path @DIR@/f;
  uwsgi_temp_path @DIR@/u; scgi_temp_path @DIR@/s;
  map $http_upgrade $app_connection { default upgrade; '' ''; }
  upstream app { server 127.0.0.1:@APP@; keepalive 64; }
  server {
    listen 127.0.0.1:@PORT@ backlog=4096; keepalive_requests 1000000000;
    location / {
      proxy_pass http://app; proxy_http_version 1.1; proxy_read_timeout 300s;
      proxy_set_header Host $host; proxy_set_header Connection $app_connection;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Request-Id $request_id; proxy_set_header X-Request-Start $msec;
      proxy_set_header Via "1.1 nginx";
    }
  }
}
"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit(f"nothing listens at {port}")


def family(pid):
    """A process and its descendants."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            found += family(int(child))
    return found


def cpu_seconds(pids):
    ticks = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_mib(pids, field="VmRSS"):
    total = 0
    for pid in pids:
        text = pathlib.Path(f"/proc/{pid}/status").read_text()
        total += int(re.search(field + r":\s+(\d+)", text).group(1))
    return total / 1024


class Proxy:
    def __init__(self, name, port, pids):
        self.name, self.port, self.pids = name, port, pids
        self.figures = {}

    def add(self, what, value):
        self.figures.setdefault(what, []).append(value)


class Site:
    """A server of ours with the app, and nginx beside it."""

    def __init__(self, directory, kind):
        self.dir = directory / kind
        self.processes = []
        app = self.dir / "app"
        (app / "bin").mkdir(parents=True)
        (app / "bin/detect").write_text("#!/bin/sh\necho Bench\n")
        (app / "bin/compile").write_text("#!/bin/sh\nexit 0\n")
        (app / "bin/release").write_text("#!/bin/sh\necho '--- {}'\n")
        (app / "start").write_text(APP_START)
        (app / "app.conf").write_text(APP_NGINX)
        (app / "ws.py").write_text(APP_WS)
        (app / "Procfile").write_text(f"web: KIND={kind} exec ./start\n")
        for script in ["bin/detect", "bin/compile", "bin/release", "start"]:
            (app / script).chmod(0o755)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.dir),
            "SLUGLINE_DATA": str(self.dir / "data"),
            "SLUGLINE_DYNO_NETWORK": "host",
            "SLUGLINE_LOG": "warn",
        }
        os.chmod(self.dir, 0o755)

    def start(self):
        log = open(self.dir / "server.log", "w")
        server = subprocess.Popen(
            [SLUGLINE, "serve", "--listen", "127.0.0.1:0"],
            env=self.env, stdout=subprocess.PIPE, stderr=log, text=True,
        )
        self.processes.append(server)
        for line in server.stdout:
            if line.startswith("Slugline listens on "):
                self.env["SLUGLINE_URL"] = line.split()[-1]
            if line.startswith("Apps answer at "):
                port = int(line.rsplit(":", 1)[1].strip("/\n"))
                break
        else:
            sys.exit("no server")

        def run(*command):
            done = subprocess.run(
                command, cwd=self.dir / "app", env=self.env, capture_output=True, text=True, check=False
            )
            if done.returncode != 0:
                sys.exit(f"{command}:\n{done.stdout}{done.stderr}")

        identity = ["-c", "user.name=b", "-c", "user.email=b@example.com"]
        run("git", "init", "-q", "-b", "main")
        run("git", "add", "-A")
        run("git", *identity, "commit", "-qm", "First")
        run(SLUGLINE, "apps", "create", "hello")
        run(SLUGLINE, "buildpacks", "set", "inline", "-a", "hello")
        run("git", "push", "-q", "slugline", "main")
        ours = Proxy("slugline", port, [server.pid])
        app_port = self.app_port(server.pid)
        peer = self.dir / "nginx"
        peer.mkdir()
        peer_port = free_port()
        conf = PEER.replace("@DIR@", str(peer)).replace("@APP@", str(app_port))
        (peer / "nginx.conf").write_text(conf.replace("@PORT@", str(peer_port)))
        nginx = subprocess.Popen(["nginx", "-e", peer / "error.log", "-c", peer / "nginx.conf"])
        self.processes.append(nginx)
        wait_for(peer_port)
        wait_for(port)
        time.sleep(0.5)
        return ours, Proxy("nginx", peer_port, family(nginx.pid))

    def app_port(self, server):
        """The port of the one dyno: what the server's descendants listen on."""
        for _ in range(300):
            sockets = set()
            for pid in family(server)[1:]:
                for link in pathlib.Path(f"/proc/{pid}/fd").glob("*"):
                    try:
                        target = os.readlink(link)
                    except OSError:
                        continue
                    if target.startswith("socket:["):
                        sockets.add(target[8:-1])
            for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and fields[9] in sockets:
                    return int(fields[1].split(":")[1], 16)
            time.sleep(0.1)
        run = subprocess.run([SLUGLINE, "logs", "-a", "hello"], env=self.env, capture_output=True, text=True)
        sys.exit(f"the dyno does not listen:\n{run.stdout}")

    def stop(self):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            process.wait()


def wrk(proxy, seconds, connections):
    before = cpu_seconds(proxy.pids)
    done = subprocess.run(
        ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-H", "Host: hello.localhost",
         f"http://127.0.0.1:{proxy.port}/"],
        capture_output=True, text=True, check=True,
    ).stdout
    if "Non-2xx" in done or "Socket errors" in done:
        sys.exit(f"{proxy.name}: {done}")
    requests = int(re.search(r"(\d+) requests in", done).group(1))
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done).group(1))
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done).groups()
    proxy.add("requests a second", rate)
    proxy.add("p99, ms", float(number) * {"us": 1e-3, "ms": 1, "s": 1e3}[unit])
    proxy.add("CPU of a request, µs", (cpu_seconds(proxy.pids) - before) * 1e6 / requests)


def stream(proxy):
    before = cpu_seconds(proxy.pids)
    start = time.perf_counter()
    done = subprocess.run(
        ["curl", "-sf", "-o", "/dev/null", "-w", "%{size_download}", "-H", "Host: hello.localhost",
         f"http://127.0.0.1:{proxy.port}/big"],
        capture_output=True, text=True, check=True,
    )
    wall = time.perf_counter() - start
    if int(done.stdout) != STREAM_BYTES:
        sys.exit(f"{proxy.name}: {done.stdout} bytes")
    proxy.add("stream, MB/s", STREAM_BYTES / wall / 1e6)
    proxy.add("CPU of a stream, s", cpu_seconds(proxy.pids) - before)
    proxy.add("memory after a stream, MiB", rss_mib(proxy.pids, "VmHWM"))


async def idle_websockets(proxy, count):
    before = rss_mib(proxy.pids)
    request = (
        "GET /ws HTTP/1.1\r\nHost: hello.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    gate = asyncio.Semaphore(100)

    async def one():
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port, limit=4096)
            writer.write(request)
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
            if b" 101 " not in head.split(b"\r\n")[0] + b" ":
                sys.exit(f"{proxy.name}: {head}")
            return reader, writer

    start = time.perf_counter()
    peers = await asyncio.gather(*(one() for _ in range(count)))
    proxy.add("WebSockets opened a second", count / (time.perf_counter() - start))
    await asyncio.sleep(3)
    proxy.add(f"memory with {count} idle WebSockets, MiB", rss_mib(proxy.pids))
    proxy.add("of it before, MiB", before)
    # All of them are alive.
    frame = b"\x81\x85\0\0\0\0hello"
    for reader, writer in peers:
        writer.write(frame)
    for reader, writer in peers:
        if await asyncio.wait_for(reader.readexactly(len(frame)), 60) != frame:
            sys.exit(f"{proxy.name}: another echo")
    proxy.add("the same after a message on each, MiB", rss_mib(proxy.pids))
    for _, writer in peers:
        writer.close()


def report(ours, peer):
    for what, values in ours.figures.items():
        mine, other = statistics.median(values), statistics.median(peer.figures[what])
        ratios = [a / b for a, b in zip(values, peer.figures[what]) if b]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}" if ratios else ""
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
        print(f"{what:42} {mine:10.2f} {other:10.2f} {ratio:>6}  {spread}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--streams", type=int, default=5)
    parser.add_argument("--websockets", type=int, default=10_000)
    parser.add_argument("--only", choices=["requests", "stream", "ws"])
    args = parser.parse_args()
    wants = lambda what: args.only in (None, what)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * args.websockets + 600
    if wants("ws") and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
        except (ValueError, PermissionError):
            # Two of the server's for each, and those that it keeps for other things.
            args.websockets = (hard - 600) // 2
            print(f"this machine allows {hard} open files: {args.websockets} WebSockets")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    directory = pathlib.Path(tempfile.mkdtemp(prefix="slugline-router-"))
    directory.chmod(0o755)
    sites = []
    try:
        print(f"{'':42} {'slugline':>10} {'nginx':>10} {'ratio':>6}  of pairs")
        if wants("requests") or wants("stream"):
            site = Site(directory, "http")
            sites.append(site)
            ours, peer = site.start()
            for proxy in (ours, peer):
                wrk(proxy, 1, args.connections)
                proxy.figures.clear()
            rounds = args.rounds if wants("requests") else 0
            for round_ in range(rounds):
                for proxy in (ours, peer) if round_ % 2 else (peer, ours):
                    wrk(proxy, args.seconds, args.connections)
            for round_ in range(args.streams if wants("stream") else 0):
                for proxy in (ours, peer) if round_ % 2 else (peer, ours):
                    stream(proxy)
            report(ours, peer)
            sites.pop().stop()
        if wants("ws"):
            site = Site(directory, "ws")
            sites.append(site)
            for proxy in (pair := site.start()):
                asyncio.run(idle_websockets(proxy, args.websockets))
            report(*pair)
    finally:
        for site in sites:
            site.stop()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
