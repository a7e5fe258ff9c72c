import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';

const root = fileURLToPath(new URL('..', import.meta.url));

test('the package has what it should, and no more', () => {
  const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--silent'], { cwd: root, encoding: 'utf8' });
  const [{ files }] = JSON.parse(said.slice(said.indexOf('[\n')));
  assert.deepEqual(files.map(({ path }) => path).sort(), [
    'LICENSE-APACHE',
    'LICENSE-MIT',
    'README.md',
    'dist/tailwater-client.js',
    'index.d.ts',
    'package.json',
  ]);
  assert.ok(files.every(({ size }) => size > 0));
});

test('what is sent to browsers is at most 3 kB', () => {
  const size = gzipSync(readFileSync(`${root}dist/tailwater-client.js`), { level: 9 }).length;
  assert.ok(size <= 3000, `${size} bytes`);
});

test('the package can be imported by its name, and depends on nothing', async () => {
  const { dependencies } = JSON.parse(readFileSync(`${root}package.json`, 'utf8'));
  assert.equal(dependencies, undefined);
  assert.deepEqual(Object.keys(await import('tailwater-client')).sort(), ['EventStream', 'keyed']);
});
