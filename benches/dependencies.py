#!/usr/bin/env python3
"""The dependency step of a build, side by side with the package managers themselves.

    cargo build --release
    benches/dependencies.py DIR [--rounds N] [--cold-rounds N] [--only python|node] [--slugline FILE]

Ours is the whole time that buildpacks take in a real build of an app with those dependencies
(`compile` and `settle` of its phases: sandbox, choice of versions, restored or installed packages,
report), with and, for Node.js, without a script to build. The others install into an empty directory, with
all that they need at hand: pip from a directory of wheels, uv, npm and pnpm from their caches; venvs are
made before. Bytecode is compiled on both sides. Interleaved, medians of the ratios of the pairs. DIR keeps
downloads; as root and as a plain user builds differ, so run it as both.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

REQUIREMENTS = [
    "django", "numpy", "pandas", "boto3", "pillow", "celery",
    "redis", "requests", "sqlalchemy", "gunicorn", "flask", "psycopg2-binary",
]
PACKAGES = [
    "@babel/core@7", "@babel/preset-env@7", "axios@1", "date-fns@4", "eslint@8", "express@5", "jest@29",
    "lodash@4", "moment@2", "react@18", "react-dom@18", "rxjs@7", "typescript@5", "webpack@5",
    "@mui/material@6", "@emotion/react@11", "@emotion/styled@11",
]
PYTHON = "/usr/bin/python3"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--cold-rounds", type=int, default=3)
    parser.add_argument("--only", choices=["python", "node"])
    here = pathlib.Path(__file__).parent.parent
    parser.add_argument("--slugline", type=pathlib.Path, default=here / "target/release/slugline")
    args = parser.parse_args()
    args.dir = args.dir.resolve()
    args.dir.mkdir(parents=True, exist_ok=True)
    args.slugline = args.slugline.resolve()
    if args.only != "node":
        python(args)
    if args.only != "python":
        node(args)


def python(args):
    dir = args.dir / "python"
    app, wheels = dir / "app", dir / "wheels"
    uv = dir / "uv/bin/uv"
    if not uv.exists():
        run([PYTHON, "-m", "venv", dir / "uv"])
        run([dir / "uv/bin/pip", "install", "--quiet", "uv==0.13.9"])
    pinned = app / "requirements.txt"
    if not pinned.exists():
        app.mkdir(exist_ok=True)
        compiled = run([uv, "pip", "compile", "--quiet", "--no-header", "--no-annotate", "--python", PYTHON, "-"],
                       input="\n".join(REQUIREMENTS))
        (app / "Procfile").write_text("web: python app.py\n")
        (app / "app.py").write_text("import numpy\n")
        pinned.write_text(compiled)
    if not wheels.exists():
        run([dir / "uv/bin/pip", "download", "--quiet", "--dest", wheels, "-r", pinned])
    venv = dir / "venv"
    offline = ["--no-index", "--find-links", wheels]

    def empty(with_pip):
        shutil.rmtree(venv, ignore_errors=True)
        run([PYTHON, "-m", "venv", venv] if with_pip else [uv, "venv", "--quiet", "--python", PYTHON, venv])

    def pip(flags):
        empty(with_pip=True)
        return timed([venv / "bin/pip", "install", "--quiet", "--no-cache-dir", *flags, "-r", pinned])

    def by_uv():
        empty(with_pip=False)
        return timed([uv, "pip", "sync", "--quiet", "--compile-bytecode", "--python", venv / "bin/python", pinned])

    build = Ours(args, app, dir)
    build()
    by_uv()
    compiled = [sum(1 for path in paths if path.endswith(".pyc")) for paths in (build.paths(), names(venv))]
    # pip itself is in one of them.
    assert 0.8 < compiled[0] / compiled[1] < 1.3, compiled
    print(f"Python: {len(pinned.read_text().split())} packages, {megabytes(venv)} MB, {compiled[1]} compiled files")
    compare(args.rounds, "warm", build, {
        "pip install --no-index, local wheels": (lambda: pip(offline), 0.10),
        "uv pip sync --compile-bytecode": (by_uv, 0.2),
    })
    compare(args.cold_rounds, "cold", build.cold, {"pip install, cold": (lambda: pip([]), 0.4)})


def node(args):
    dir = args.dir / "node"
    app, built, tree = dir / "app", dir / "built", dir / "tree"
    pnpm = dir / "pnpm/node_modules/.bin/pnpm"
    if not pnpm.exists():
        run(["npm", "install", "--silent", "--prefix", dir / "pnpm", "pnpm@10"])
    if not (built / "package-lock.json").exists():
        for each in (app, built):
            each.mkdir(exist_ok=True)
            (each / "server.js").write_text("require('express');\n")
        named = {name: "^" + version for name, version in (one.rsplit("@", 1) for one in PACKAGES)}
        manifest = {"name": "app", "version": "1.0.0", "private": True, "dependencies": named,
                    "scripts": {"start": "node server.js"}}
        (app / "package.json").write_text(json.dumps(manifest))
        run(["npm", "install", "--package-lock-only", "--silent"], cwd=app)
        shutil.copy(app / "package-lock.json", built)
        manifest["scripts"]["build"] = "true"
        (built / "package.json").write_text(json.dumps(manifest))
    lock = dir / "pnpm-lock"
    if not lock.exists():
        lock.mkdir()
        shutil.copy(app / "package.json", lock)
        shutil.copy(app / "package-lock.json", lock)
        run([pnpm, "import"], cwd=lock)
    caches = {"npm_config_cache": str(dir / "npm-cache"), "npm_config_store_dir": str(dir / "pnpm-store")}

    def empty(of):
        shutil.rmtree(tree, ignore_errors=True)
        tree.mkdir()
        for name in ("package.json", "package-lock.json", "pnpm-lock.yaml"):
            if (of / name).exists() and not (of == lock and name == "package-lock.json"):
                shutil.copy(of / name, tree)

    def npm():
        empty(app)
        return timed(["npm", "ci", "--silent", "--prefer-offline", "--no-audit", "--no-fund"], cwd=tree, env=caches)

    def by_pnpm(offline=True):
        empty(lock)
        flags = ["--offline"] if offline else []
        return timed([pnpm, "install", "--silent", "--frozen-lockfile", *flags], cwd=tree, env=caches)

    plain, scripted = Ours(args, app, dir), Ours(args, built, dir)
    plain()
    scripted()
    by_pnpm(offline=False)
    npm()
    ours = plain.paths()
    theirs = ["node_modules/" + path for path in names(tree / "node_modules")]
    assert set(theirs) <= set(ours), sorted(set(theirs) - set(ours))[:5]
    print(f"Node.js: {megabytes(tree)} MB, {len(theirs)} files")
    for what, build in (("warm", plain), ("warm, with a build script", scripted)):
        compare(args.rounds, what, build, {
            "npm ci": (npm, 0.08),
            "pnpm install --offline": (by_pnpm, 0.3),
        })


class Ours:
    """Builds of one app, with a kept cache."""

    def __init__(self, args, app, dir):
        self.slugline, self.app = args.slugline, app
        self.cache = dir / f"cache-{app.name}"
        self.slug = dir / f"{app.name}.tgz"
        shutil.rmtree(self.cache, ignore_errors=True)
        self.code = 0

    def __call__(self):
        """Seconds of a build with changed code."""
        self.code += 1
        (self.app / "changed.txt").write_text(f"{self.code}\n")
        ran = run([self.slugline, "build", self.app, "--json", "--output", self.slug, "--cache", self.cache])
        took = json.loads(ran)["timings_ms"]
        return (took["compile"] + took["settle"]) / 1000

    def cold(self):
        shutil.rmtree(self.cache, ignore_errors=True)
        return self()

    def paths(self):
        listed = run([self.slugline, "slug", "ls", self.slug]).splitlines()
        return [line.split()[-1] for line in listed]


def compare(rounds, what, ours, others):
    if rounds == 0:
        return
    took = {name: [] for name in ("ours", *others)}
    ratios = {name: [] for name in others}
    for number in range(rounds):
        order = list(others)
        for name in order if number % 2 else reversed(order):
            other = others[name][0]()
            own = ours()
            took[name].append(other)
            took["ours"].append(own)
            ratios[name].append(own / other)
    print(f"  {what}: ours {statistics.median(took['ours']):.2f} s")
    for name, (_, aim) in others.items():
        ratio = statistics.median(ratios[name])
        spread = f"{min(ratios[name]):.3f} to {max(ratios[name]):.3f}"
        print(f"    {name}: {statistics.median(took[name]):.2f} s; ratio {ratio:.3f} ({spread}), the aim {aim}")
    sys.stdout.flush()


def run(command, **options):
    ran = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert ran.returncode == 0, f"{command}: {ran.stdout}{ran.stderr}"
    return ran.stdout


def timed(command, env=None, **options):
    start = time.monotonic()
    run(command, env={**os.environ, **(env or {})}, **options)
    return time.monotonic() - start


def names(dir):
    return [str(path.relative_to(dir)) for path in dir.rglob("*") if path.is_file() and not path.is_symlink()]


def megabytes(dir):
    return int(run(["du", "-sm", dir]).split()[0])


main()
