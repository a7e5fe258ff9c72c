import { demanded, jitter } from './backoff.js';
import { parser } from './parser.js';

/** A connection that was open for as long as this is a good one, even if it brought no event. */
const GOOD = 60_000;

/** The bytes of an id in UTF-8, as `fetch` takes them in a header. */
const bytes = (id) => String.fromCharCode(...new TextEncoder().encode(id));

/** The headers of a challenge of tailwater. `undefined` if another server means something else by the type. */
const challenge = (data) => {
  try {
    const { headers } = JSON.parse(data);
    if (headers['content-type'] === 'application/x-challenge-response') return headers;
  } catch {}
};

/**
 * Reads an event stream over one connection after the other, until it is stopped or another attempt would be of no
 * use. Returns how to `stop` it, and how to `wake` it from the random part of a delay.
 *
 * `on` has `id()`, the last event id to begin after; `open()`; `block(block)`; `data(size)`, which is called behind
 * the blocks of each piece and may return a promise to wait for; `error(reason)`; and `close(reason)`. The reason is a
 * status or an error.
 */
export function connect(url, { token, credentials, headers, idle, maxLength }, on) {
  let isStopped = false;
  /** Ends what the loop waits for. */
  let interrupt;
  /** Ends the random part of a delay. */
  let wake;
  let retry = 0;
  let failures = 0;
  let isRefused = false;

  const request = async (init, own) => {
    const bearer = await token?.();
    if (bearer) own.authorization = `Bearer ${bearer}`;
    return fetch(url, { credentials, cache: 'no-store', ...init, headers: { ...headers, ...own } });
  };

  const sleep = (delay) =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, isStopped ? 0 : delay);
      interrupt = () => resolve(clearTimeout(timer));
    });

  const run = async () => {
    while (!isStopped) {
      const attempt = new AbortController();
      const { signal } = attempt;
      interrupt = () => attempt.abort();
      let timer;
      const alive = () => {
        clearTimeout(timer);
        if (idle) timer = setTimeout(interrupt, idle);
      };
      let retryAfter;
      let opened;
      let isFinal = false;
      let reason;
      failures++;
      try {
        alive();
        const own = { accept: 'text/event-stream' };
        if (on.id()) own['last-event-id'] = bytes(on.id());
        const response = await request({ signal }, own);
        signal.throwIfAborted();
        const { status } = response;
        reason = status;
        if (status === 200 && /^text\/event-stream\s*(;|$)/i.test(response.headers.get('content-type'))) {
          opened = Date.now();
          isRefused = false;
          on.open();
          const onBlock = (block) => {
            if (signal.aborted) return;
            const answer = block.type === 'challenge' && challenge(block.data);
            if (answer) {
              // A token is not sent to where a redirect leads. Without an answer the stream ends with its token,
              // and the next connection brings a fresh one.
              request({ method: 'POST', redirect: 'manual' }, answer)
                .then((response) => response.body?.cancel())
                .catch(() => {});
            } else {
              failures = 0;
              on.block(block);
            }
          };
          const parse = parser(onBlock, (value) => (retry = value), maxLength);
          const decoder = new TextDecoder();
          const reader = response.body.getReader();
          for (let read; !(read = await reader.read()).done; ) {
            alive();
            // An event that is too long would be so on the next connection, too.
            isFinal = true;
            parse(decoder.decode(read.value, { stream: true }));
            isFinal = false;
            await (signal.aborted || on.data(read.value.length));
          }
        } else {
          // A token may expire on its way. If the next one is refused as well, no other will be accepted.
          isFinal = status < 500 && ![408, 425, 429].includes(status) && (status !== 401 || !token || isRefused);
          isRefused = status === 401;
          retryAfter = response.headers.get('retry-after');
        }
      } catch (error) {
        reason = error;
      }
      clearTimeout(timer);
      attempt.abort();
      if (isStopped) return;
      if (isFinal) return on.close(reason);
      if (Date.now() - opened > GOOD) failures = 0;
      on.error(reason);
      await sleep(demanded(retry, retryAfter));
      const random = sleep(jitter(failures));
      wake = interrupt;
      await random;
    }
  };
  run();

  return {
    stop() {
      isStopped = true;
      interrupt();
    },
    wake: () => wake?.(),
  };
}
