import { connect } from './connection.js';
import { place } from './place.js';

const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 2;

/** How many milliseconds a tab waits for the first word of the leader. */
const FIRST_WORD = 1000;
/** How many characters of the leader's events a tab keeps while it catches up. */
const KEPT = 1 << 20;
/** A piece of at least so many bytes may be one of a backlog. */
const LARGE = 4096;
/** How many milliseconds a tab at the end of its stream gives the leader to get there, too. */
const PAUSE = 100;

/**
 * What a tab does for its event stream, with a connection of its own or the leader's.
 *
 * With `share`, the tabs of an origin have one connection: that of the leader, which is the tab that holds a lock.
 * The leader passes on each block with a number. Another tab follows the leader from a point where both
 * have the same last event id, and reads a stream of its own until then. So a tab needs to know nothing of what
 * others have seen. Whatever goes wrong between tabs (the leader ends, tabs are at different points, a message is
 * missing) has the same remedy: a stream of one's own from the own last event id.
 */
export function tab(stream, options) {
  const name = `tailwater 1 ${JSON.stringify(options.share)} ${stream.url}`;
  let isRunning = false;
  /** The connection of this tab. */
  let own;
  let channel;
  let timer;
  /** Aborted to leave the queue for the lock, and to give the lock back. */
  let queued;
  let isLeader = false;
  let isFollower = false;
  /** The number of the leader's last block. */
  let number = 0;
  /** The last messages of the leader, while this tab catches up. */
  let kept = [];
  let keptSize = 0;
  /** The last event id, if it says exactly where this tab is. Behind an event without an id it does not. */
  let exact = stream.lastEventId;
  /** Whether there was an event `live` since the beginning of the stream. */
  let isLive = false;

  const change = (state, detail) => {
    stream.readyState = state;
    if (isLeader) say();
    stream.dispatchEvent(new CustomEvent(state === OPEN ? 'open' : 'error', { detail }));
  };

  const deliver = ({ type, data, id }) => {
    exact = id ?? '';
    stream.lastEventId = id ?? stream.lastEventId;
    if (type === 'live') isLive = true;
    if (type) stream.dispatchEvent(new MessageEvent(type, { data, lastEventId: stream.lastEventId }));
  };

  const disconnect = () => {
    own?.stop();
    own = undefined;
  };

  const open = () => {
    if (own) return;
    isFollower = false;
    // On a quiet stream the leader says nothing by itself.
    if (channel) say();
    own = connect(stream.url, options, {
      id: () => stream.lastEventId,
      open: () => change(OPEN),
      block(block) {
        deliver(block);
        // Not if a listener has closed the stream.
        if (!isLeader) return;
        number++;
        say(block);
      },
      data(size) {
        if (isLeader) {
          // The comments of the server are signs of life for the other tabs, too.
          say();
        } else if (!join() && kept.length && size < LARGE) {
          return new Promise((resolve) => setTimeout(resolve, PAUSE));
        }
      },
      error: (reason) => change(CONNECTING, reason),
      close(reason) {
        stream.close();
        change(CLOSED, reason);
      },
    });
    if (stream.readyState) change(CONNECTING);
  };

  /** Tells the other tabs where the leader is, and which block led there. A tab that does not lead asks for it. */
  const say = (block) => {
    channel.postMessage(isLeader && [number, stream.readyState, isLive, exact, block]);
  };

  const hear = (message) => {
    if (isLeader) return message || say();
    const [itsNumber, state, live, id, block] = Array.isArray(message) ? message : [];
    // What a former leader has said may still be under way.
    if (!(itsNumber >= number)) return;
    const isMoved = itsNumber !== number + !!block;
    number = itsNumber;
    // A leader without a connection counts for a while only.
    if (isMoved || state) watch(2 * options.idle);
    if (isMoved) catchUp();
    if (isFollower) return repeat([{ block, state }]);
    keptSize += 99 + (id + block?.data).length;
    // Any later message will do as well.
    if (keptSize > KEPT) catchUp();
    kept.push({ block, state, live, id: place(id) });
    // The leader is the first to connect: it needs one of the six connections that some browsers permit.
    if (!join() && state) open();
  };

  /** Does as the leader did. */
  const repeat = (messages) => {
    for (const { block, state } of messages) {
      if (block && isFollower) deliver(block);
      if (isFollower && state !== stream.readyState) change(state);
    }
  };

  const catchUp = () => {
    isFollower = false;
    kept = [];
    keptSize = 0;
  };

  /** Follows the leader, if this tab is where the leader was at one of the messages that are kept. */
  const join = () => {
    const here = exact && place(exact);
    const index = kept.findLastIndex((message) => message.id === here);
    // If the leader's event `live` is over, this tab must have had its own.
    if (!here || index < 0 || kept.at(-1).live > isLive) return false;
    const missed = [...kept.slice(index + 1), { state: kept.at(-1).state }];
    catchUp();
    disconnect();
    isFollower = true;
    repeat(missed);
    return true;
  };

  /** Does without the leader if no leader with a connection is heard for some time. */
  const watch = (delay) => {
    clearTimeout(timer);
    if (!delay) return;
    const silent = () => {
      if (own && stream.readyState) return queue({ steal: true });
      watch(2 * options.idle);
      open();
    };
    timer = setTimeout(silent, delay * (1 + Math.random()));
  };

  const queue = (how) => {
    queued?.abort();
    queued = new AbortController();
    const { signal } = queued;
    const held = () =>
      new Promise((release) => {
        signal.addEventListener('abort', release);
        if (signal.aborted) release();
        else lead();
      });
    navigator.locks.request(name, how ?? { signal }, held).catch((error) => {
      if (signal.aborted) return;
      isLeader = false;
      // Another tab has taken the lock away; or there are no locks, as in a sandbox.
      if (error.name === 'AbortError') follow();
      else open();
    });
  };

  const lead = () => {
    isLeader = true;
    catchUp();
    clearTimeout(timer);
    // No former leader has got to this number.
    number = Math.max(Date.now() * 1000, number + 1000);
    say();
    open();
  };

  const follow = () => {
    queue();
    say();
    watch(FIRST_WORD);
  };

  return {
    start() {
      if (isRunning) return;
      isRunning = true;
      if (!options.share || !globalThis.navigator?.locks || !globalThis.BroadcastChannel) return open();
      channel = new BroadcastChannel(name);
      channel.onmessage = ({ data }) => hear(data);
      follow();
    },
    stop() {
      isRunning = isLeader = false;
      queued?.abort();
      disconnect();
      catchUp();
      clearTimeout(timer);
      channel?.close();
      if (stream.readyState === OPEN) change(CONNECTING);
    },
    restart() {
      if (!isRunning) return;
      stream.lastEventId = exact = '';
      isLive = false;
      catchUp();
      disconnect();
      if (isLeader) lead();
      else open();
    },
    wake: () => own?.wake(),
  };
}
