import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { demanded, jitter } from '../src/backoff.js';

test('the random part may be anything up to a bound that doubles', (t) => {
  const random = t.mock.method(Math, 'random');
  for (const [failures, bound] of [[0, 1000], [1, 2000], [2, 4000], [4, 16_000], [5, 30_000], [6, 30_000], [1e6, 30_000]]) {
    for (const part of [0, 0.5, 1]) {
      random.mock.mockImplementation(() => part);
      assert.equal(jitter(failures), bound * part, `${failures} failures`);
    }
  }
});

test('a delay is at least what the server demands, and no more than a day', () => {
  mock.timers.enable({ apis: ['Date'], now: Date.parse('2026-01-31T12:00:00Z') });
  for (const [retry, retryAfter, expected] of [
    [0, undefined, 0],
    [0, null, 0],
    [2000, null, 2000],
    [2000, '1', 2000],
    [2000, '3', 3000],
    [0, '120', 120_000],
    [0, 'Sat, 31 Jan 2026 12:00:30 GMT', 30_000],
    [0, 'Sat, 31 Jan 2026 11:59:00 GMT', 0],
    [500, 'Sat, 31 Jan 2026 11:59:00 GMT', 500],
    [500, 'soon', 500],
    [500, '', 500],
    [0, '9'.repeat(400), 86_400_000],
    [1e300, null, 86_400_000],
    [Infinity, null, 86_400_000],
  ]) {
    assert.equal(demanded(retry, retryAfter), expected, `retry ${retry}, Retry-After ${retryAfter}`);
  }
  mock.timers.reset();
});
