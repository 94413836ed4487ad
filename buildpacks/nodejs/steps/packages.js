// Prints the packages under node_modules as the YAML list of bin/report.
'use strict';

const fs = require('node:fs');

// npm's record of what it has put there; without dependencies there is none.
const record = 'node_modules/.package-lock.json';
const installed = fs.existsSync(record) ? JSON.parse(fs.readFileSync(record, 'utf8')).packages ?? {} : {};

const lines = new Set();
for (const [path, entry] of Object.entries(installed)) {
  if (entry.link || !entry.version || !path.includes('node_modules/')) continue;
  const name = entry.name ?? path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
  // A JSON string is a YAML string.
  lines.add(`- name: ${JSON.stringify(name)}\n  version: ${JSON.stringify(entry.version)}`);
}
console.log(lines.size > 0 ? ['packages:', ...[...lines].sort()].join('\n') : 'packages: []');
