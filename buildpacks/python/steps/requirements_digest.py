"""Prints a digest of every file that pip reads for a requirements file.

Where the outcome also depends on something else of the app, such as a package
in one of its own folders, it prints "uncacheable: REASON" instead.
"""

import hashlib
import os
import re
import sys

INCLUDE = re.compile(r"(?:-r|-c|--requirement\b|--constraint\b)[\s=]*(.+)")
SOURCE = re.compile(r"(?:-e|-f|--editable\b|--find-links\b)[\s=]*(.+)")
ARCHIVE = re.compile(r"\.(whl|zip|tgz|tbz|txz|tlz|tar|tar\.\w+)$", re.IGNORECASE)


class Uncacheable(Exception):
    pass


def lines(text):
    """Yields what pip sees: lines joined at a backslash, without comments."""
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line:
            yield line


def is_local(line):
    """Tells whether a requirement names something on disk."""
    source = SOURCE.fullmatch(line)
    if source:
        return "://" not in source[1] or "file:" in source[1]
    target = line.split(";")[0].strip()
    if "file:" in target:
        return True
    if "://" in target:
        return False
    return target.startswith(".") or "/" in target or bool(ARCHIVE.search(target))


def add(path, digest, seen):
    """Adds a file, and those it includes, in the order in which pip reads them."""
    if path in seen:
        return
    seen.add(path)
    try:
        with open(path, "rb") as file:
            content = file.read()
    except OSError:
        raise Uncacheable(f"{path} cannot be read") from None
    digest.update(b"%d:" % len(content))
    digest.update(content)
    for line in lines(content.decode("utf-8", errors="replace")):
        include = INCLUDE.fullmatch(line)
        if include:
            name = include[1].strip("\"'")
            if "://" in name:
                raise Uncacheable(f"{path} includes a file by URL")
            add(os.path.normpath(os.path.join(os.path.dirname(path), name)), digest, seen)
        elif is_local(line):
            raise Uncacheable(f"{path} names local files: {line}")


def main():
    digest = hashlib.sha256()
    try:
        add(sys.argv[1], digest, set())
    except Uncacheable as reason:
        print(f"uncacheable: {reason}")
    else:
        print(digest.hexdigest())


main()
