import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyed } from '../src/index.js';
import { place } from '../src/place.js';

const base64url = (key) => Buffer.from(key).toString('base64url') + '='.repeat((3 - (Buffer.from(key).length % 3)) % 3);

class Stream extends EventTarget {
  restarts = 0;
  thrown;
  #offset = 0;
  addEventListener(type, listener) {
    super.addEventListener(type, (event) => {
      try {
        listener(event);
      } catch (error) {
        this.thrown = error.message;
      }
    });
  }
  restart() {
    this.restarts++;
  }
  say(type, data, lastEventId) {
    this.dispatchEvent(new MessageEvent(type, { data, lastEventId }));
  }
  set(key, value, etag) {
    this.say('message', JSON.stringify(value), JSON.stringify([base64url(key), `AQIA${this.#offset++}${etag ? `/${etag}` : ''}`]));
  }
  delete(key) {
    this.say('delete', base64url(key), JSON.stringify([base64url(key), `AQIA${this.#offset++}`]));
  }
}

test('the last value of each key is the state, with its etag', async () => {
  const stream = new Stream();
  const changes = [];
  const state = keyed(stream, (seen, isLive) => changes.push([[...seen], isLive]));
  stream.set('a', { n: 1 }, '"1/2"');
  stream.set('ü ö', { n: 2 });
  stream.set('a', { n: 3 }, 'e2');
  stream.set('', 4);
  assert.deepEqual(changes, []);
  await null;
  assert.deepEqual(changes.splice(0), [
    [[['a', { value: { n: 3 }, etag: 'e2' }], ['ü ö', { value: { n: 2 }, etag: undefined }], ['', { value: 4, etag: undefined }]], false],
  ]);
  stream.delete('ü ö');
  stream.say('live', '{}', 'AQIAEg==');
  stream.delete('never there');
  await null;
  assert.deepEqual(changes.splice(0).map(([seen, isLive]) => [seen.map(([key]) => key), isLive]), [[['a', ''], true]]);
  stream.set('a', 5, '"1/2"');
  assert.deepEqual(state.get('a'), { value: 5, etag: '"1/2"' });
});

test('keys are as many in the state as in the topic', () => {
  const stream = new Stream();
  const state = keyed(stream, () => {});
  const keys = ['a', '\ufeffa', '\ufffd', Buffer.from([0xff]), Buffer.from([0xfe]), '/w==', '_w==', '__proto__', Buffer.from([0xfb, 0xef, 0xff])];
  for (const key of keys) stream.set(key, 1);
  assert.equal(state.size, keys.length);
  for (const key of keys) stream.delete(key);
  assert.equal(state.size, 0);
});

test('a gap that another attempt fills begins anew', async () => {
  const stream = new Stream();
  const changes = [];
  const state = keyed(stream, (seen, isLive) => changes.push([seen.size, isLive]));
  stream.set('a', 1);
  stream.say('live', '{}', 'AQIAEg==');
  for (const reason of ['unreadable', 'too_large', 'invalid']) {
    stream.say('gap', `{"from":3,"partition":0,"reason":"${reason}","to":9}`, 'AQIAEg==');
  }
  assert.equal(state.size, 1);
  assert.equal(stream.restarts, 0);
  for (const reason of ['id', 'retention', 'truncation', 'tombstones', 'of a later version']) {
    stream.set('a', 1);
    stream.restarts = 0;
    stream.say('gap', `{"from":3,"partition":0,"reason":"${reason}","to":9}`, 'AQIAEg==');
    assert.equal(state.size, 0, reason);
    assert.equal(stream.restarts, 1, reason);
  }
  await null;
  assert.deepEqual(changes, [[0, false]]);
});

test('an event without a key is an error, and changes nothing', () => {
  const stream = new Stream();
  const state = keyed(stream, () => {});
  stream.set('a', 1);
  for (const [id, why] of [
    ['AQIAEg==', 'an id without a key'],
    ['[null,"AQIAEg=="]', 'a key that was left out'],
    ['', 'no id'],
  ]) {
    stream.say('message', '2', id);
    assert.equal(stream.thrown, `no key: ${id}`, why);
    stream.thrown = undefined;
  }
  // The server leaves an id of more than 1 KiB out where another one follows: the last id is that of another event.
  stream.say('message', '3', '["Yg==","AQIAFA=="]');
  assert.equal(stream.thrown, undefined);
  stream.say('message', '4', '["Yg==","AQIAFA=="]');
  assert.equal(stream.thrown, 'no key: ["Yg==","AQIAFA=="]');
  assert.deepEqual([...state].map(([key, { value }]) => [key, value]), [['a', 1], ['b', 3]]);
});

test('a deletion has its key in its data as well', () => {
  const stream = new Stream();
  const state = keyed(stream, () => {});
  stream.set('a', 1);
  stream.say('delete', base64url('a'), '[null,"AQIAEg=="]');
  assert.equal(state.size, 0);
});

test('key and value can be taken from elsewhere', () => {
  const stream = new Stream();
  const state = keyed(stream, () => {}, { parse: (data) => data.length, key: ({ type, data }) => type + data });
  stream.say('message', 'abc', '1');
  stream.say('message', 'ab', '1');
  assert.deepEqual([...state.values()], [{ value: 3, etag: undefined }, { value: 2, etag: undefined }]);
});

test('ids of one place differ in key and etag only', () => {
  for (const [id, expected] of [
    ['AQQABAIC', 'AQQABAIC'],
    ['AQQABAIC/revision=42', 'AQQABAIC'],
    ['AQIAEg==/', 'AQIAEg=='],
    ['["a2V5","AQQABAIC/revision=42"]', 'AQQABAIC'],
    ['["a2V5","AQQABAIC/\\"a\\",\\"b\\"/c"]', 'AQQABAIC'],
    ['[null,"AQIAEg=="]', 'AQIAEg=='],
    // Of other servers: each is a place of its own.
    ...['', '1', 'orders/1', 'AWS/1', 'AWS/2', 'AQ/1', 'AQI/1', 'AQIA/1', 'AQIAAgIC/1', 'AQQABAIC x', '["a","b"]', '[1,2]', 'ü/1'].map(
      (id) => [id, id],
    ),
  ]) {
    assert.equal(place(id), expected, id);
  }
});
