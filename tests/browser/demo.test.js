import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cuttable } from './cuttable.js';
import { browser, demo } from './demo.js';
import { Reader } from './reader.js';

const pictures = fileURLToPath(new URL('.out/', import.meta.url));
const timeout = 120_000;

let server, network, chromium;

before(async () => {
  await mkdir(pictures, { recursive: true });
  server = await demo();
  network = await cuttable(server.port);
  chromium = await browser();
});

after(async () => {
  await chromium?.close();
  network?.close();
  if (server) assert.equal(await server.interrupt(), 0, 'exit status of the demo at Ctrl-C');
});

/** The page behind the network that can be cut, and a reader of the same stream that is not. */
async function open(t) {
  const context = await chromium.newContext({ viewport: { width: 1280, height: 800 }, colorScheme: 'light' });
  t.after(() => context.close());
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  t.after(() => assert.deepEqual(errors, [], 'errors in the page'));

  const stream = page.waitForRequest((request) => request.resourceType() === 'eventsource');
  await page.goto(`http://localhost:${network.port}/`);
  const url = new URL((await stream).url());
  url.port = server.port;

  // The reader is there before the page begins anew, so whatever the page sees the reader sees too.
  const reader = await Reader.open(url);
  t.after(() => reader.close());
  await reader.until((events) => events.length > 0);
  await page.reload();
  return { page, reader };
}

const seen = (page) => page.evaluate(() => window.tailwater.events.map(({ id, type, data }) => ({ id, type, data })));
const count = (page) => page.evaluate(() => window.tailwater.events.length);
const more = async (page, number) =>
  page.waitForFunction((wanted) => window.tailwater?.events.length >= wanted, number, { timeout: 30_000 });

/** The page's events are the reader's, from the page's first one to its last: none lost, none twice. */
async function same(page, reader) {
  const events = await seen(page);
  const key = ({ id, type, data }) => JSON.stringify([id, type, data]);
  const last = key(events.at(-1));
  const whole = await reader.until((all) => all.some((event) => key(event) === last));
  const from = whole.findIndex((event) => key(event) === key(events[0]));
  assert.notEqual(from, -1, `the page's first event was never sent: ${key(events[0])}`);
  assert.deepEqual(events, whole.slice(from, from + events.length));
  assert.equal(new Set(events.map(({ id }) => id)).size, events.length, 'an id came twice');
}

test('the page shows events as they arrive', { timeout }, async (t) => {
  const { page, reader } = await open(t);
  await more(page, 12);
  await same(page, reader);
  assert.ok((await page.locator('#events > *').count()) > 0, 'the list is empty');
  await page.screenshot({ path: `${pictures}demo.png` });
});

test('a page that was cut off resumes without loss or repetition', { timeout }, async (t) => {
  const { page, reader } = await open(t);
  await more(page, 3);
  for (let round = 0; round < 3; round++) {
    const before = network.resumed.length;
    network.cut();
    // What had arrived is shown before the page is told of the cut.
    await page.waitForFunction(() => window.tailwater.state !== 'connected');
    const shown = await count(page);
    // There is something to lose: events go by while the page is away.
    const missed = reader.events.length + 4;
    await reader.until((events) => events.length >= missed);
    assert.equal(await count(page), shown, 'events arrived over a network that is down');
    network.mend();
    await more(page, shown + 8);
    assert.ok(network.resumed.length > before, 'the page came back without a last event id');
  }
  await same(page, reader);
  await page.screenshot({ path: `${pictures}resumed.png` });
});

test('the cut button cuts and the page resumes', { timeout }, async (t) => {
  const { page, reader } = await open(t);
  await more(page, 3);
  const before = network.resumed.length;
  const shown = await count(page);
  await page.locator('#cut').click();
  await more(page, shown + 8);
  assert.ok(network.resumed.length > before, 'the page came back without a last event id');
  await same(page, reader);
});

test('a filter shows one key only, and all of it', { timeout }, async (t) => {
  const { page, reader } = await open(t);
  const keys = await page.locator('#filter option').evaluateAll((all) => all.map(({ value }) => value).filter(Boolean));
  const [key] = keys;
  assert.ok(keys.length > 1, 'there are keys to choose from');
  const belongs = ({ type, data }) =>
    type === 'delete' ? Buffer.from(data, 'base64').toString() === key : Object.values(JSON.parse(data)).includes(key);

  const stream = page.waitForRequest((request) => request.resourceType() === 'eventsource');
  await page.locator('#filter').selectOption(key);
  await stream; // the server filters, not the page
  await more(page, 4);

  const events = await seen(page);
  for (const event of events) assert.ok(belongs(event), `of another key than ${key}: ${event.data}`);
  // The stream of one key carries the same ids as the stream of all of them.
  const last = events.at(-1).id;
  const whole = (await reader.until((all) => all.some(({ id }) => id === last))).filter(belongs);
  const from = whole.findIndex(({ id }) => id === events[0].id);
  assert.deepEqual(events, whole.slice(from, from + events.length));
  await page.screenshot({ path: `${pictures}filtered.png` });
});
