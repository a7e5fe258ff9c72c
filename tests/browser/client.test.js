// The package of clients/browser in the tabs of a browser, with the program.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { log as serveLog, pages, route } from './client.js';
import { cuttable } from './cuttable.js';
import { browser, demo } from './demo.js';
import { guarded, token } from './guarded.js';
import { Reader } from './reader.js';

const timeout = 180_000;
let chromium;

before(async () => {
  chromium = await browser();
});

after(() => chromium?.close());

const hour = () => token(Date.now() + 3600_000);

/** The program before a log, with guarded streams, and a context of the browser. */
async function start(t, options = { tls: false, versions: ['http/1.1'] }, browser = chromium) {
  const log = await serveLog();
  t.after(() => log.close());
  const server = await guarded({ ...options, port: log.port, pages });
  t.after(async () => assert.equal(await server.close(), 0, 'exit status'));
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  t.after(() => context.close());
  return { log, context, url: `${server.origin}/client.html` };
}

/** A tab that reads the stream, with tokens of the test. */
async function open(t, { context, url, path = '/events', token = hour, ...options }) {
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  t.after(() => assert.deepEqual(errors, [], 'errors in the page'));
  if (token) await page.exposeFunction('token', token);
  await page.goto(url);
  await page.evaluate(([path, options]) => window.begin(path, options), [path, { share: true, ...options }]);
  return page;
}

const logOf = (page) => page.evaluate(() => window.log);
/** Looks at intervals: a tab in the background may have no frames. */
async function holds(page, condition, argument) {
  try {
    await page.waitForFunction(`(${condition})(window.log, ${JSON.stringify(argument)})`, null, { timeout: 100_000, polling: 100 });
  } catch (cause) {
    const { events, ...log } = await logOf(page);
    throw new Error(`after ${events.length} events, the last ${JSON.stringify(events.at(-1))}, ${JSON.stringify(log)}`, { cause });
  }
}
const until = async (condition, why) => {
  for (const end = Date.now() + 60_000; !condition(); await new Promise((resolve) => setTimeout(resolve, 20))) {
    assert.ok(Date.now() < end, why);
  }
};

/** The tab has each record once, in order. */
async function complete(page, { records }) {
  const count = ({ events }, number) => events.filter(({ type }) => type === 'message' || type === 'delete').length >= number;
  await holds(page, count, records.length);
  const seen = (await logOf(page)).events.filter(({ type }) => type !== 'live').map(({ type, data }) => (type === 'message' ? JSON.parse(data) : type));
  assert.deepEqual(seen, records.map(({ value }) => (value === undefined ? 'delete' : value)));
}

const one = (log) => until(() => log.streams.size === 1, 'more than one connection reaches the server');

test('tabs share one connection, and go on when the one that has it is closed', { timeout }, async (t) => {
  const { log, ...at } = await start(t);
  for (let number = 0; number < 200; number++) log.append(`k${number}`, number);
  // A browser permits six connections of HTTP/1.1.
  const tabs = [];
  for (let number = 0; number < 8; number++) tabs.push(await open(t, { ...at }));
  for (const tab of tabs) await complete(tab, log);
  await one(log);
  const { length } = log.begun;
  log.append('k1', 'for all');
  for (const tab of tabs) await complete(tab, log);
  assert.equal(log.begun.length, length);
  assert.equal(log.streams.size, 1);

  while (tabs.length > 1) {
    const before = log.begun.length;
    log.append('k2', `with ${tabs.length} tabs`);
    // The first one has the connection: the others wait for it in their order.
    await tabs.shift().close();
    log.append('k2');
    for (const tab of tabs) await complete(tab, log);
    await one(log);
    assert.equal(log.begun.length, before + 1, 'one tab has connected again');
    assert.ok(log.begun.at(-1), 'with its last id');
  }
});

test('tabs that are opened at once share one connection', { timeout }, async (t) => {
  const { log, ...at } = await start(t);
  for (let number = 0; number < 500; number++) log.append(`k${number}`, number);
  const writing = setInterval(() => log.append('k', log.records.length), 5);
  // On a slow machine the tabs open for a minute, and each has all records.
  const enough = setTimeout(() => clearInterval(writing), 5000);
  t.after(() => (clearTimeout(enough), clearInterval(writing)));
  const tabs = await Promise.all(Array.from({ length: 8 }, () => open(t, { ...at })));
  await one(log);
  clearInterval(writing);
  for (const tab of tabs) await complete(tab, log);
  await one(log);
});

test('a page that the browser keeps for the way back leaves the connection to others', { timeout }, async (t) => {
  const keeping = await browser({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });
  t.after(() => keeping.close());
  const { log, ...at } = await start(t, { tls: false, versions: ['http/1.1'] }, keeping);
  log.append('a', 1);
  const tabs = [await open(t, at), await open(t, at)];
  for (const tab of tabs) await complete(tab, log);
  await one(log);
  const { length } = log.begun;
  await tabs[0].goto(at.url.replace('client.html', 'client.html?other'));
  await until(() => log.begun.length > length && log.streams.size === 1, 'nobody has connected');
  log.append('a', 2);
  await complete(tabs[1], log);
  await tabs[0].evaluate(() => history.back());
  await tabs[0].waitForFunction('window.log');
  await complete(tabs[0], log);
  await one(log);
});

test('tabs that were offline catch up', { timeout }, async (t) => {
  const { log, ...at } = await start(t);
  log.append('a', 1);
  const tabs = [await open(t, at), await open(t, at)];
  for (const tab of tabs) await complete(tab, log);
  await one(log);
  for (let round = 0; round < 3; round++) {
    await at.context.setOffline(true);
    log.cut();
    log.append('a', `while away, ${round}`);
    log.append('b');
    for (const tab of tabs) await holds(tab, ({ errors }, number) => errors.length > number, (await logOf(tab)).errors.length - 1);
    await at.context.setOffline(false);
    for (const tab of tabs) await complete(tab, log);
    await one(log);
  }
});

test('the state of a compacted topic is the same in each tab', { timeout }, async (t) => {
  const { log, ...at } = await start(t);
  log.append('a', 1);
  log.append('ü', 2);
  log.append('a', 3);
  log.append('b', 4);
  log.append('b');
  const tabs = [];
  for (let number = 0; number < 3; number++) {
    tabs.push(await open(t, { ...at, keyed: true }));
    await holds(tabs[number], ({ live }) => live);
    assert.deepEqual((await logOf(tabs[number])).state, { a: [3, 'e2'], ü: [2, 'e1'] });
  }
  await one(log);
  log.append('ü');
  log.append('c', { text: 'new' });
  for (const tab of tabs) await holds(tab, ({ state }) => state.c);
  for (const tab of tabs) assert.deepEqual((await logOf(tab)).state, { a: [3, 'e2'], c: [{ text: 'new' }, 'e6'] });
});

for (const [protocol, options] of [
  ['h2', { tls: true, versions: ['h2'] }],
  ['http/1.1', { tls: false, versions: ['http/1.1'] }],
]) {
  test(`over ${protocol} a shared stream outlives its token by a challenge`, { timeout }, async (t) => {
    const { log, ...at } = await start(t, options);
    const expiry = Date.now() + 15_000;
    let brought = 0;
    const fresh = () => (brought++ ? hour() : token(expiry));
    const tabs = [await open(t, { ...at, token: fresh })];
    await holds(tabs[0], ({ events }) => events.some(({ type }) => type === 'live'));
    await until(() => brought === 2, 'no challenge was answered');
    tabs.push(await open(t, at));
    log.append('a', 'before');
    for (const tab of tabs) await complete(tab, log);
    await one(log);
    const { length } = log.begun;
    await until(() => Date.now() > expiry + 2000, 'the time stands still');
    log.append('a', 'after');
    for (const tab of tabs) await complete(tab, log);
    assert.equal(log.begun.length, length, 'the stream is the same');
    assert.equal((await logOf(tabs[0])).opened, 1);
  });

  test(`over ${protocol} a stream that ended with its token resumes with the next one`, { timeout }, async (t) => {
    const { log, ...at } = await start(t, options);
    const expiry = Date.now() + 10_000;
    // Its owner brings no other token before that one has expired.
    const page = await open(t, { ...at, token: () => (Date.now() < expiry ? token(expiry) : hour()) });
    log.append('a', 'before');
    await complete(page, log);
    await holds(page, ({ errors }) => errors.length > 0);
    log.append('a', 'between');
    await holds(page, ({ opened }) => opened === 2);
    log.append('a', 'after');
    await complete(page, log);
    assert.ok(Date.now() >= expiry);
  });
}

test('a stream without a valid token ends', { timeout }, async (t) => {
  const { log, ...at } = await start(t);
  const page = await open(t, { ...at, token: () => token(Date.now() - 1000) });
  await holds(page, ({ errors }) => errors.length === 2);
  assert.deepEqual((await logOf(page)).errors, ['401', '401']);
  assert.equal(await page.evaluate(() => window.stream.readyState), 2);
  assert.equal(log.begun.length, 0);
});

// The page is at localhost, so the other one is another origin.
for (const host of ['localhost', '127.0.0.1']) {
  test(`tabs with a topic of Kafka at ${host} lose nothing and repeat nothing`, { timeout }, async (t) => {
    const server = await demo();
    t.after(async () => assert.equal(await server.interrupt(), 0, 'exit status of the demo at Ctrl-C'));
    const network = await cuttable(server.port);
    t.after(() => network.close());
    // A page that the test provides counts as one of the internet.
    const context = await chromium.newContext({ permissions: ['local-network-access'] });
    t.after(() => context.close());
    const origin = `http://localhost:${network.port}`;
    await route(context, origin);

    const path = `http://${host}:${network.port}/events?liveEvent=true`;
    const reader = await Reader.open(`http://localhost:${server.port}/events?liveEvent=true`);
    t.after(() => reader.close());
    await reader.until((events) => events.length > 1);
    const [{ id: lastEventId }] = reader.events;
    const url = `${origin}/client.html`;
    const tabs = [];
    for (let number = 0; number < 3; number++) tabs.push(await open(t, { context, url, path, token: null, lastEventId }));

    const records = (events) => events.filter(({ type }) => type !== 'live');
    const same = async () => {
      const wanted = reader.events.length + 4;
      await reader.until((events) => events.length >= wanted);
      const expected = records(reader.events).slice(records(reader.events).findIndex(({ id }) => id === lastEventId) + 1);
      for (const tab of tabs) {
        await holds(tab, ({ events }, number) => events.filter(({ type }) => type !== 'live').length >= number, expected.length);
        assert.deepEqual(records((await logOf(tab)).events).slice(0, expected.length), expected);
      }
    };
    await same();
    network.cut();
    const missed = reader.events.length + 4;
    await reader.until((events) => events.length >= missed);
    network.mend();
    await same();
    await tabs.shift().close();
    await same();
  });
}
