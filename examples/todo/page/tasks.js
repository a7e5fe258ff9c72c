// The tasks as the user sees them: those of the stream, with the user's own changes above them.
//
// A change is shown at once and sent as a command. Its idempotency key is the etag that the task gets by it. So the
// stream tells how it went: a task with this etag confirms the change. A task with another etag than the user has seen
// means that somebody else was faster, and that the change has no effect.
import { EventStream, keyed } from 'tailwater-client';

const LONGEST_WAIT = 8000;

export class Tasks extends EventTarget {
  #streamed;
  /** By id: `key`, the etag `base` that the user has seen, and the `value` to be, which is null for a deletion. */
  #changes = new Map();
  #token;
  #bring;
  isLive = false;

  /** `token` brings a valid token, if there is a guard; `user` is who is signed in. */
  constructor(url, { token, user } = {}) {
    super();
    this.#bring = token && (async () => (this.#token = await token()));
    this.stream = new EventStream(url, { share: user ?? true, token: this.#bring });
    this.#streamed = keyed(this.stream, (_, isLive) => {
      this.isLive = isLive;
      this.#compare();
    });
  }

  /** All tasks, oldest first. */
  list() {
    const tasks = [...this.#streamed].map(([id, { value }]) => ({ id, ...value }));
    const seen = new Map(tasks.map((task) => [task.id, task]));
    for (const [id, change] of this.#changes) {
      const task = seen.get(id) ?? { id, created: change.created };
      const value = change.next === undefined ? change.value : change.next;
      if (change.isConflict) seen.set(id, { ...task, ...value, mine: change.value, theirs: this.#streamed.get(id)?.value ?? null });
      else if (value) seen.set(id, { ...task, ...value, isSaving: true });
      else seen.delete(id);
    }
    return [...seen.values()].sort((a, b) => a.created - b.created || (a.id < b.id ? -1 : 1));
  }

  add(value) {
    const key = crypto.randomUUID();
    // Behind all others, until the stream tells its time.
    this.#begin(key, { key, value, created: Date.now() + 1e12 });
  }

  /** Changes a task, or deletes it if the value is null. */
  set(id, value) {
    const change = this.#changes.get(id);
    // One after the other: the next one needs the etag of this one.
    if (change && !change.isConflict) change.next = value;
    else this.#begin(id, { key: crypto.randomUUID(), base: this.#streamed.get(id)?.etag, value });
    this.#notify('change');
  }

  /** Ends a conflict: the user's version is written over the other one, or dropped. */
  resolve(id, isMine) {
    const { value, created } = this.#changes.get(id);
    this.#changes.delete(id);
    if (!isMine) this.#notify('change');
    else if (this.#streamed.has(id)) this.set(id, value);
    else this.add(value);
  }

  #notify(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }

  #begin(id, change) {
    this.#changes.set(id, change);
    this.#notify('change');
    this.#send(id, change);
  }

  /** Compares the changes with what the stream says. */
  #compare() {
    for (const [id, change] of this.isLive ? this.#changes : []) {
      const { key, base, value, next } = change;
      const etag = this.#streamed.get(id)?.etag;
      if (change.isConflict || etag === base) continue;
      // The id of a new task is not anybody else's.
      if (etag === key || !base || (!value && !etag)) {
        this.#changes.delete(id);
        if (next !== undefined) this.set(id, next);
      } else {
        change.isConflict = true;
        if (next !== undefined) change.value = next;
        delete change.next;
        this.#notify('conflict', { id });
      }
    }
    this.#notify('change');
  }

  /** Sends a change until it is accepted, refused, or has become a conflict. */
  async #send(id, change) {
    const { key, base, value } = change;
    const method = base === undefined ? 'POST' : value ? 'PUT' : 'DELETE';
    const url = base === undefined ? 'tasks' : `tasks/${encodeURIComponent(id)}`;
    for (let wait = 250; this.#changes.get(id) === change && !change.isConflict; wait = Math.min(2 * wait, LONGEST_WAIT)) {
      const headers = { 'idempotency-key': key };
      if (base) headers['if-match'] = `"${base}"`;
      if (value) headers['content-type'] = 'application/json';
      let status, reason;
      try {
        if (this.#bring) headers.authorization = `Bearer ${this.#token ?? (await this.#bring())}`;
        const response = await fetch(url, { method, headers, body: value && JSON.stringify(value) });
        ({ status } = response);
        reason = await response.text();
      } catch {
        // There is no connection. The change may have been accepted all the same, so its key stays.
      }
      if (status === 202) return;
      if (status === 401) this.#token = undefined;
      // 404 and 412: the stream says so, too, in a moment, unless the service is behind.
      else if (status && ![404, 408, 412, 429].includes(status) && status < 500) {
        this.#changes.delete(id);
        this.#notify('refused', { reason });
        this.#notify('change');
        return;
      }
      await new Promise((resolve) => {
        setTimeout(resolve, wait);
        addEventListener('online', resolve, { once: true, signal: AbortSignal.timeout(wait) });
      });
    }
  }
}
