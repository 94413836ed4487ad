#!/usr/bin/env python3
"""A kept tree that comes back as an overlay, side by side with a copy of it.

    cargo build --release
    benches/restore.py [FILES [ROUNDS [SLUGLINE]]]

Each round builds the same app with the tree restored once each way. Printed are the medians of the
restoring itself, as the build sees it, and of the whole build, which packs the tree into the slug: for
the overlay that includes completing the directory. Both ways must give one digest.
"""

import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

SAVE = """
for d in $(seq 0 $(({files} / 100 - 1))); do
  mkdir -p modules/$d
  for n in $(seq 100); do printf '%01000d' "$d$n" >modules/$d/$n; done
done
slugline buildpack-tool cache save tree modules
"""
RESTORE = "slugline buildpack-tool cache restore {} tree modules"
WAYS = {"overlay": RESTORE.format(""), "copy": RESTORE.format("--copy")}


def main():
    given = sys.argv[1:]
    files = int(given[0]) if given else 10_000
    rounds = int(given[1]) if given[1:] else 7
    slugline = given[2] if given[2:] else pathlib.Path(__file__).parent.parent / "target/release/slugline"
    took = {way: [] for way in WAYS}
    digests = set()
    with tempfile.TemporaryDirectory(prefix="slugline-bench-") as directory:
        dir = pathlib.Path(directory)
        build(dir, slugline, SAVE.format(files=files))
        for _ in range(rounds):
            for way, script in WAYS.items():
                restored, whole, digest = build(dir, slugline, script)
                took[way].append((restored, whole))
                digests.add(digest)
    assert len(digests) == 1, digests
    print(f"{files} files, medians of {rounds} rounds, in milliseconds")
    for number, what in enumerate(("restoring", "whole build")):
        medians = {way: statistics.median(one[number] for one in all) for way, all in took.items()}
        shown = ", ".join(f"{way} {median:.0f}" for way, median in medians.items())
        print(f"{what}: {shown}; overlay / copy {medians['overlay'] / medians['copy']:.3f}")


def build(dir, slugline, script):
    """Builds the app; gives milliseconds of the script and of the build, and the slug's digest."""
    app = dir / "app"
    # The scripts differ, and are not in the slug.
    compile = f"""#!/bin/bash
cd "$1"
begin=$(date +%s%N)
{script}
echo "took $((($(date +%s%N) - begin) / 1000000)) end"
rm -r bin
"""
    (app / "bin").mkdir(parents=True, exist_ok=True)
    for name, text in (("detect", "#!/bin/sh\necho Bench\n"), ("compile", compile)):
        path = app / "bin" / name
        path.write_text(text)
        path.chmod(0o755)
    command = [slugline, "build", app, "--buildpack", "inline"]
    command += ["--cache", dir / "cache", "--output", dir / "slug.tgz"]
    start = time.monotonic()
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    whole = (time.monotonic() - start) * 1000
    assert ran.returncode == 0, ran.stderr
    took = float(ran.stderr.split("took ")[1].split(" end")[0])
    return took, whole, ran.stdout.split()[0]


main()
