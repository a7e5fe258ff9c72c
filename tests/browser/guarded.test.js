import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { browser } from './demo.js';
import { guarded, token, upstream } from './guarded.js';

const timeout = 120_000;
let chromium;

before(async () => {
  chromium = await browser();
});

after(() => chromium?.close());

/** A page whose first token is good until `expiry`, and each further one for an hour. */
async function open(t, { origin, place, answers, expiry }) {
  const context = await chromium.newContext({ ignoreHTTPSErrors: true });
  t.after(() => context.close());
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  t.after(() => assert.deepEqual(errors, [], 'errors in the page'));
  let first = true;
  await page.exposeFunction('token', () => {
    const until = first ? expiry : Date.now() + 3600_000;
    first = false;
    return token(until);
  });
  await page.addInitScript(([place, answers]) => Object.assign(window, { place, answers }), [place, answers]);
  await page.goto(`${origin}/index.html`);
  await until(page, (log) => log.opened === 1 && log.challenges === 1);
  return page;
}

const log = (page) => page.evaluate(() => window.log);
const until = (page, holds) => page.waitForFunction(`(${holds})(window.log)`, null, { timeout: 60_000 });

for (const [protocol, options] of [
  ['h2', { tls: true, versions: ['h2'] }],
  ['http/1.1', { tls: false, versions: ['http/1.1'] }],
]) {
  for (const place of ['query', 'cookie']) {
    test(`over ${protocol} a page with its token in ${place} keeps its stream`, { timeout }, async (t) => {
      const source = await upstream();
      t.after(() => source.close());
      const server = await guarded({ ...options, port: source.port });
      t.after(async () => assert.equal(await server.close(), 0, 'exit status'));

      // A page that is opened after it is never let in.
      const expiry = Date.now() + 12_000;
      const [page, silent] = await Promise.all(
        [true, false].map((answers) => open(t, { origin: server.origin, place, answers, expiry })),
      );
      const spoken = await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol);
      assert.equal(spoken, protocol);
      source.say('before');
      for (const one of [page, silent]) await until(one, (log) => log.events.length === 1);

      // The one that does not answer ends with its token, and is not let in again.
      await until(silent, (log) => log.closed);
      assert.ok(Date.now() >= expiry, 'before its expiry');
      source.say('after');
      await until(page, (log) => log.events.length === 2);
      const { opened, events, closed } = await log(page);
      assert.deepEqual({ opened, events, closed }, { opened: 1, events: ['before', 'after'], closed: false });
      assert.deepEqual((await log(silent)).events, ['before']);
      assert.equal(source.streams.size, 1, 'only the stream of the page that answered is left');
    });
  }
}
