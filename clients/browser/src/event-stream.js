import { tab } from './tab.js';

/** An event stream, which resumes whenever its connection is lost, and which the tabs of an origin can share. */
export class EventStream extends EventTarget {
  /** 0 connecting, 1 open, 2 closed: as of `EventSource`. */
  readyState = 0;

  constructor(url, options) {
    super();
    this.url = new URL(url, globalThis.document?.baseURI).href;
    this.lastEventId = options?.lastEventId ?? '';
    const { start, stop, restart, wake } = tab(this, { idle: 45_000, maxLength: 8 << 20, ...options });
    const life = new AbortController();
    // A page that is kept without running must hold neither a connection nor the lock.
    const events = { pagehide: stop, freeze: stop, pageshow: start, resume: start, online: wake };
    for (const type in events) {
      // `freeze` and `resume` are events of the document.
      globalThis.addEventListener?.(type, events[type], { capture: true, signal: life.signal });
    }
    this.restart = restart;
    this.close = () => {
      this.readyState = 2;
      stop();
      life.abort();
    };
    start();
  }
}
