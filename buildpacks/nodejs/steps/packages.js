// Prints the packages under node_modules as the YAML list of bin/report.
'use strict';

const fs = require('node:fs');
const path = require('node:path');

const lines = new Set();

// npm's record of what it has put there holds digests, too.
const record = 'node_modules/.package-lock.json';
const known = fs.existsSync(record) ? (JSON.parse(fs.readFileSync(record, 'utf8')).packages ?? {}) : {};

const entries = (dir) => {
  try {
    return fs.readdirSync(dir, { withFileTypes: true });
  } catch {
    return [];
  }
};

function add(dir) {
  let manifest;
  try {
    manifest = JSON.parse(fs.readFileSync(path.join(dir, 'package.json'), 'utf8'));
  } catch {
    return;
  }
  if (typeof manifest.name !== 'string' || typeof manifest.version !== 'string') return;
  const digest = known[dir]?.integrity;
  // A JSON string is a YAML string.
  const fields = [`name: ${JSON.stringify(manifest.name)}`, `version: ${JSON.stringify(manifest.version)}`];
  if (typeof digest === 'string') fields.push(`digest: ${JSON.stringify(digest)}`);
  lines.add(`- {${fields.join(', ')}}`);
}

// Directories only: a link is a workspace, or a package that is found elsewhere.
function walk(modules) {
  for (const entry of entries(modules)) {
    if (!entry.isDirectory() || entry.name === '.bin' || entry.name === '.cache') continue;
    const dir = path.join(modules, entry.name);
    if (entry.name.startsWith('@') || entry.name === '.pnpm') {
      for (const inner of entries(dir)) {
        if (!inner.isDirectory()) continue;
        const below = path.join(dir, inner.name);
        if (entry.name !== '.pnpm') add(below);
        walk(path.join(below, 'node_modules'));
      }
      if (entry.name === '.pnpm') continue;
    } else {
      add(dir);
    }
    walk(path.join(dir, 'node_modules'));
  }
}

walk('node_modules');
console.log(lines.size > 0 ? ['packages:', ...[...lines].sort()].join('\n') : 'packages: []');
