#!/usr/bin/env python3
"""Pushes side by side to slugline and to lighttpd with git http-backend; prints the ratios.

    cargo build --release
    benches/receive_peer.py [--rounds 25] [--big 3] [WORK ...]

Builds are off on both sides: what is pushed is a branch that ours stores, and the peer has no hook.
The peer stands there twice, with receive.fsckObjects, since ours checks objects too, and with
git's defaults. A stub that reads a push and says ok is measured in the same loop: it is the
client's own time, and is taken off both sides before they are compared. The sides take turns, in
an order that changes from round to round; each push is checked by the ref that it has moved. Wall
is of medians; processor time is each server's own with that of all its children, in sums.

Works: small, history, files, refs, memory, pushers; all where none is named. Needs lighttpd.
"""

import argparse
import http.client
import http.server
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SLUGLINE = pathlib.Path(__file__).parent.parent / "target/release/slugline"
TICKS = os.sysconf("SC_CLK_TCK")
BRANCH = "refs/heads/topic"
ZERO = "0" * 40


def environment(home):
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Ada",
        "GIT_AUTHOR_EMAIL": "ada@example.com",
        "GIT_COMMITTER_NAME": "Ada",
        "GIT_COMMITTER_EMAIL": "ada@example.com",
    }


def run(arguments, **options):
    done = subprocess.run(arguments, capture_output=True, check=False, **options)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.returncode}\n{done.stderr.decode()}")
    return done.stdout


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def processes(pid):
    """A process and all its descendants."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found += processes(int(child))
    return found


def cpu_now(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return sum(int(ticks) for ticks in fields[11:15]) / TICKS


def cpu_at_rest(pid):
    """Processor seconds of a server and its children, once it does nothing more."""
    last, since = cpu_now(pid), time.monotonic()
    while time.monotonic() - since < 0.15:
        time.sleep(0.01)
        now = cpu_now(pid)
        if now != last or len(processes(pid)) > 1:
            last, since = now, time.monotonic()
    return last


class Side:
    """A server, and where it keeps a repository."""

    def __init__(self, name):
        self.name = name
        self.process = None
        self.header = None

    def cpu(self):
        return cpu_at_rest(self.process.pid) if self.process else 0.0

    def end(self):
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait()


class Stub(Side):
    """Takes whatever is pushed and forgets it."""

    def __init__(self):
        super().__init__("client alone")
        refs = self.refs = {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def answer(self, kind, body):
                self.send_response(200)
                self.send_header("Content-Type", f"application/x-git-receive-pack-{kind}")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
                self.wfile.flush()

            def do_GET(self):
                name = self.path.split("/")[1]
                capabilities = "report-status delete-refs ofs-delta object-format=sha1 agent=stub"
                known = sorted(refs.get(name, {}).items()) or [("capabilities^{}", ZERO)]
                lines = [f"{oid} {ref}" for ref, oid in known]
                lines[0] += "\0" + capabilities
                body = packet("# service=git-receive-pack\n") + b"0000"
                self.answer("advertisement", body + b"".join(map(packet, lines)) + b"0000")

            def do_POST(self):
                name = self.path.split("/")[1]
                if "chunked" in self.headers.get("Transfer-Encoding", ""):
                    parts = []
                    while size := int(self.rfile.readline(), 16):
                        parts.append(self.rfile.read(size))
                        self.rfile.readline()
                    self.rfile.readline()
                    body = b"".join(parts)
                else:
                    body = self.rfile.read(int(self.headers["Content-Length"]))
                if body == b"0000":
                    return self.answer("result", b"")
                old, new, ref = body[4 : int(body[:4], 16)].split(b"\0")[0].decode().split(" ")
                of = refs.setdefault(name, {})
                if new == ZERO:
                    of.pop(ref, None)
                else:
                    of[ref] = new
                self.answer("result", packet("unpack ok\n") + packet(f"ok {ref}\n") + b"0000")

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def create(self, name):
        self.refs[name] = {}
        return f"http://127.0.0.1:{self.port}/{name}.git"

    def path(self, name):
        return f"/{name}.git"

    def value(self, name, ref):
        return self.refs.get(f"{name}.git", {}).get(ref)


class Peer(Side):
    def __init__(self, dir, fsck):
        super().__init__("http-backend, fsck" if fsck else "http-backend")
        self.dir, self.fsck, self.port = dir, fsck, free_port()
        for name in ("repositories", "tmp", "home"):
            (dir / name).mkdir(parents=True)
        backend = pathlib.Path(run(["git", "--exec-path"]).decode().strip()) / "git-http-backend"
        configuration = dir / "lighttpd.conf"
        configuration.write_text(
            f"""server.bind = "127.0.0.1"
server.port = {self.port}
server.document-root = "{dir}/home"
server.errorlog = "{dir}/error.log"
server.upload-dirs = ("{dir}/tmp")
server.max-keep-alive-requests = 100000
server.modules = ("mod_alias", "mod_setenv", "mod_cgi")
alias.url = ("/git" => "{backend}")
$HTTP["url"] =~ "^/git/" {{
  cgi.assign = ("" => "")
  setenv.set-environment = ("PATH" => "{os.environ["PATH"]}", "HOME" => "{dir}/home",
    "GIT_CONFIG_NOSYSTEM" => "1", "GIT_PROJECT_ROOT" => "{dir}/repositories", "GIT_HTTP_EXPORT_ALL" => "1")
}}
"""
        )
        lighttpd = shutil.which("lighttpd") or "/usr/sbin/lighttpd"
        if not os.path.exists(lighttpd):
            sys.exit("lighttpd is not installed: apt-get install --no-install-recommends lighttpd")
        self.process = subprocess.Popen([lighttpd, "-D", "-f", configuration])
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            time.sleep(0.02)

    def repository(self, name):
        return self.dir / "repositories" / f"{name}.git"

    def create(self, name):
        repository = self.repository(name)
        run(["git", "init", "--quiet", "--bare", "--initial-branch=main", repository])
        settings = {"http.receivepack": "true", "receive.autogc": "false"}
        if self.fsck:
            settings["receive.fsckObjects"] = "true"
        for key, value in settings.items():
            run(["git", "-C", repository, "config", key, value])
        return f"http://127.0.0.1:{self.port}{self.path(name)}"

    def path(self, name):
        return f"/git/{name}.git"

    def value(self, name, ref):
        return rev_parse(self.repository(name), ref)


class Ours(Side):
    def __init__(self, dir):
        super().__init__("slugline")
        self.dir = dir
        (dir / "home").mkdir(parents=True)
        command = [SLUGLINE, "serve", "--listen", "127.0.0.1:0", "--data", dir / "data"]
        self.process = subprocess.Popen(
            command, env=environment(dir / "home"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.url = self.process.stdout.readline().decode().split()[-1]
        self.port = int(self.url.rsplit(":", 1)[1])
        token = (dir / "data/admin-token").read_text().strip()
        self.header = ("Authorization", f"Bearer {token}")

    def create(self, name):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/apps", f'{{"name": "{name}"}}', dict([self.header]))
        answer = connection.getresponse().read().decode()
        app = re.search(r'"id":"([0-9a-f-]{36})","internal_routing', answer)
        setattr(self, name, app.group(1))
        return f"{self.url}{self.path(name)}"

    def repository(self, name):
        return self.dir / "data/repositories" / f"{getattr(self, name)}.git"

    def path(self, name):
        return f"/{name}.git"

    def value(self, name, ref):
        return rev_parse(self.repository(name), ref)


def rev_parse(repository, ref):
    done = subprocess.run(
        ["git", "-C", repository, "rev-parse", "--verify", "--quiet", ref], capture_output=True, check=False
    )
    return done.stdout.decode().strip() or None


def packet(line):
    line = line if isinstance(line, bytes) else line.encode()
    return b"%04x" % (len(line) + 4) + line


class Bench:
    def __init__(self, dir):
        self.dir = dir
        self.env = environment(dir / "home")
        (dir / "home").mkdir()
        self.stub = Stub()
        self.peer = Peer(dir / "peer", True)
        self.default = Peer(dir / "default", False)
        self.ours = Ours(dir / "ours")
        self.sides = [self.stub, self.peer, self.default, self.ours]

    def git(self, tree, *arguments, **options):
        return run(["git", "-C", tree, *arguments], env=self.env, **options)

    def commit(self, tree, message):
        self.git(tree, "add", "--all")
        self.git(tree, "commit", "--quiet", "--message", message)

    def push(self, side, tree, name, url, refspec, ref=BRANCH):
        """Seconds of one push by real git."""
        command = ["git", "-C", tree]
        if side.header:
            command += ["-c", f"http.extraHeader={side.header[0]}: {side.header[1]}"]
        start = time.perf_counter()
        run([*command, "push", "--quiet", url, refspec], env=self.env)
        wall = time.perf_counter() - start
        source = refspec.split(":")[0]
        expected = self.git(tree, "rev-parse", source).decode().strip() if source else None
        if side.value(name, ref) != expected:
            sys.exit(f"{side.name}: {ref} of {name} was not moved")
        return wall

    def turns(self, number):
        turn = number % len(self.sides)
        return self.sides[turn:] + self.sides[:turn]

    def compare(self, title, rounds, prepare, push):
        """Times `push(side, round)` on each side; `prepare(round)` comes before each round."""
        walls = {side: [] for side in self.sides}
        cpus = {side: 0.0 for side in self.sides}
        for number in range(rounds):
            prepare(number)
            for side in self.turns(number):
                before = side.cpu()
                walls[side].append(push(side, number))
                cpus[side] += side.cpu() - before
        wall = {side: statistics.median(walls[side]) * 1e3 for side in self.sides}
        cpu = {side: cpus[side] / rounds * 1e3 for side in self.sides}
        floor = wall[self.stub]
        net = {side: max(wall[side] - floor, 0.01) for side in self.sides}
        ours = self.ours
        for side in self.sides:
            print(f"  {side.name:<20} {wall[side]:>9.1f} ms wall {cpu[side]:>9.1f} ms CPU")
        print(
            f"{title}: net wall {net[ours] / net[self.peer]:.2f}, CPU {cpu[ours] / max(cpu[self.peer], 0.01):.2f};"
            f" against git's defaults net wall {net[ours] / net[self.default]:.2f},"
            f" CPU {cpu[ours] / max(cpu[self.default], 0.01):.2f}  ({rounds} rounds)",
            flush=True,
        )

    # The works.

    def first_and_change(self, kind, rounds, changes, make):
        """First pushes of one tree to new repositories, then pushes of one changed file each."""
        tree, changed_file = make()
        urls = {}

        def create(number):
            for side in self.sides:
                urls[side] = side.create(f"{kind}-{number}")

        def first(side, number):
            return self.push(side, tree, f"{kind}-{number}", urls[side], f"main:{BRANCH}")

        self.compare(f"{kind}: first push", rounds, create, first)
        last = f"{kind}-{rounds - 1}"

        def change(number):
            path = tree / changed_file
            path.write_text(path.read_text() + f"A line that round {number} has added.\n")
            self.commit(tree, f"Change {number}")

        def again(side, number):
            return self.push(side, tree, last, urls[side], f"main:{BRANCH}")

        self.compare(f"{kind}: one file changed", changes, change, again)
        for side in (self.peer, self.default, self.ours):
            run(["git", "-C", side.repository(last), "fsck", "--strict"])

    def small(self, args):
        def make():
            tree = self.tree("small")
            for number in range(10):
                (tree / f"file-{number}.txt").write_text(words(number, 1000))
            self.commit(tree, "First")
            return tree, "file-3.txt"

        self.first_and_change("small", args.rounds, args.rounds, make)

    def files(self, args):
        def make():
            tree = self.tree("files")
            for number in range(5000):
                path = tree / f"dir-{number % 70}/sub-{number % 7}/file-{number}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(words(number, 2000))
            self.commit(tree, "First")
            # Or compressing it would be most of the client's time.
            self.git(tree, "repack", "-a", "-d", "--quiet")
            return tree, "dir-3/sub-3/file-3.txt"

        self.first_and_change("files", args.big, args.rounds, make)

    def history_tree(self):
        tree = self.dir / "history"
        if not tree.exists():
            script = pathlib.Path(__file__).parent.parent / "fixtures/repos/many_commits.sh"
            run([script, tree, "11000"], env=self.env)
            self.git(tree, "repack", "-a", "-d", "-f", "--depth=50", "--window=10", "--quiet")
            objects = int(self.git(tree, "rev-list", "--objects", "--all", "--count"))
            deltas = self.git(tree, "verify-pack", "--verbose", *tree.glob(".git/objects/pack/*.idx")).decode()
            chains = sum(len(line.split()) == 7 for line in deltas.splitlines())
            size = sum(path.stat().st_size for path in tree.glob(".git/objects/pack/*.pack"))
            print(f"history: {objects} objects, {chains} of them deltas, {size / 1e6:.1f} MB")
            assert objects >= 50_000
        return tree

    def history(self, args):
        self.first_and_change(
            "history", args.big, args.rounds, lambda: (self.history_tree(), "src/dir3/file3.txt")
        )

    def refs(self, args):
        """Fifty thousand tags: how long the advertisement takes, and to delete one."""
        tree = self.tree("refs")
        (tree / "file").write_text("one\n")
        self.commit(tree, "First")
        head = self.git(tree, "rev-parse", "HEAD").decode().strip()
        names = [f"refs/tags/v{number:05}" for number in range(50_000)]
        urls = {side: side.create("refs") for side in self.sides}
        for side in self.sides:
            self.push(side, tree, "refs", urls[side], f"main:{BRANCH}")
            if side is self.stub:
                side.refs["refs.git"].update(dict.fromkeys(names, head))
                continue
            lines = "".join(f"create {name} {head}\n" for name in names)
            run(["git", "-C", side.repository("refs"), "update-ref", "--stdin"], input=lines.encode())
            run(["git", "-C", side.repository("refs"), "pack-refs", "--all"])

        def advertise(side, _):
            connection = http.client.HTTPConnection("127.0.0.1", side.port)
            start = time.perf_counter()
            headers = dict([side.header]) if side.header else {}
            connection.request("GET", f"{side.path('refs')}/info/refs?service=git-receive-pack", headers=headers)
            body = connection.getresponse().read()
            wall = time.perf_counter() - start
            assert body.count(b"refs/tags/") >= 49_000, (side.name, body[:200])
            return wall

        self.compare("refs: advertisement of 50,000", args.rounds, lambda _: None, advertise)

        def delete(side, number):
            ref = names[number * 7]
            return self.push(side, tree, "refs", urls[side], f":{ref}", ref)

        self.compare("refs: delete one of 50,000", args.rounds, lambda _: None, delete)

    def memory(self, args):
        """Peak of private memory, over what it was before, of a server and its children."""
        tree = self.history_tree()
        peaks = {}
        for number in range(args.big):
            for side in (self.peer, self.ours):
                name = f"memory-{number}"
                url = side.create(name)
                before, peak, ended = anonymous(side.process.pid), [0], threading.Event()

                def watch(pid=side.process.pid, peak=peak, ended=ended):
                    while not ended.is_set():
                        peak[0] = max(peak[0], anonymous(pid))
                        time.sleep(0.002)

                watcher = threading.Thread(target=watch)
                watcher.start()
                self.push(side, tree, name, url, f"main:{BRANCH}")
                ended.set()
                watcher.join()
                peaks.setdefault(side, []).append((peak[0] - before) / 1024)
        git, ours = (statistics.median(peaks[side]) for side in (self.peer, self.ours))
        print(f"memory of the big push: {ours:.1f} MiB, git {git:.1f} MiB: {ours / git:.2f}  (peaks: {peaks[self.ours]})")

    def pushers(self, args):
        """Twenty at once, each with an app of its own, who keep their connection and wait for
        nobody: requests prepared beforehand, since twenty real gits would leave no processor."""
        clients, pushes = 20, 15
        tree = self.tree("pushers")
        (tree / "file").write_text(words(1, 1000))
        self.commit(tree, "First")
        ids = [ZERO, self.git(tree, "rev-parse", "HEAD").decode().strip()]
        for number in range(pushes):
            (tree / "file").write_text(words(number + 2, 1000))
            self.commit(tree, f"Change {number}")
            ids.append(self.git(tree, "rev-parse", "HEAD").decode().strip())
        bodies = []
        for old, new in zip(ids, ids[1:]):
            wanted = new if old == ZERO else f"{new}\n^{old}"
            pack = self.git(
                tree, "pack-objects", "--revs", "--thin", "--stdout", "--delta-base-offset", "-q", input=wanted.encode()
            )
            command = f"{old} {new} {BRANCH}\0 report-status side-band-64k object-format=sha1 agent=bench"
            bodies.append(packet(command) + b"0000" + pack)

        def push_all(side, name, wait, failed):
            headers = {"Content-Type": "application/x-git-receive-pack-request"}
            headers |= dict([side.header]) if side.header else {}
            connection = http.client.HTTPConnection("127.0.0.1", side.port)
            wait.wait()
            for body in bodies:
                connection.request("GET", f"{side.path(name)}/info/refs?service=git-receive-pack", headers=headers)
                connection.getresponse().read()
                connection.request("POST", f"{side.path(name)}/git-receive-pack", body, headers)
                answer = connection.getresponse().read()
                if b"unpack ok" not in answer or f"ok {BRANCH}".encode() not in answer:
                    failed.append(answer)

        rates = {side: [] for side in (self.peer, self.default, self.ours)}
        for number in range(args.big):
            for side in self.turns(number):
                if side is self.stub:
                    continue
                names = [f"p{number}-{client}" for client in range(clients)]
                for name in names:
                    side.create(name)
                wait, failed = threading.Barrier(clients + 1), []
                threads = [threading.Thread(target=push_all, args=(side, name, wait, failed)) for name in names]
                for thread in threads:
                    thread.start()
                wait.wait()
                start = time.perf_counter()
                for thread in threads:
                    thread.join()
                rates[side].append(clients * len(bodies) / (time.perf_counter() - start))
                if failed or any(side.value(name, BRANCH) != ids[-1] for name in names):
                    sys.exit(f"{side.name}: pushes failed: {failed[:1]}")
        rate = {side: statistics.median(rates[side]) for side in rates}
        for side in rates:
            print(f"  {side.name:<20} {rate[side]:>9.1f} pushes a second")
        print(
            f"20 pushers: {rate[self.ours] / rate[self.peer]:.2f} times http-backend with fsck,"
            f" {rate[self.ours] / rate[self.default]:.2f} times git's defaults"
        )

    def tree(self, name):
        tree = self.dir / name
        tree.mkdir()
        self.git(tree, "init", "--quiet", "--initial-branch=main")
        return tree


def anonymous(pid):
    """KiB of private memory of a process and its descendants."""
    total = 0
    for each in processes(pid):
        try:
            status = pathlib.Path(f"/proc/{each}/status").read_text()
        except OSError:
            continue
        found = re.search(r"RssAnon:\s*(\d+)", status)
        total += int(found.group(1)) if found else 0
    return total


def words(seed, length):
    source = random.Random(seed)
    text = []
    while sum(map(len, text)) < length:
        text.append("".join(source.choice("abcdefghij") for _ in range(source.randrange(3, 9))))
        text.append(source.choice(" \n"))
    return "".join(text)[:length] + "\n"


WORKS = ["small", "history", "files", "refs", "memory", "pushers"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25, help="rounds of small works")
    parser.add_argument("--big", type=int, default=3, help="rounds of large ones")
    parser.add_argument("works", nargs="*", metavar="WORK", help=f"some of {', '.join(WORKS)}")
    args = parser.parse_args()
    version = run(["git", "--version"]).decode().strip()
    print(f"{version}, {os.cpu_count()} processors, Linux {os.uname().release}")
    with tempfile.TemporaryDirectory(prefix="slugline-bench-") as dir:
        bench = Bench(pathlib.Path(dir))
        try:
            for work in args.works or WORKS:
                getattr(bench, work)(args)
        finally:
            for side in bench.sides:
                side.end()


if __name__ == "__main__":
    main()
