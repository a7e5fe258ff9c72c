// Web Locks for node 20, which has none: exclusive locks with a queue, `signal` and `steal`.
const locks = new Map();

class LockManager {
  request(name, { signal, steal }, callback) {
    const lock = locks.get(name) ?? { queue: [] };
    locks.set(name, lock);
    return new Promise((resolve, reject) => {
      const request = { callback, resolve, reject };
      signal?.addEventListener('abort', () => {
        const at = lock.queue.indexOf(request);
        if (at < 0) return;
        lock.queue.splice(at, 1);
        reject(signal.reason);
      });
      if (steal) {
        lock.held?.reject(new DOMException('stolen', 'AbortError'));
        lock.held = undefined;
        lock.queue.unshift(request);
      } else {
        lock.queue.push(request);
      }
      grant(lock);
    });
  }
}

function grant(lock) {
  if (lock.held || !lock.queue.length) return;
  const request = (lock.held = lock.queue.shift());
  setImmediate(async () => {
    const result = await request.callback({});
    request.resolve(result);
    // It may have been stolen.
    if (lock.held !== request) return;
    lock.held = undefined;
    grant(lock);
  });
}

/** Gives `navigator.locks` to this process. */
export function install() {
  Object.defineProperty(globalThis, 'navigator', { value: { locks: new LockManager() }, configurable: true });
}

export const uninstall = () => delete globalThis.navigator;

/** How many wait for locks, or hold them. */
export const users = () => [...locks.values()].reduce((sum, { queue, held }) => sum + queue.length + (held ? 1 : 0), 0);
