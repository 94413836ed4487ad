#!/usr/bin/env python3
"""Packs trees side by side with `tar | pigz` and `tar | igzip`, interleaved, and prints medians.

    cargo build --release
    benches/slug_trees.sh /tmp/trees
    benches/slug_engine.py --rounds 7 /tmp/trees/python /tmp/trees/node

Each round runs every competitor once, in a changing order; ratios are of medians to pigz's. Needs
pigz, isal and time of Debian. CPU is of a command and all it starts; peak memory is slugline's own.
"""

import argparse
import hashlib
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SLUGLINE = pathlib.Path(__file__).parent.parent / "target/release/slugline"

# The level that compresses like our own fast one, and the smallest.
IGZIP = [1, 3]


def run(command):
    """Wall and CPU seconds of a command."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{command}: status {status}")
    return wall, usage.ru_utime + usage.ru_stime


def peak(command):
    """Peak MiB of a command: of a child of GNU time, since ours would start with Python's own."""
    done = subprocess.run(
        ["time", "--format=%M", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True
    )
    return int(done.stderr.split()[-1]) / 1024


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def shell(script):
    return ["sh", "-c", script]


def bench(slugline, tree, rounds, out):
    parent, name = shlex.quote(str(tree.parent)), shlex.quote(tree.name)
    slug = [str(slugline), "slug"]
    pack = [*slug, "pack", str(tree), "--output"]

    # A large text file in the middle of the tree: where one of it changes is no matter of luck.
    files = sorted(p for p in tree.rglob("*") if p.is_file() and not p.is_symlink())
    files = [p for p in files if p.suffix in (".py", ".js", ".md")]
    changing = files[len(files) // 2]
    content = changing.read_bytes()

    known = f"{out}/stat-cache.json"
    run([*pack, f"{out}/before.tgz", "--stat-cache", known])
    changed_one = [*pack, f"{out}/after.tgz", "--last", f"{out}/before.tgz"]
    commands = {
        "pigz -6": shell(f"tar c -C {parent} {name} | pigz -6 > {out}/pigz; sha256sum {out}/pigz"),
        "slug": [*pack, f"{out}/slug.tgz"],
        "slug --fast": [*pack, f"{out}/fast.tgz", "--fast"],
        # As the server packs an app, whose kept dependencies it knows; and a tree that nobody knows.
        "slug, one file changed": [*changed_one, "--stat-cache", known],
        "slug, all read, one file changed": changed_one,
    }
    for level in IGZIP:
        tar = f"tar c -C {parent} {name}"
        commands[f"igzip -{level}"] = shell(
            f"{tar} | igzip -{level} > {out}/igzip{level}; sha256sum {out}/igzip{level}"
        )
    outputs = ["pigz", "slug.tgz", "fast.tgz", "after.tgz", "after.tgz", *(f"igzip{n}" for n in IGZIP)]
    results = {label: [] for label in commands}
    order = list(commands)
    for number in range(rounds):
        order = order[1:] + order[:1]
        for label in order:
            changed = label.endswith("changed")
            if changed:
                changing.write_bytes(content + b"\n# round %d\n" % number)
            results[label].append(run(commands[label]))
            if changed:
                # The same bytes as from scratch.
                run([*pack, f"{out}/scratch.tgz"])
                assert digest(f"{out}/scratch.tgz") == digest(f"{out}/after.tgz")
                changing.write_bytes(content)
    # Before peaks are taken, which pack the tree as it is again.
    run([*slug, "delta", f"{out}/before.tgz", f"{out}/after.tgz", "--output", f"{out}/delta"])
    delta = os.path.getsize(f"{out}/delta") / os.path.getsize(f"{out}/after.tgz")
    base = [statistics.median(r[k] for r in results["pigz -6"]) for k in range(2)]
    own = statistics.median(r[0] for r in results["slug"])
    base_size = os.path.getsize(f"{out}/pigz")
    print(f"\n{tree.name}: {len(files)} texts among its files, pigz {base_size / 1e6:.1f} MB")
    print("| work | wall s | of pigz | CPU s | of pigz | size of pigz | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for (label, rows), output in zip(results.items(), outputs):
        wall, cpu = (statistics.median(r[k] for r in rows) for k in range(2))
        size = os.path.getsize(f"{out}/{output}") / base_size
        shown = f"{peak(commands[label]):.0f}" if label.startswith("slug") else "–"
        print(
            f"| {label} | {wall:.2f} | {wall / base[0]:.2f} | {cpu:.2f} | {cpu / base[1]:.2f}"
            f" | {size:.3f} | {shown} |"
        )
        if label.endswith("changed"):
            print(f"  (of our own cold: {wall / own:.2f})")
    print(f"delta after a change of one file: {delta:.4f} of the slug")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--slugline", type=pathlib.Path, default=SLUGLINE)
    parser.add_argument("trees", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    for tool in ["pigz", "igzip", "sha256sum", "time"]:
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is missing: apt-get install pigz isal coreutils time")
    for tree in args.trees:
        # On the same file system as the tree.
        with tempfile.TemporaryDirectory(dir=tree.parent) as out:
            bench(args.slugline, tree.resolve(), args.rounds, out)


main()
