#!/usr/bin/env python3
"""How long a release takes until its app answers, beside the app's own start by hand, in turns.

    cargo build --release && benches/boot.py [ROUNDS]

By hand: from starting `bash --login -c` in the app's directory to the first 200. By the server: from
sending a change of config vars, which makes a release of the same slug, to the first 200 of the new
release by way of the router; that includes making the release itself, and all the while the dyno of the
release before answers those who ask. The app's log, which has microseconds, says where the time goes.
Then the start of a dyno alone: from scaling to one to the answer of a request that the router has kept
waiting for it. Then once: answers on a kept connection to an app whose server
writes headers and body apart, with and without the router.
"""
import datetime
import http.client
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent.parent
BINARY = os.environ.get("SLUGLINE_BINARY", HERE / "target/release/slugline")
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 15


def first_200(port, host, wanted):
    """Asks until the app answers with a text; each attempt on a connection of its own."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/version", headers={"Host": host})
            answer = connection.getresponse()
            if answer.status == 200 and answer.read().decode() == wanted:
                return
        except OSError:
            pass
        time.sleep(0.004)
    sys.exit(f"{wanted} does not answer within 20 seconds")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def kept(port, host, count=50):
    """Milliseconds of answers on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    times = []
    for _ in range(count):
        start = time.monotonic()
        connection.request("GET", "/version", headers={"Host": host})
        connection.getresponse().read()
        times.append((time.monotonic() - start) * 1000)
    return statistics.median(times[count // 2:])


# What the log says when a phase ends, and the phase.
PHASES = [
    (" created by user", "the release is made and durable"),
    ("Starting process", "a dyno is decided on"),
    ("]: listening", "its sandbox, its shell and the app's own start"),
    ("from starting to up", "the app binds, which is noticed"),
]


def phases(lines, began, ended):
    """Milliseconds from each phase's end to the next one's."""
    at, found = began, []
    for text, _ in PHASES:
        line = next(line for line in lines if text in line)
        then = datetime.datetime.fromisoformat(line.split(" ", 1)[0]).timestamp()
        found.append((then - at) * 1000)
        at = then
    return found + [(ended - at) * 1000]


def main():
    work = pathlib.Path(tempfile.mkdtemp(prefix="slugline-boot-"))
    work.chmod(0o755)
    app = work / "app"
    shutil.copytree(HERE / "fixtures/apps/inline_dynos", app)
    env = {"PATH": os.environ["PATH"], "HOME": str(work), "SLUGLINE_DATA": str(work / "data"),
           "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    for name in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{name}_NAME": "Ada", f"GIT_{name}_EMAIL": "ada@example.com"}
    server = subprocess.Popen([BINARY, "serve", "--listen", "127.0.0.1:0"], env=env, text=True,
                              stdout=subprocess.PIPE, stderr=open(work / "log", "w"))
    by_hand, by_server, parts, alone = [], [], [], []
    try:
        url = server.stdout.readline().split()[-1]
        router = int(server.stdout.readline().strip().rstrip("/").rsplit(":", 1)[1])
        env["SLUGLINE_URL"] = url

        def run(*arguments):
            subprocess.run(arguments, cwd=app, env=env, check=True, capture_output=True)

        run("git", "init", "--quiet", "--initial-branch=main")
        run("git", "add", "-A")
        run("git", "commit", "--quiet", "-m", "First")
        run(BINARY, "apps", "create", "hello")
        run(BINARY, "buildpacks", "set", "inline")
        token = (work / "data/admin-token").read_text().strip()
        push = ["-c", f"http.extraHeader=Authorization: Bearer {token}", "push", "slugline", "main"]
        run("git", *push)
        api = url.split("://")[1]
        for number in range(ROUNDS):
            version = f"v{number}"
            port = free_port()
            start = time.monotonic()
            own = subprocess.Popen(
                ["bash", "--login", "-c", f"exec /usr/bin/python3 -u server.py {port}"], cwd=app,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(app), "DYNO": "web.1",
                     "VERSION": version}, stdout=subprocess.DEVNULL)
            first_200(port, "localhost", version)
            by_hand.append((time.monotonic() - start) * 1000)
            if number == 0:
                direct = kept(port, "localhost")
            own.kill()
            own.wait()
            def ask(path, body):
                connection = http.client.HTTPConnection(api)
                connection.request("PATCH", f"/apps/hello/{path}", json.dumps(body),
                                   {"Authorization": f"Bearer {token}", "Content-Type": "application/json"})
                return connection

            began, start = time.time(), time.monotonic()
            answer = ask("config-vars", {"VERSION": version})
            first_200(router, "hello.localhost", version)
            by_server.append((time.monotonic() - start) * 1000)
            ended = time.time()
            answer.getresponse().read()
            log = subprocess.run([BINARY, "logs", "-a", "hello", "-n", "1500"], env=env, text=True,
                                 capture_output=True, check=True).stdout.splitlines()
            ours = [line for line in log if datetime.datetime.fromisoformat(
                line.split(" ", 1)[0]).timestamp() > began]
            parts.append(phases(ours, began, ended))
            ask("formation/web", {"quantity": 0}).getresponse().read()
            # What went before it has ended.
            time.sleep(0.5)
            start = time.monotonic()
            answer = ask("formation/web", {"quantity": 1})
            answer.getresponse().read()
            first_200(router, "hello.localhost", version)
            alone.append((time.monotonic() - start) * 1000)
            time.sleep(0.3)
        routed = kept(router, "hello.localhost")
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(work, ignore_errors=True)
    hand, ours = statistics.median(by_hand), statistics.median(by_server)
    print(f"first 200 by hand: {hand:.0f} ms; of a release: {ours:.0f} ms; {ours - hand:+.0f} ms "
          f"(medians of {ROUNDS}; the aim: at most +150 ms)")
    lone = statistics.median(alone)
    print(f"first 200 of a dyno that a request waits for: {lone:.0f} ms; {lone - hand:+.0f} ms")
    names = [name for _, name in PHASES] + ["the router knows, and the first answer"]
    for name, *times in zip(names, *parts):
        print(f"  {statistics.median(times):6.1f} ms  {name}")
    print(f"kept connection, headers and body written apart: {direct:.1f} ms directly, "
          f"{routed:.1f} ms by the router")


main()
