#!/usr/bin/env bash
# Makes the two trees that slug_engine.py packs: installed Python packages (about 300 MB) and a
# node_modules (about 200 MB).
#
#     benches/slug_trees.sh DIR
set -euo pipefail

dir=${1:?usage: slug_trees.sh DIR}
mkdir -p "$dir/python" "$dir/node"

python3 -m venv "$dir/python/venv"
"$dir/python/venv/bin/pip" install --quiet \
  django numpy pandas boto3 pillow celery redis requests sqlalchemy

cat >"$dir/node/package.json" <<'JSON'
{
  "private": true,
  "dependencies": {
    "@babel/core": "^7", "@babel/preset-env": "^7", "axios": "*", "date-fns": "*",
    "eslint": "^8", "express": "*", "jest": "^29", "lodash": "*", "moment": "*",
    "next": "^14", "react": "^18", "react-dom": "^18", "rxjs": "*",
    "typescript": "^5", "webpack": "^5"
  }
}
JSON
npm install --prefix "$dir/node" --silent --ignore-scripts --no-audit --no-fund
# Prebuilt compilers, twice a hundred megabytes of one file each, that no app deploys.
rm -rf "$dir/node/node_modules/@next"

du -sm --apparent-size "$dir/python" "$dir/node"
