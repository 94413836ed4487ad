// Usage: node manifest.js PACKAGE_JSON NPM
//
// Prints facts that bash can read, one "name value" a line: node, npm (versions
// of the host), wanted (engines.node), match (any, yes, other-patch, other-major
// or invalid), manager, dependencies (if there are any), script (one for each).
// Exits with 3, having printed why, where package.json cannot be used.
'use strict';

const fs = require('node:fs');
const { createRequire } = require('node:module');

const [manifestPath, npmPath] = process.argv.slice(2);

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const oneLine = (value) => String(value).replace(/\s+/g, ' ').trim();
const print = (name, value) => console.log(`${name} ${oneLine(value)}`);

// npm, too, allows a byte order mark.
const readText = () => fs.readFileSync(manifestPath, 'utf8').replace(/^\uFEFF/, '');

// Older versions of Node give an offset only.
function place(message) {
  const position = message.match(/at position (\d+)$/)?.[1];
  if (position === undefined) return '';
  const before = readText().slice(0, Number(position)).split('\n');
  return ` (line ${before.length} column ${before.at(-1).length + 1})`;
}

function readManifest() {
  let manifest;
  try {
    manifest = JSON.parse(readText());
  } catch (error) {
    console.log(oneLine(error.message + place(error.message)));
    process.exit(3);
  }
  if (!isObject(manifest)) {
    console.log('The file holds valid JSON, but not an object.');
    process.exit(3);
  }
  return manifest;
}

// Only the major has to match: the host has one version of each.
function match(semver, wanted) {
  if (semver.validRange(wanted) === null) return 'invalid';
  if (semver.satisfies(process.version, wanted)) return 'yes';
  return semver.intersects(wanted, `${process.versions.node.split('.')[0]}.x`) ? 'other-patch' : 'other-major';
}

const manifest = readManifest();
// npm's own semver, wherever the distribution has put it.
const requireFromNpm = createRequire(fs.realpathSync(npmPath));
const npmVersion = requireFromNpm('../package.json').version;

print('node', process.versions.node);
print('npm', npmVersion);
if (manifest.engines?.node !== undefined) {
  const wanted = oneLine(manifest.engines.node);
  print('wanted', wanted);
  print('match', match(requireFromNpm('semver'), wanted));
}
if (typeof manifest.packageManager === 'string') print('manager', manifest.packageManager);
const kinds = ['dependencies', 'devDependencies', 'optionalDependencies', 'workspaces'];
if (kinds.some((kind) => Object.keys(manifest[kind] ?? {}).length > 0)) print('dependencies', 'yes');
for (const script of Object.keys(isObject(manifest.scripts) ? manifest.scripts : {})) print('script', script);
