"""Prints the installed packages as the YAML list of bin/report."""

import importlib.metadata
import json

packages = {}
for found in importlib.metadata.distributions():
    # A folder of broken metadata has no name.
    if found.metadata["Name"]:
        packages[found.metadata["Name"]] = found.version
print("packages:" if packages else "packages: []")
for name in sorted(packages, key=str.lower):
    # A JSON string is a YAML string.
    print(f"- name: {json.dumps(name)}\n  version: {json.dumps(packages[name])}")
