// A reader of an event stream that nothing interrupts: what a page should have seen.
// Written from WHATWG HTML 9.2, not from the server: it is the other opinion.
export class Reader {
  events = [];
  #waiting = [];
  #abort = new AbortController();

  static async open(url) {
    const reader = new Reader();
    const response = await fetch(url, { headers: { accept: 'text/event-stream' }, signal: reader.#abort.signal });
    if (response.status !== 200) throw new Error(`${url} answered ${response.status}`);
    reader.ended = reader.#read(response.body).catch((error) => {
      if (!reader.#abort.signal.aborted) reader.#fail(error);
    });
    return reader;
  }

  /** The events, once `enough` of them are there. */
  until(enough) {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ enough, resolve, reject });
      this.#wake();
    });
  }

  close() {
    this.#abort.abort();
    return this.ended;
  }

  async #read(body) {
    let rest = '';
    let id = '';
    let fields = {};
    for await (const text of body.pipeThrough(new TextDecoderStream())) {
      // A CR at the end may be half a line end: it waits for what follows.
      const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === '') {
          if (fields.data) this.events.push({ id, type: fields.event || 'message', data: fields.data.join('\n') });
          fields = {};
          continue;
        }
        const [, name, value] = /^([^:]*):? ?([^]*)$/.exec(line);
        if (name === 'data') (fields.data ??= []).push(value);
        else if (name === 'id') id = value;
        else if (name === 'event') fields.event = value;
      }
      this.#wake();
    }
    this.#fail(new Error('the uninterrupted stream ended'));
  }

  #wake() {
    this.#waiting = this.#waiting.filter(({ enough, resolve }) => {
      if (!enough(this.events)) return true;
      resolve(this.events);
      return false;
    });
  }

  #fail(error) {
    for (const { reject } of this.#waiting.splice(0)) reject(error);
  }
}
