import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parser } from '../src/parser.js';

/** Type, data and last event id of each event, as a page sees them, of a stream in pieces of bytes. */
function events(pieces) {
  const seen = [];
  let last = '';
  const onBlock = ({ type, data, id }) => {
    last = id ?? last;
    if (type) seen.push([type, data, last]);
  };
  const parse = parser(onBlock, () => {}, 1 << 20);
  const decoder = new TextDecoder();
  for (const piece of pieces) parse(decoder.decode(piece, { stream: true }));
  return seen;
}

const bytes = (text) => new TextEncoder().encode(text);
const long = 'x'.repeat(2048);

// web-platform-tests eventsource/format-*, as its message.py writes them; and the examples of WHATWG HTML 9.2.6.
const vectors = {
  'format-bom': ['\ufeffdata:1\n\n\ufeffdata:2\n\ndata:3\n\n', [['message', '1', ''], ['message', '3', '']]],
  'format-bom-2': ['\ufeff\ufeffdata:1\n\ndata:2\n\ndata:3\n\n', [['message', '2', ''], ['message', '3', '']]],
  'format-comments': [
    `data:1\r:\0\n:\r\ndata:2\n:${long}\rdata:3\n:data:fail\r:${long}\ndata:4\n\n`,
    [['message', '1\n2\n3\n4', '']],
  ],
  'format-data-before-final-empty-line': ['retry:1000\ndata:test1\n\nid:test\ndata:test2\n', [['message', 'test1', '']]],
  'format-field-data': [
    'data:\n\ndata\ndata\n\ndata:test\n\n',
    [['message', '', ''], ['message', '\n', ''], ['message', 'test', '']],
  ],
  'format-field-event': ['event:test\ndata:x\n\ndata:x\n\n', [['test', 'x', ''], ['message', 'x', '']]],
  'format-field-event-empty': ['event: \ndata:data\n\n', [['message', 'data', '']]],
  'an event type without data': ['event:test\n\ndata:x\n\n', [['message', 'x', '']]],
  'format-field-id': ['id:…\ndata:hello\n\n', [['message', 'hello', '…']]],
  'format-field-id-2': [
    'id:…\ndata:hello\n\ndata:a\n\ndata:b\n\n',
    [['message', 'hello', '…'], ['message', 'a', '…'], ['message', 'b', '…']],
  ],
  'format-field-id-3': [
    'id: 1\ndata: 1\n\ndata: 2\n\nid: 2\ndata:3\n\ndata:4\n\n',
    [['message', '1', '1'], ['message', '2', '1'], ['message', '3', '2'], ['message', '4', '2']],
  ],
  'an id that resets': [
    'id: 1\ndata: 1\n\nid:\ndata:2\n\ndata:3\n\n',
    [['message', '1', '1'], ['message', '2', ''], ['message', '3', '']],
  ],
  'an id that resets without a colon': ['id: 1\ndata: 1\n\nid\ndata:2\n\n', [['message', '1', '1'], ['message', '2', '']]],
  'a block that has only an id': ['id:7\n\ndata:x\n\n', [['message', 'x', '7']]],
  'format-field-id-null 1': ['id:\0\0\ndata:hello\n\n', [['message', 'hello', '']]],
  'format-field-id-null 2': ['id:x\0\ndata:hello\n\n', [['message', 'hello', '']]],
  'format-field-id-null 3': ['id:\0x\ndata:hello\n\n', [['message', 'hello', '']]],
  'format-field-id-null 5': ['id: \0\ndata:hello\n\n', [['message', 'hello', '']]],
  'format-field-parsing': [
    'data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n',
    [['message', '\0\n 2\n1\n3\n\n4', '']],
  ],
  'format-field-unknown': [
    'data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacommentyay\ndata:test\n\n',
    [['message', 'test\n\ntest', '']],
  ],
  'format-leading-space': ['data:\ttest\rdata: \ndata:test\n\n', [['message', '\ttest\n\ntest', '']]],
  'format-newlines': ['data:test\r\ndata\ndata:test\r\n\r\n', [['message', 'test\n\ntest', '']]],
  'format-null-character': ['data:\0\n\n\n\n', [['message', '\0', '']]],
  'format-utf-8': ['data:ok…\n\n', [['message', 'ok…', '']]],
  'HTML 9.2.6, stocks': ['data: YHOO\ndata: +2\ndata: 10\n\n', [['message', 'YHOO\n+2\n10', '']]],
  'HTML 9.2.6, four blocks': [
    ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n',
    [['message', 'first event', '1'], ['message', 'second event', ''], ['message', ' third event', '']],
  ],
  'HTML 9.2.6, two events': ['data\n\ndata\ndata\n\ndata:', [['message', '', ''], ['message', '\n', '']]],
  'HTML 9.2.6, a space': ['data:test\n\ndata: test\n\n', [['message', 'test', ''], ['message', 'test', '']]],
  'line ends of all kinds': ['data:a\r\rdata:b\n\ndata:c\r\n\r\ndata:d\n\r\n', [
    ['message', 'a', ''], ['message', 'b', ''], ['message', 'c', ''], ['message', 'd', ''],
  ]],
  'no other line ends': ['data:a\u2028data:b\u0085\v\f\n\n', [['message', 'a\u2028data:b\u0085\v\f', '']]],
};

for (const [name, [stream, expected]] of Object.entries(vectors)) {
  test(`${name}: the same events wherever the stream is cut`, () => {
    const whole = bytes(stream);
    assert.deepEqual(events([whole]), expected, 'in one piece');
    assert.deepEqual(events(Array.from(whole, (byte) => Uint8Array.of(byte))), expected, 'byte by byte');
    for (let at = 0; at <= whole.length; at += whole.length > 1000 ? 97 : 1) {
      assert.deepEqual(events([whole.slice(0, at), new Uint8Array(), whole.slice(at)]), expected, `cut at ${at}`);
    }
  });
}

test('invalid UTF-8 is replaced, and ends no line', () => {
  const stream = Uint8Array.of(...bytes('data:'), 0xff, 0xe2, 0x80, 0x0a, 0x0a);
  assert.deepEqual(events([stream]), [['message', '\ufffd\ufffd', '']]);
});

test('a CR ends a line before the next byte is there', () => {
  const seen = [];
  const parse = parser((block) => seen.push(block.data), () => {}, 100);
  parse('data:x\r\n\r');
  assert.deepEqual(seen, ['x']);
  parse('\ndata:y\r\r');
  assert.deepEqual(seen, ['x', 'y']);
});

test('an id counts only when its block has ended', () => {
  const seen = [];
  const parse = parser((block) => seen.push(block.id), () => {}, 100);
  parse('data:x\nid:5\n');
  assert.deepEqual(seen, []);
  parse('\n');
  assert.deepEqual(seen, ['5']);
});

test('a reconnection time is ASCII digits', () => {
  for (const [value, expected] of [
    ['3000', 3000], [' 3000', 3000], ['0', 0], ['007', 7], ['', undefined], ['1000x', undefined], ['+1', undefined],
    ['-1', undefined], ['1.5', undefined], ['  1', undefined], ['1e3', undefined], ['٣', undefined],
  ]) {
    let retry;
    parser(() => {}, (found) => (retry = found), 100)(`retry:${value}\n`);
    assert.equal(retry, expected, value);
  }
});

test('no event is longer than its bound, and no line', () => {
  for (const piece of ['data:0123456789\n', '0123456789', 'id:', ':']) {
    let pushed = 0;
    const parse = parser(() => {}, () => {}, 1000);
    assert.throws(() => {
      for (;;) {
        parse(piece);
        pushed += piece.length;
        assert.ok(pushed < 2000, piece);
      }
    }, RangeError);
  }
  const parse = parser(() => {}, () => {}, 1000);
  for (let block = 0; block < 1000; block++) parse('data:0123456789\nid:1\n\n: comment\n');
});
