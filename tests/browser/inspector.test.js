import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { browser } from './demo.js';
import { guarded, token, upstream } from './guarded.js';

const pictures = fileURLToPath(new URL('.out/', import.meta.url));
const timeout = 120_000;
const secret = 'correct-horse';

let chromium, source, folder;

before(async () => {
  await mkdir(pictures, { recursive: true });
  folder = await mkdtemp(join(tmpdir(), 'tailwater-inspector-'));
  await writeFile(join(folder, 'token'), `${secret}\n`);
  source = await upstream();
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  source?.close();
  await rm(folder, { recursive: true });
});

const cleanups = new WeakMap();

/** Runs at the end of a test, before what was asked for earlier: a page is looked at while its server is there. */
function later(t, clean) {
  const all = cleanups.get(t) ?? [];
  if (all.length === 0) {
    cleanups.set(t, all);
    t.after(async () => {
      while (all.length > 0) await all.pop()();
    });
  }
  all.push(clean);
}

/** A server with streams, and where it is administered. */
async function serve(t, options = []) {
  const server = await guarded({
    tls: false,
    versions: ['http/1.1'],
    port: source.port,
    arguments: ['--admin', '127.0.0.1:0', ...options],
  });
  later(t, () => server.close());
  const address = await server.address('serving the administration');
  return { streams: `${server.origin}/events`, inspector: `http://${address}/` };
}

/** A stream of a client; its text so far, and its end. */
async function client(t, server, subject) {
  const abort = new AbortController();
  later(t, () => abort.abort());
  const authorization = `Bearer ${token(Date.now() + 3_600_000, subject)}`;
  const response = await fetch(server.streams, { headers: { authorization }, signal: abort.signal });
  if (response.status !== 200) return { status: response.status };
  const stream = { status: 200, text: '' };
  stream.ended = (async () => {
    for await (const part of response.body.pipeThrough(new TextDecoderStream())) stream.text += part;
    return stream.text;
  })();
  stream.ended.catch(() => {});
  return stream;
}

/** The inspector in the browser. Neither errors nor blocked resources are allowed. */
async function open(t, server, options = {}) {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  later(t, () => context.close());
  const page = await context.newPage();
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(String(error)));
  page.on('console', (line) => {
    if (line.type() === 'error' && !/401/.test(line.text())) wrong.push(line.text());
  });
  later(t, () => assert.deepEqual(wrong, [], 'errors in the page'));
  await page.addInitScript(() => {
    window.shifts = 0;
    new PerformanceObserver((list) => {
      // Rows move when their order changes.
      const isRow = ({ node }) => (node?.parentElement ?? node)?.closest('tbody');
      for (const { sources, value } of list.getEntries()) {
        if (sources.length === 0 || !sources.every(isRow)) window.shifts += value;
      }
    }).observe({ type: 'layout-shift', buffered: true });
  });
  await page.goto(server.inspector);
  return page;
}

const rows = (page) => page.locator('#streams tbody tr:not([hidden])');
const shows = (page, number) =>
  page.waitForFunction((wanted) => document.querySelectorAll('#streams tbody tr:not([hidden])').length === wanted, number);

test('streams come and go, and are filtered', { timeout }, async (t) => {
  const server = await serve(t);
  const page = await open(t, server);
  await page.getByText('No stream is open.').waitFor();
  assert.equal(await page.locator('#link').textContent(), 'live');
  const boxes = () =>
    page.locator('main > *').evaluateAll((all) => all.map((card) => JSON.stringify(card.getBoundingClientRect())));
  const before = await boxes();
  await page.screenshot({ path: `${pictures}inspector-empty.png` });

  for (const subject of ['alice', 'alice', 'bob']) await client(t, server, subject);
  await shows(page, 3);
  await page.waitForFunction(() => document.querySelector('#tile-streams').textContent === '3');
  await page.getByLabel('Subject', { exact: true }).fill('bob');
  await shows(page, 1);
  assert.equal(await rows(page).locator('.subject').textContent(), 'bob');
  await page.getByRole('button', { name: 'Clear' }).click();
  await shows(page, 3);
  await page.getByRole('button', { name: 'Open for' }).click();
  await page.getByText('3 of 3 streams, the oldest first').waitFor();
  assert.deepEqual(await boxes(), before, 'nothing has moved');
  const shifts = await page.evaluate(() => window.shifts);
  assert.ok(shifts < 0.001, `nothing has jumped, not even in the beginning: ${shifts}`);
  await page.screenshot({ path: `${pictures}inspector.png` });
});

test('a stream is ended after a question', { timeout }, async (t) => {
  const server = await serve(t);
  const page = await open(t, server, { colorScheme: 'dark' });
  const alice = await client(t, server, 'alice');
  const bob = await client(t, server, 'bob');
  await shows(page, 2);
  const kick = () => rows(page).filter({ hasText: 'bob' }).getByRole('button').click();
  await kick();
  const question = page.getByRole('dialog', { name: 'End this stream?' });
  assert.match(await question.textContent(), /bob/);
  await page.screenshot({ path: `${pictures}inspector-kick.png` });
  await question.getByRole('button', { name: 'Cancel' }).click();
  assert.equal(await rows(page).count(), 2);
  await kick();
  await question.getByRole('button', { name: 'End it' }).click();
  assert.match(await bob.ended, /\nretry:\d+\n/, 'it has a time to come again');
  await shows(page, 1);
  assert.equal((await client(t, server, 'bob')).status, 200, 'it may come again');

  await shows(page, 2);
  await rows(page).filter({ hasText: 'alice' }).getByRole('button').click();
  await question.getByLabel('Refuse its subject').selectOption('60');
  await question.getByRole('button', { name: 'End it' }).click();
  await alice.ended;
  await shows(page, 1);
  assert.equal((await client(t, server, 'alice')).status, 403, 'it may not come again');
});

test('texts of clients are text', { timeout }, async (t) => {
  const server = await serve(t);
  const page = await open(t, server);
  const name = '<img src=x onerror="document.title=1"><b>bold</b>';
  await client(t, server, name);
  await shows(page, 1);
  assert.equal(await rows(page).locator('.subject').textContent(), name);
  await rows(page).getByRole('button').click();
  assert.ok((await page.locator('#kick dl').textContent()).includes(name));
  assert.equal(await page.locator('main img, main table b, #kick dl b').count(), 0);
  assert.equal(await page.title(), 'tailwater inspector');
});

test('the page asks for the token and loses it with the page', { timeout }, async (t) => {
  const server = await serve(t, ['--admin-token-file', join(folder, 'token')]);
  const page = await open(t, server);
  const login = page.getByRole('dialog', { name: 'Token' });
  for (const [text, told] of [
    ['wrong', 'This is not the token.'],
    [secret, ''],
  ]) {
    await login.getByLabel('Token').fill(text);
    await login.getByRole('button', { name: 'Show' }).click();
    if (told) await page.getByText(told).waitFor();
  }
  await page.getByText('No stream is open.').waitFor();
  await client(t, server, 'alice');
  await shows(page, 1);
  assert.ok(!page.url().includes(secret));
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]));
  assert.ok(!kept.includes(secret), kept);
  await page.reload();
  await login.waitFor();
});

test('a page of another origin reads nothing and ends nothing', { timeout }, async (t) => {
  const server = await serve(t);
  const alice = await client(t, server, 'alice');
  const context = await chromium.newContext();
  later(t, () => context.close());
  const page = await context.newPage();
  await page.goto(server.streams.replace('/events', '/index.html'));
  const statuses = await page.evaluate(async (inspector) => {
    const tried = [];
    for (const [path, options] of [
      ['streams', {}],
      ['streams?client=127.0.0.1', { method: 'DELETE' }],
      ['drain', { method: 'POST' }],
      ['drain', { method: 'POST', headers: { 'tailwater-inspector': '1' } }],
      ['drain', { method: 'POST', mode: 'no-cors' }],
    ]) {
      tried.push(await fetch(inspector + path, options).then(({ status }) => status, () => 'refused'));
    }
    return tried;
  }, server.inspector);
  // An opaque answer has the status 0.
  assert.deepEqual(statuses, ['refused', 'refused', 'refused', 'refused', 0]);
  source.say('still there');
  await t.test('the stream goes on', async () => {
    while (!alice.text.includes('still there')) await new Promise((resolve) => setTimeout(resolve, 20));
  });
});
