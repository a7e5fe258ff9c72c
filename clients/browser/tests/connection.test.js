import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { EventStream } from '../src/index.js';
import { begin, next, serve } from './server.js';

const timeout = 30_000;

/** A stream that is closed with its test and waits for no random time. */
function open(t, url, options) {
  t.mock.method(Math, 'random', () => 0);
  const stream = new EventStream(url, options);
  t.after(() => stream.close());
  const seen = [];
  for (const type of ['message', 'delete', 'gap', 'live', 'challenge']) {
    stream.addEventListener(type, ({ data, lastEventId }) => seen.push([type, data, lastEventId]));
  }
  stream.addEventListener('open', () => seen.push(['open']));
  stream.addEventListener('error', ({ detail }) => seen.push(['error', stream.readyState, detail?.name ?? detail]));
  return { stream, seen };
}

test('events arrive with their types, and the stream resumes after the last id', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response, count) => {
    begin(response, 'retry:0\n\n');
    if (count === 1) {
      response.end('data:a\nid:1\n\nevent:gap\ndata:{}\nid:…\n\nevent:live\ndata:{}\nid:ü 2\n\ndata:lost\nid:3\n');
    } else {
      response.write('event:delete\ndata:a2V5\nid:3\n\n');
    }
  });
  const { stream, seen } = open(t, url, { headers: { 'x-page': '1' } });
  assert.equal(stream.readyState, 0);
  await next(stream, 'delete');
  assert.deepEqual(seen, [
    ['open'],
    ['message', 'a', '1'],
    ['gap', '{}', '…'],
    ['live', '{}', 'ü 2'],
    ['error', 0, 200],
    ['open'],
    ['delete', 'a2V5', '3'],
  ]);
  assert.equal(stream.readyState, 1);
  assert.equal(stream.lastEventId, '3');
  assert.deepEqual(
    requests.map(({ method, headers }) => [method, headers.accept, headers['x-page']]),
    Array(2).fill(['GET', 'text/event-stream', '1']),
  );
  assert.equal(requests[0].headers['last-event-id'], undefined);
  assert.equal(Buffer.from(requests[1].headers['last-event-id'], 'latin1').toString(), 'ü 2');
});

test('a block that has only an id moves the position', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response, count) => {
    begin(response);
    if (count === 1) response.end('id:7\n\n');
    else response.write('data:x\n\n');
  });
  const { stream, seen } = open(t, url);
  await next(stream, 'message');
  assert.equal(requests[1].headers['last-event-id'], '7');
  assert.deepEqual(seen.at(-1), ['message', 'x', '7']);
});

test('a stream begins after an id that the page knows', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response) => begin(response, 'data:x\n\n'));
  const { stream } = open(t, url, { lastEventId: '41' });
  await next(stream, 'message');
  assert.equal(requests[0].headers['last-event-id'], '41');
});

for (const [name, answer, detail] of [
  ['204', (response) => response.writeHead(204).end(), 204],
  ['403', (response) => response.writeHead(403).end(), 403],
  ['404 and a body without an end', (response) => response.writeHead(404).write('not here'), 404],
  ['401 without a token', (response) => response.writeHead(401).end(), 401],
  ['another content type', (response) => response.writeHead(200, { 'content-type': 'text/event-streams' }).end('data:x\n\n'), 200],
  ['no content type', (response) => response.writeHead(200).end('data:x\n\n'), 200],
  ['an event that is too long', (response) => begin(response, `data:${'x'.repeat(2000)}`), 'RangeError'],
  [
    'an event of too many lines',
    (response) => {
      begin(response);
      const more = () => response.write('data:0123456789\n'.repeat(10), more);
      more();
    },
    'RangeError',
  ],
]) {
  test(`the stream ends after ${name}`, { timeout }, async (t) => {
    const { url, requests, open: responses } = await serve(t, (request, response) => answer(response));
    const { stream, seen } = open(t, url, { maxLength: 1000 });
    await next(stream, 'error');
    assert.equal(stream.readyState, 2);
    assert.deepEqual(seen.filter(([type]) => type !== 'open'), [['error', 2, detail]]);
    for (const response of responses) await once(response, 'close');
    stream.restart();
    assert.equal(requests.length, 1);
  });
}

for (const status of [500, 502, 503, 408, 425, 429]) {
  test(`another attempt follows ${status}`, { timeout }, async (t) => {
    const { url, open: responses } = await serve(t, (request, response, count) => {
      if (count < 3) response.writeHead(status).write('busy');
      else begin(response, 'data:x\n\n');
    });
    const { stream, seen } = open(t, url);
    await next(stream, 'message');
    assert.deepEqual(seen, [['error', 0, status], ['error', 0, status], ['open'], ['message', 'x', '']]);
    // What nobody reads is given up.
    while (responses.size > 1) await new Promise(setImmediate);
  });
}

test('a delay is retry or Retry-After and a random part, which grows until an event arrives', { timeout }, async (t) => {
  const { url } = await serve(t, (request, response, count) => {
    if (count === 4) begin(response, 'retry:2000\n\n') && response.end();
    else if (count === 5) begin(response, 'data:x\n\n') && response.end();
    else if (count === 6) begin(response, 'data:end\n\n');
    else response.writeHead(503, count === 2 ? { 'retry-after': '7' } : {}).end();
  });
  const delays = [];
  const timer = globalThis.setTimeout;
  t.mock.method(globalThis, 'setTimeout', (callback, delay, ...rest) => {
    // fetch has timers, too.
    if (!new Error().stack.includes('/src/connection.js')) return timer(callback, delay, ...rest);
    delays.push(delay);
    return timer(callback, 0);
  });
  const stream = new EventStream(url, { idle: 0 });
  t.after(() => stream.close());
  t.mock.method(Math, 'random', () => 0.5);
  await next(stream, 'message', ({ data }) => data === 'end');
  assert.deepEqual(delays, [0, 1000, 7000, 2000, 0, 4000, 2000, 8000, 2000, 500]);
});

test('a connection that was open for a minute is a good one, even without an event', { timeout }, async (t) => {
  const { url } = await serve(t, (request, response, count) => {
    if (count < 3) return response.writeHead(503).end();
    begin(response);
    if (count === 3) response.end();
  });
  const { stream } = open(t, url);
  const { now } = Date;
  stream.addEventListener('open', () => t.mock.method(Date, 'now', () => now() + 61_000), { once: true });
  // The bounds of the random parts.
  const compared = t.mock.method(Math, 'min');
  const bounds = () =>
    compared.mock.calls.filter(({ arguments: [cap] }) => cap === 30_000).map(({ arguments: [, bound] }) => bound);
  while (bounds().length < 3) await new Promise(setImmediate);
  assert.deepEqual(bounds(), [2000, 4000, 1000]);
});

test('a connection that is silent for too long is lost', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response, count) => {
    if (count === 1) begin(response, 'data:a\nid:1\n\n');
    // This one never answers.
    else if (count === 3) begin(response, 'data:b\nid:2\n\n');
  });
  const { stream, seen } = open(t, url, { idle: 1000 });
  await next(stream, 'message', ({ data }) => data === 'b');
  assert.deepEqual(seen.slice(0, 4), [['open'], ['message', 'a', '1'], ['error', 0, 'AbortError'], ['error', 0, 'AbortError']]);
  assert.equal(requests[2].headers['last-event-id'], '1');
});

test('comments keep a connection', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response) => {
    begin(response);
    let count = 0;
    const timer = setInterval(() => (count++ < 60 ? response.write(':\n\n') : response.write('data:x\n\n')), 50);
    response.on('close', () => clearInterval(timer));
  });
  const { stream } = open(t, url, { idle: 2000 });
  await next(stream, 'message');
  assert.equal(requests.length, 1);
});

test('redirects are followed', { timeout }, async (t) => {
  const { url } = await serve(t, (request, response) => {
    if (request.url === '/events') response.writeHead(307, { location: '/other' }).end();
    else begin(response, `data:${request.url}\n\n`);
  });
  const { stream } = open(t, url);
  assert.equal((await next(stream, 'message')).data, '/other');
});

test('close ends the connection, also from within an event', { timeout }, async (t) => {
  const { url, open: responses } = await serve(t, (request, response) => begin(response, 'data:a\n\ndata:b\n\n'));
  const { stream, seen } = open(t, url);
  stream.addEventListener('message', () => stream.close());
  await next(stream, 'message');
  for (const response of responses) await once(response, 'close');
  assert.deepEqual(seen, [['open'], ['message', 'a', '']]);
  assert.equal(stream.readyState, 2);
});

test('nothing happens after close', { timeout }, async (t) => {
  const { url, open: responses } = await serve(t, (request, response) => begin(response, 'data:a\n\n'));
  const { fetch } = globalThis;
  let stream;
  t.mock.method(globalThis, 'fetch', async (...request) => {
    const response = await fetch(...request);
    stream.close();
    return response;
  });
  const opened = open(t, url);
  ({ stream } = opened);
  while (!responses.size) await new Promise(setImmediate);
  for (const response of responses) await once(response, 'close');
  assert.deepEqual(opened.seen, []);
  assert.equal(stream.readyState, 2);
});

test('close ends a delay and a request that is not answered', { timeout }, async (t) => {
  const { url, requests, open: responses } = await serve(t, (request, response) => {
    if (request.url === '/busy') response.writeHead(503, { 'retry-after': '3600' }).end();
  });
  const busy = open(t, new URL('/busy', url)).stream;
  await next(busy, 'error');
  busy.close();
  const silent = open(t, url).stream;
  while (requests.length < 2) await new Promise(setImmediate);
  silent.close();
  for (const response of responses) await once(response, 'close');
});

test('restart begins without an id', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response) => begin(response, 'data:a\nid:1\n\ndata:b\nid:2\n\n'));
  const { stream, seen } = open(t, url);
  let isFirst = true;
  stream.addEventListener('message', () => {
    if (isFirst) stream.restart();
    isFirst = false;
  });
  await next(stream, 'message', ({ data }) => data === 'b');
  assert.deepEqual(seen.filter(([type]) => type === 'message').map(([, data]) => data), ['a', 'a', 'b']);
  assert.deepEqual(requests.map(({ headers }) => headers['last-event-id']), [undefined, undefined]);
});

test('a fresh token is brought for each connection and each challenge', { timeout }, async (t) => {
  let stream;
  const posts = [];
  const { url, requests } = await serve(t, (request, response, count) => {
    if (request.method === 'POST') {
      posts.push(request.headers);
      response.writeHead(204).end();
      stream.write('data:after\n\n');
      return;
    }
    stream = response;
    const headers = { 'content-type': 'application/x-challenge-response', 'x-challenge-session': 's1' };
    if (count > 1) begin(response, `event:challenge\ndata:${JSON.stringify({ method: 'POST', headers })}\n\n`);
    else begin(response) && response.end();
  });
  let tokens = 0;
  const opened = open(t, url, { token: async () => `t${++tokens}` });
  await next(opened.stream, 'message');
  assert.deepEqual(requests.map(({ method, headers }) => [method, headers.authorization]), [
    ['GET', 'Bearer t1'],
    ['GET', 'Bearer t2'],
    ['POST', 'Bearer t3'],
  ]);
  assert.equal(posts[0]['content-type'], 'application/x-challenge-response');
  assert.equal(posts[0]['x-challenge-session'], 's1');
  assert.deepEqual(opened.seen.slice(-2), [['open'], ['message', 'after', '']]);
});

test('a token in a cookie needs no header, and a token is sent to no other origin', { timeout }, async (t) => {
  const strange = await serve(t, (request, response) => response.writeHead(204).end());
  const challenge = '{"headers":{"content-type":"application/x-challenge-response"}}';
  const { url, requests } = await serve(t, (request, response) => {
    if (request.method === 'GET') return begin(response, `event:challenge\ndata:${challenge}\n\n`);
    response.writeHead(307, { location: strange.url }).end();
  });
  let renewed = 0;
  const fetched = t.mock.method(globalThis, 'fetch');
  const { stream } = open(t, url, { token: () => void renewed++ });
  while (requests.length < 2) await new Promise(setImmediate);
  assert.equal((await fetched.mock.calls[1].result).status, 307);
  assert.equal(requests[1].headers.authorization, undefined);
  assert.equal(renewed, 2);
  assert.equal(strange.requests.length, 0);
  stream.close();
});

test('an event of another server that is called challenge is an event', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response) =>
    begin(response, 'event:challenge\ndata:{"headers":{}}\n\nevent:challenge\ndata:chess\n\ndata:end\n\n'),
  );
  const { stream, seen } = open(t, url);
  await next(stream, 'message');
  assert.deepEqual(seen.slice(1, 3), [['challenge', '{"headers":{}}', ''], ['challenge', 'chess', '']]);
  assert.equal(requests.length, 1);
});

test('a token that is refused is renewed once', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response, count) => {
    const { authorization } = request.headers;
    if (authorization === 'Bearer good') begin(response, 'data:x\n\n') && count < 3 && response.end();
    else response.writeHead(401).end();
  });
  // Good in every second call at first, and never at last.
  let calls = 0;
  const { stream, seen } = open(t, url, { token: () => ['old', 'good', 'old', 'good', 'old', 'old'][calls++] });
  await next(stream, 'message');
  await next(stream, 'message');
  assert.equal(requests.length, 4);
  for (const socket of new Set(requests.map(({ socket }) => socket))) socket.destroy();
  await next(stream, 'error', () => stream.readyState === 2);
  assert.deepEqual(seen.slice(-2), [['error', 0, 401], ['error', 2, 401]]);
  assert.equal(calls, 6);
});

test('a token that cannot be brought is asked for again', { timeout }, async (t) => {
  const { url, requests } = await serve(t, (request, response) => begin(response, 'data:x\n\n'));
  let calls = 0;
  const token = () => (++calls < 3 ? Promise.reject(new RangeError('away')) : 'good');
  const { stream, seen } = open(t, url, { token });
  await next(stream, 'message');
  assert.deepEqual(seen.slice(0, 3), [['error', 0, 'RangeError'], ['error', 0, 'RangeError'], ['open']]);
  assert.equal(requests.length, 1);
});
