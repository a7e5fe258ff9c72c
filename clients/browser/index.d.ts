/** Options of an {@link EventStream}. */
export interface EventStreamOptions {
  /**
   * Brings a token that is valid now, for the header `authorization`. It is called for each connection, and for each
   * challenge of the server. A callback that renews a cookie returns nothing. If it fails, the stream tries again
   * later.
   */
  token?: () => string | void | Promise<string | void>;
  /**
   * Whether tabs of the same origin that have a stream of the same URL share one connection. The tabs must be allowed
   * to see the same: give the name of the user who is signed in, or `true` if everybody gets the same stream.
   * Default: each tab has a connection of its own.
   */
  share?: boolean | string;
  /** The id of the last event that the page knows, to begin after it. Default: none. */
  lastEventId?: string;
  /** Whether requests have cookies, as of `fetch`. Default: if the server has the same origin. */
  credentials?: RequestCredentials;
  /** Further headers of each request. */
  headers?: Record<string, string>;
  /**
   * After how many milliseconds without a byte a connection is lost. It must be longer than the server's interval of
   * comments, which is 15 s for tailwater. 0 is never. Default: 45 000.
   */
  idle?: number;
  /** How many characters an event may have. A longer one ends the stream. Default: 8 Mi. */
  maxLength?: number;
}

/** The events of an {@link EventStream}. Events of other types, too, are `MessageEvent`s. */
export interface EventStreamEventMap {
  /** There is a connection: one of this tab, or one of another tab that this tab shares. */
  open: CustomEvent<undefined>;
  /**
   * The connection is lost, and `readyState` is 0; or the stream has ended, and `readyState` is 2. `detail` is the
   * status of the response or what was thrown, if there is such a reason.
   */
  error: CustomEvent<unknown>;
  /** A record. */
  message: MessageEvent<string>;
  /** A record was deleted. The data is its key in base64url. */
  delete: MessageEvent<string>;
  /** Events are missing. The data says which and why, in JSON. */
  gap: MessageEvent<string>;
  /** All that was there when the stream began has been delivered. */
  live: MessageEvent<string>;
}

/**
 * An event stream, which resumes whenever its connection is lost, and which the tabs of an origin can share. It begins
 * at once, and ends by `close()`, or when the server answers that another attempt is of no use.
 */
export class EventStream extends EventTarget {
  constructor(url: string | URL, options?: EventStreamOptions);
  readonly url: string;
  /** 0 connecting, 1 open, 2 closed. */
  readonly readyState: 0 | 1 | 2;
  /** The id of the last event. */
  readonly lastEventId: string;
  /** Begins anew, without a last event id. */
  readonly restart: () => void;
  readonly close: () => void;
  addEventListener<K extends keyof EventStreamEventMap>(
    type: K,
    listener: (this: EventStream, event: EventStreamEventMap[K]) => void,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: ((this: EventStream, event: MessageEvent<string>) => void) | EventListenerObject,
    options?: boolean | AddEventListenerOptions,
  ): void;
  removeEventListener<K extends keyof EventStreamEventMap>(
    type: K,
    listener: (this: EventStream, event: EventStreamEventMap[K]) => void,
    options?: boolean | EventListenerOptions,
  ): void;
  removeEventListener(
    type: string,
    listener: ((this: EventStream, event: MessageEvent<string>) => void) | EventListenerObject,
    options?: boolean | EventListenerOptions,
  ): void;
}

/** What a compacted topic holds for a key. */
export interface Entry<T> {
  value: T;
  /** The etag of the record, if it has one. */
  etag: string | undefined;
}

/** Options of {@link keyed}. */
export interface KeyedOptions<T> {
  /** The value of a record. Default: `JSON.parse`. */
  parse?: (data: string) => T;
  /** The key of a record or a deletion. Default: that of the id, which has the form `["key","progress/etag"]`. */
  key?: (event: MessageEvent<string>) => string | undefined;
}

/**
 * Keeps the state of a compacted topic, by key. `onChange` gets it after each change, once for the events that arrive
 * together, with whether the event `live` came: before it the state is not complete. It is the same map each time.
 *
 * After a gap that another attempt fills, the state is dropped and the stream begins anew.
 */
export function keyed<T = any>(
  stream: EventStream,
  onChange: (state: ReadonlyMap<string, Entry<T>>, isLive: boolean) => void,
  options?: KeyedOptions<T>,
): ReadonlyMap<string, Entry<T>>;
