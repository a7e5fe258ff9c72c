// Tabs of an origin, as objects of one process: the channel is node's, and the locks are those of locks.js. The tests
// in tests/browser do the same with the tabs of a browser.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { EventStream } from '../src/index.js';
import { install, uninstall, users } from './locks.js';
import { begin, next, serve } from './server.js';

const timeout = 60_000;
install();

/** The id of tailwater behind `offset` records of one partition. */
function id(offset) {
  const varint = (number) => (number < 128 ? [number] : [(number & 127) | 128, ...varint(number >> 7)]);
  return Buffer.from([1, 2, 0, ...varint(2 * offset)]).toString('base64url');
}
const offsetOf = (text) => {
  const bytes = [...Buffer.from(text.replace(/\/.*/, ''), 'base64url')].slice(3);
  return bytes.reduceRight((sum, byte) => sum * 128 + (byte & 127), 0) / 2;
};

/** A server with a log of one partition, whose records are their offsets. */
async function logServer(t, { live = false, etags = false } = {}) {
  const log = { length: 0, refuse: false };
  const clients = new Map();
  const record = (offset) => `data:${offset}\nid:${id(offset + 1)}${etags ? `/e${offset}` : ''}\n\n`;
  const server = await serve(t, (request, response) => {
    if (log.refuse) return response.writeHead(503).end();
    const last = request.headers['last-event-id'];
    let text = 'retry:1\n\n';
    for (let offset = last ? offsetOf(last) : 0; offset < log.length; offset++) text += record(offset);
    if (live) text += `event:live\ndata:{}\nid:${id(log.length)}\n\n`;
    begin(response, text);
    clients.set(response, last);
    response.on('close', () => clients.delete(response));
  });
  return Object.assign(log, {
    ...server,
    clients,
    append(number = 1) {
      for (; number > 0; number--) {
        const text = record(log.length++);
        for (const response of clients.keys()) response.write(text);
      }
    },
    cut() {
      for (const response of clients.keys()) response.destroy();
    },
  });
}

/** A tab. What it saw must be the log from `from` on. */
function open(t, log, options) {
  const stream = new EventStream(log.url, { share: true, ...options });
  t.after(() => stream.close());
  const tab = { stream, seen: [], lives: 0, states: [] };
  stream.addEventListener('message', ({ data, lastEventId }) => {
    assert.equal(offsetOf(lastEventId), +data + 1);
    tab.seen.push(+data);
  });
  stream.addEventListener('live', () => tab.lives++);
  for (const type of ['open', 'error']) stream.addEventListener(type, () => tab.states.push(stream.readyState));
  return tab;
}

const until = async (holds, why) => {
  for (const end = Date.now() + Number(process.env.WAIT ?? 20_000); !holds(); await delay(2)) assert.ok(Date.now() < end, why ?? `${holds}`);
};
const caughtUp = (tab, log) => until(() => tab.seen.length === log.length, 'a tab has not caught up');
const exact = (tab, log) => assert.deepEqual(tab.seen, Array.from({ length: log.length }, (_, offset) => offset));
/** Has the leader say where it is, by a comment of the server. */
async function comment(response, url) {
  const channel = new BroadcastChannel(`tailwater 1 true ${url}`);
  const said = new Promise((resolve) => {
    channel.onmessage = resolve;
  });
  response.write(':\n\n');
  await said;
  channel.close();
  // All channels of the process have the message before the next turn but one.
  for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate);
}
const one = (log) => until(() => log.clients.size === 1, 'there is more than one connection');

for (const etags of [false, true]) {
  test(`tabs share one connection, also of a quiet topic ${etags ? 'with etags' : ''}`, { timeout }, async (t) => {
    const log = await logServer(t, { live: true, etags });
    log.append(1000);
    const first = open(t, log);
    await caughtUp(first, log);
    // Its id has an etag, and that of the event live has none.
    log.append();
    await caughtUp(first, log);
    const others = [open(t, log), open(t, log), open(t, log)];
    for (const tab of others) await caughtUp(tab, log);
    await one(log);
    const { length } = log.requests;
    assert.equal(length, 4, 'each tab has read a stream of its own first');
    for (let round = 0; round < 50; round++) {
      log.append();
      if (round % 7 === 0) await delay(1);
    }
    for (const tab of [first, ...others]) {
      await caughtUp(tab, log);
      exact(tab, log);
      assert.equal(tab.lives, 1);
      assert.equal(tab.stream.readyState, 1);
      assert.equal(tab.stream.lastEventId, first.stream.lastEventId);
    }
    assert.equal(log.requests.length, length);
  });
}

test('when the leader is closed, another tab goes on from where it is', { timeout }, async (t) => {
  const log = await logServer(t);
  const tabs = [];
  for (let count = 0; count < 5; count++) {
    log.append(3);
    tabs.push(open(t, log));
    await caughtUp(tabs[count], log);
    await one(log);
  }
  while (tabs.length) {
    log.append(2);
    for (const tab of tabs) await caughtUp(tab, log);
    const { length } = log.requests;
    tabs.shift().stream.close();
    log.append(4);
    for (const tab of tabs) {
      await caughtUp(tab, log);
      exact(tab, log);
    }
    if (!tabs.length) break;
    await one(log);
    assert.equal(log.requests.length, length + 1);
  }
  await until(() => log.clients.size === 0 && users() === 0);
});

test('a lost connection is one for all tabs', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append();
  const tabs = [open(t, log), open(t, log), open(t, log)];
  for (const tab of tabs) await caughtUp(tab, log);
  await one(log);
  const { length } = log.requests;
  t.mock.method(Math, 'random', () => 0.1);
  for (const tab of tabs) tab.states.length = 0;
  log.cut();
  log.append(5);
  for (const tab of tabs) {
    await caughtUp(tab, log);
    exact(tab, log);
    assert.deepEqual(tab.states, [0, 1]);
  }
  assert.equal(log.requests.length, length + 1);
});

test('tabs at different points meet', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(100);
  const first = open(t, log, { lastEventId: id(90) });
  const second = open(t, log, { lastEventId: id(40) });
  const third = open(t, log, { lastEventId: id(100) });
  for (const [tab, from] of [[first, 90], [second, 40], [third, 100]]) {
    await until(() => tab.seen.length === 100 - from);
  }
  await one(log);
  const { length } = log.requests;
  const fourth = open(t, log, { lastEventId: id(100) });
  await until(() => fourth.stream.readyState === 1);
  assert.equal(log.requests.length, length, 'a tab that is where the leader is needs no stream of its own');
  log.append(3);
  for (const [tab, from] of [[first, 90], [second, 40], [third, 100]]) {
    await until(() => tab.seen.length === 103 - from);
    assert.deepEqual(tab.seen, Array.from({ length: 103 - from }, (_, offset) => offset + from));
  }
  assert.equal(log.clients.size, 1);
});

test('a tab that begins anew gets all, and the others nothing twice', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(50);
  const tabs = [open(t, log), open(t, log), open(t, log)];
  for (const tab of tabs) await caughtUp(tab, log);
  await one(log);
  for (const anew of [tabs[2], tabs[0]]) {
    anew.seen.length = 0;
    anew.stream.restart();
    log.append(5);
    for (const tab of tabs) {
      await caughtUp(tab, log);
      exact(tab, log);
    }
    await one(log);
  }
  // Nothing moves on a quiet stream.
  tabs[1].seen.length = 0;
  tabs[1].stream.restart();
  await caughtUp(tabs[1], log);
  await one(log);
});

test('a tab that is closed when it loses the leader has no connection', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(3);
  const [first, second] = [open(t, log), open(t, log)];
  for (const tab of [first, second]) await caughtUp(tab, log);
  await one(log);
  const { length } = log.requests;
  second.stream.addEventListener('error', () => second.stream.close());
  first.seen.length = 0;
  first.stream.restart();
  await until(() => second.stream.readyState === 2);
  await caughtUp(first, log);
  await until(() => log.clients.size === 1 && users() === 1);
  log.append();
  await caughtUp(first, log);
  assert.equal(log.clients.size, 1);
  assert.ok(log.requests.length <= length + 2);
});

test('tabs share nothing under different names', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(10);
  const tabs = ['alice', 'alice', 'bob', 'true', true, false, undefined].map((share) => open(t, log, { share }));
  for (const tab of tabs) await caughtUp(tab, log);
  await until(() => log.clients.size === 6);
  log.append();
  for (const tab of tabs) await caughtUp(tab, log);
  assert.equal(log.clients.size, 6);
});

test('streams without ids are not shared', { timeout }, async (t) => {
  const { url, open: responses } = await serve(t, (request, response) => begin(response, 'data:hello\n\n'));
  const seen = [];
  for (let count = 0; count < 3; count++) {
    const stream = new EventStream(url, { share: true });
    t.after(() => stream.close());
    stream.addEventListener('message', () => seen.push(count));
    await next(stream, 'message');
  }
  for (const response of responses) response.write('data:bye\n\n');
  await until(() => seen.length === 6);
  assert.deepEqual(seen.sort(), [0, 0, 1, 1, 2, 2]);
});

test('an event without an id is nothing to follow from', { timeout }, async (t) => {
  const { url, requests, open: responses } = await serve(t, (request, response, count) => {
    begin(response, count === 1 ? 'data:a\nid:1\n\ndata:b\n\n' : 'data:a\nid:1\n\n');
  });
  const first = new EventStream(url, { share: true });
  t.after(() => first.close());
  await next(first, 'message', ({ data }) => data === 'b');
  const second = new EventStream(url, { share: true });
  t.after(() => second.close());
  await next(second, 'message');
  // Both have the same last id, but only one has the event behind it.
  const [one, other] = responses;
  await comment(one, url);
  other.write('data:b\n\n');
  await next(second, 'message', ({ data }) => data === 'b');
  assert.equal(requests.length, 2);
  // From the next id on they share a stream.
  one.write('data:c\nid:2\n\n');
  other.write('data:c\nid:2\n\n');
  await next(second, 'message', ({ data }) => data === 'c');
  await until(() => responses.size === 1);
});

test('the leader connects first', { timeout }, async (t) => {
  let first;
  const { url, requests } = await serve(t, (request, response, count) => {
    if (count === 1) first = response;
    else begin(response, 'data:a\nid:1\n\n');
  });
  const streams = [new EventStream(url, { share: true }), new EventStream(url, { share: true })];
  for (const stream of streams) t.after(() => stream.close());
  await until(() => first);
  // A page that is opened now asks the leader.
  streams.push(new EventStream(url, { share: true }));
  t.after(() => streams[2].close());
  for (let turn = 0; turn < 20; turn++) await new Promise(setImmediate);
  assert.equal(requests.length, 1);
  begin(first, 'data:a\nid:1\n\n');
  await Promise.all(streams.map((stream) => next(stream, 'message')));
  assert.equal(requests.length, 3);
});

test('a tab waits for its own event live', { timeout }, async (t) => {
  const live = 'event:live\ndata:{}\nid:1\n\n';
  const { url, open: responses } = await serve(t, (request, response, count) => {
    begin(response, count === 1 ? `data:a\nid:1\n\n${live}` : 'data:a\nid:1\n\n');
  });
  const first = new EventStream(url, { share: true });
  t.after(() => first.close());
  await next(first, 'live');
  const second = new EventStream(url, { share: true });
  t.after(() => second.close());
  await next(second, 'message');
  const [one, other] = responses;
  await comment(one, url);
  assert.equal(responses.size, 2);
  other.write(live);
  await next(second, 'live');
  await until(() => responses.size === 1);
  // So it does if it begins anew.
  second.restart();
  await next(second, 'message');
  await comment(one, url);
  assert.equal(responses.size, 2);
  [...responses][1].write(live);
  await next(second, 'live');
  await until(() => responses.size === 1);
});

test('without locks, and where they are forbidden, each tab has a connection', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(3);
  const { locks } = navigator;
  t.after(install);
  uninstall();
  const tabs = [open(t, log), open(t, log)];
  Object.defineProperty(globalThis, 'navigator', {
    value: { locks: { request: async () => Promise.reject(new DOMException('', 'SecurityError')) } },
    configurable: true,
  });
  tabs.push(open(t, log));
  t.mock.property?.(globalThis, 'BroadcastChannel', undefined);
  for (const tab of tabs) await caughtUp(tab, log);
  assert.equal(log.clients.size, 3);
  assert.ok(locks);
});

test('messages of others change nothing', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(3);
  const tabs = [open(t, log), open(t, log)];
  for (const tab of tabs) await caughtUp(tab, log);
  await one(log);
  const { length } = log.requests;
  const channel = new BroadcastChannel(`tailwater 1 true ${log.url}`);
  t.after(() => channel.close());
  for (const junk of [null, undefined, 1, 'text', {}, [], [NaN], ['x', 1], { term: 1 }, [[], {}], [-1, 1, true, '', {}]]) {
    channel.postMessage(junk);
  }
  // Of a leader whose term is over.
  channel.postMessage([1, 1, false, id(9), { type: 'message', data: '8', id: id(9) }]);
  log.append(3);
  for (const tab of tabs) {
    await caughtUp(tab, log);
    exact(tab, log);
  }
  assert.equal(log.requests.length, length);
});

test('a message that is missing is noticed', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(3);
  const tabs = [open(t, log), open(t, log)];
  for (const tab of tabs) await caughtUp(tab, log);
  await one(log);
  // The second of the next three messages with an event.
  const { postMessage } = BroadcastChannel.prototype;
  let count = 0;
  t.mock.method(BroadcastChannel.prototype, 'postMessage', function (message) {
    if (!message?.[4] || ++count !== 2) postMessage.call(this, message);
  });
  log.append(3);
  for (const tab of tabs) {
    await caughtUp(tab, log);
    exact(tab, log);
  }
  await one(log);
});

test('a leader that has stopped without a word is replaced, and goes on as one of the others', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(3);
  const idle = 150;
  const tabs = [open(t, log, { idle }), open(t, log, { idle }), open(t, log, { idle })];
  for (const tab of tabs) await caughtUp(tab, log);
  await one(log);
  // The tab still holds the lock, but nothing of it arrives any more.
  const { postMessage } = BroadcastChannel.prototype;
  let muted;
  const post = t.mock.method(BroadcastChannel.prototype, 'postMessage', function (message) {
    if (message && !muted) muted = this;
    if (this !== muted) postMessage.call(this, message);
  });
  const alive = setInterval(() => log.append(), 20);
  t.after(() => clearInterval(alive));
  await until(() => post.mock.calls.some(({ this: channel, arguments: [message] }) => message && channel !== muted));
  muted = {};
  await delay(500);
  clearInterval(alive);
  await one(log);
  for (const tab of tabs) {
    await caughtUp(tab, log);
    exact(tab, log);
  }
});

for (const [name, token] of [
  ['brings no token', () => new Promise(() => {})],
  ['cannot bring a token', () => Promise.reject(new Error('signed out'))],
]) {
  test(`a leader that ${name} does not keep others from a connection`, { timeout }, async (t) => {
    t.mock.method(Math, 'random', () => 0.01);
    const log = await logServer(t);
    log.append(3);
    const first = open(t, log, { idle: 1000, token });
    const second = open(t, log, { idle: 1000 });
    const third = open(t, log, { idle: 1000 });
    const alive = setInterval(() => log.append(), 20);
    t.after(() => clearInterval(alive));
    await until(() => second.seen.length && third.seen.length);
    await one(log);
    clearInterval(alive);
    assert.deepEqual(first.seen, []);
    for (const tab of [second, third]) {
      await caughtUp(tab, log);
      exact(tab, log);
    }
  });
}

test('a tab whose lock was taken away waits for it again', { timeout }, async (t) => {
  const log = await logServer(t);
  log.append(3);
  const [first, second] = [open(t, log), open(t, log)];
  for (const tab of [first, second]) await caughtUp(tab, log);
  await one(log);
  await navigator.locks.request(`tailwater 1 true ${log.url}`, { steal: true }, () => {});
  log.append(3);
  for (const tab of [first, second]) await caughtUp(tab, log);
  await one(log);
  second.stream.close();
  log.append(3);
  await caughtUp(first, log);
  exact(first, log);
});

test('what a tab keeps while it catches up is bounded', { timeout }, async (t) => {
  const { url, open: responses } = await serve(t, (request, response, count) => {
    begin(response, `data:a\nid:${count === 1 ? 1 : 'other'}\n\n`);
  });
  const leader = new EventStream(url, { share: true });
  t.after(() => leader.close());
  await next(leader, 'message');
  const late = new EventStream(url, { share: true });
  t.after(() => late.close());
  await next(late, 'message');
  const [response] = responses;
  const size = 1 << 18;
  const count = 400;
  globalThis.gc?.();
  const before = process.memoryUsage().heapUsed;
  for (let number = 0; number < count; number++) {
    const drained = response.write(`data:${'x'.repeat(size)}\nid:n${number}\n\n`);
    if (!drained) await new Promise((resolve) => response.once('drain', resolve));
  }
  await until(() => leader.lastEventId === `n${count - 1}`);
  await delay(50);
  globalThis.gc?.();
  const grown = process.memoryUsage().heapUsed - before;
  if (globalThis.gc) assert.ok(grown < (size * count) / 4, `${grown} bytes`);
  assert.equal(late.lastEventId, 'other');
});

test('a page that is frozen holds nothing, and catches up', { timeout }, async (t) => {
  const log = await logServer(t);
  const page = new EventTarget();
  for (const name of ['addEventListener', 'removeEventListener']) {
    globalThis[name] = page[name].bind(page);
    t.after(() => delete globalThis[name]);
  }
  log.append(3);
  const tab = open(t, log);
  await caughtUp(tab, log);
  for (const [away, back] of [['freeze', 'resume'], ['pagehide', 'pageshow']]) {
    page.dispatchEvent(new Event(away));
    assert.equal(tab.stream.readyState, 0);
    await until(() => log.clients.size === 0 && users() === 0);
    log.append(3);
    page.dispatchEvent(new Event(back));
    page.dispatchEvent(new Event(back));
    await caughtUp(tab, log);
    exact(tab, log);
    assert.equal(log.clients.size, 1);
  }
  tab.stream.close();
  page.dispatchEvent(new Event('pageshow'));
  await until(() => log.clients.size === 0 && users() === 0);
});

test('a page that is online again does not wait', { timeout }, async (t) => {
  const log = await logServer(t);
  const page = new EventTarget();
  for (const name of ['addEventListener', 'removeEventListener']) {
    globalThis[name] = page[name].bind(page);
    t.after(() => delete globalThis[name]);
  }
  log.append();
  log.refuse = true;
  // Math.random makes the delay as long as it gets.
  t.mock.method(Math, 'random', () => 1e6);
  const tab = open(t, log, { share: false });
  await until(() => tab.states.length === 1);
  log.refuse = false;
  // The delay begins behind the one that a server demands, which is 0.
  const online = setInterval(() => page.dispatchEvent(new Event('online')), 20);
  t.after(() => clearInterval(online));
  await caughtUp(tab, log);
});

test('whatever happens, each tab sees all and nothing twice', { timeout }, async (t) => {
  const seed = Number(process.env.SEED ?? Date.now() % 1e6);
  t.diagnostic(`SEED=${seed}`);
  let random = seed;
  const draw = (bound) => {
    random = (random * 1103515245 + 12345) % 2147483648;
    return Math.floor((random / 2147483648) * bound);
  };
  const log = await logServer(t, { live: true, etags: true });
  t.mock.method(Math, 'random', () => 0.01);
  const tabs = [];
  for (let step = 0; step < 400; step++) {
    const action = draw(20);
    const tab = tabs[draw(tabs.length)];
    if (action < 8) log.append(1 + draw(10));
    else if (action < 11 && tabs.length < 8) tabs.push(open(t, log));
    else if (action === 11 && tab) {
      tabs.splice(tabs.indexOf(tab), 1);
      tab.stream.close();
      assert.deepEqual(tab.seen, Array.from({ length: tab.seen.length }, (_, offset) => offset));
    } else if (action === 12) log.cut();
    else if (action === 13) log.refuse = true;
    else if (action === 14 && tab) {
      tab.seen.length = 0;
      tab.stream.restart();
    } else if (action === 15 && tab) {
      navigator.locks.request(`tailwater 1 true ${log.url}`, { steal: true }, () => {}).catch(() => {});
    } else await delay(draw(10));
    if (action > 15) log.refuse = false;
  }
  log.refuse = false;
  if (!tabs.length) tabs.push(open(t, log));
  for (const tab of tabs) {
    await caughtUp(tab, log);
    exact(tab, log);
    assert.ok(tab.lives > 0);
  }
  await one(log);
});
