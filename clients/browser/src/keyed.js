import { decode } from './place.js';

/** The text of a key. One that is not UTF-8 stays in base64url, behind a surrogate, which no text of UTF-8 has. */
const text = (key) => {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(decode(key));
  } catch {
    return `\uD800${key}`;
  }
};

/** Key and etag of an event, from an id of the form `["key","progress/etag"]`. */
const identify = ({ type, data, lastEventId }) => {
  let [key, rest] = [];
  try {
    [key, rest] = JSON.parse(lastEventId);
  } catch {}
  // The server leaves the key out of an id that would be too long.
  key ??= type === 'delete' && data ? data : undefined;
  return [key && text(key), /\/([^]*)/.exec(rest)?.[1]];
};

/**
 * Keeps the state of a compacted topic: a map from key to `{ value, etag }`. It is the same map all the time.
 * `onChange` is called once for the events that arrive together.
 */
export function keyed(stream, onChange, { parse = JSON.parse, key: keyOf } = {}) {
  const state = new Map();
  let isLive = false;
  let isDue = false;
  let last;

  const change = () => {
    isDue ||= !queueMicrotask(() => {
      isDue = false;
      onChange(state, isLive);
    });
  };

  const reduce = (event) => {
    const { type, data, lastEventId } = event;
    // An id that has not moved is that of another event: the server leaves long ones out.
    const [found, etag] = lastEventId === last ? [] : identify(event);
    last = lastEventId;
    const key = keyOf ? keyOf(event) : found;
    if (key === undefined) throw new Error(`no key: ${lastEventId}`);
    if (type === 'delete') state.delete(key);
    else state.set(key, { value: parse(data), etag });
    change();
  };

  stream.addEventListener('message', reduce);
  stream.addEventListener('delete', reduce);
  stream.addEventListener('live', () => {
    isLive = true;
    change();
  });
  stream.addEventListener('gap', ({ data }) => {
    // After these reasons, a stream from the beginning would have the same gap.
    if (/"reason":"(unreadable|too_large|invalid)"/.test(data)) return;
    state.clear();
    isLive = false;
    change();
    stream.restart();
  });
  return state;
}
