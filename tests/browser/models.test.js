import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { browser } from './demo.js';
import { control, missing, models, producer } from './models.js';

const pictures = fileURLToPath(new URL('.out/', import.meta.url));
/** How long the registry is away, in seconds. */
const outage = Number(process.env.TAILWATER_TEST_OUTAGE ?? 3);
const required = process.env.TAILWATER_TEST_REAL_REQUIRED === '1';
const options = { timeout: 120_000 + outage * 1000, skip: required ? undefined : missing };

const reading = (name, ...more) => ({
  type: 'record',
  name,
  fields: [{ name: 'sensor', type: 'string' }, { name: 'n', type: 'int' }, ...more],
});
const known = reading('Reading');
const unknown = reading('ReadingWithUnit', { name: 'unit', type: 'string' });

test('a page shows an Avro topic while the registry is away', options, async (t) => {
  assert.equal(missing, undefined);
  await mkdir(pictures, { recursive: true });
  const topic = `browser-${process.pid}-${Date.now()}`;
  const source = producer();
  t.after(() => source.close());
  await source.run({ topic, partitions: 2 });
  await source.run({ schema: known });
  await source.run({ schema: unknown });
  const server = await models(topic);
  t.after(async () => assert.equal(await server.close(), 0, 'exit status'));
  const chromium = await browser();
  t.after(() => chromium.close());
  const page = await chromium.newPage({ viewport: { width: 1000, height: 700 }, colorScheme: 'light' });
  const errors = [];
  page.on('pageerror', (error) => errors.push(error));
  await page.goto(`http://localhost:${server.port}/index.html`);

  const written = { a: [], b: [] };
  const write = async (sensor, schema, more = {}) => {
    const value = { sensor, n: written[sensor].length, ...more };
    await source.run({ topic, partition: sensor === 'a' ? 0 : 1, schema, value });
    written[sensor].push(value);
  };
  const seen = async (sensor) => {
    const { events } = await page.evaluate(() => window.log);
    return events.filter((event) => event.sensor === sensor);
  };
  const arrived = (sensor, count) =>
    page.waitForFunction(
      ([sensor, count]) => window.log.events.filter((event) => event.sensor === sensor).length >= count,
      [sensor, count],
      { timeout: 30_000 },
    );
  const picture = (name) => page.screenshot({ path: `${pictures}${name}.png` });

  await write('a', known);
  await write('b', known);
  await arrived('a', 1);
  await arrived('b', 1);

  control('kill');
  const began = Date.now();
  // The second partition waits for a schema. What stands behind it could be read.
  await write('b', unknown, { unit: 'K' });
  await write('b', known);
  while (!server.log.some((line) => line.includes('schemas cannot be fetched, trying again'))) await pause(50);
  let rounds = 0;
  while (rounds < 5 || Date.now() - began < outage * 1000) {
    await write('a', known);
    await write('b', known);
    await arrived('a', written.a.length);
    assert.deepEqual(await seen('b'), written.b.slice(0, 1), 'the second partition went on without a schema');
    rounds++;
    await pause(200);
  }
  await picture('registry-away');

  control('start');
  await arrived('b', written.b.length);
  await write('b', unknown, { unit: 'C' });
  await arrived('b', written.b.length);
  for (const sensor of ['a', 'b']) assert.deepEqual(await seen(sensor), written[sensor]);
  const { opened, errors: failed } = await page.evaluate(() => window.log);
  assert.deepEqual({ opened, failed }, { opened: 1, failed: 0 }, 'the event source was interrupted');
  assert.deepEqual(errors, [], 'errors in the page');
  await picture('registry-back');
});
