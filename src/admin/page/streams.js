// The table of streams. Its rows are kept, and only what differs is written. All texts of clients are text.
import { age, brief, bytes, count, seconds } from './format.js';

const COLUMNS = [
  ['state', (stream) => stream.state ?? '–'],
  ['topic', (stream) => stream.topic ?? ''],
  ['subject', (stream) => stream.subject ?? ''],
  ['client', (stream) => stream.client],
  ['number lag', (stream) => (stream.lag ? brief(stream.lag.records) : '–')],
  ['number age', (stream) => (stream.lag ? seconds(stream.lag.seconds) : '–')],
  ['number', (stream) => brief(stream.sent.events ?? 0)],
  ['number', (stream) => bytes(stream.sent.bytes)],
  ['number', (stream, now) => age(Math.max(0, now - Date.parse(stream.opened) / 1000))],
  ['binding', (stream) => stream.binding],
  ['protocol', (stream) => stream.protocol.replace(/^http\/|^h/, '')],
  ['id', (stream) => stream.id],
];

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export class Streams {
  #table;
  #body;
  #order = [];
  #rows = [];
  #kick;

  constructor(table, { kick, sort }) {
    this.#table = table;
    this.#body = table.tBodies[0];
    this.#kick = kick;
    for (const head of table.querySelectorAll('th[data-sort]')) {
      const button = document.createElement('button');
      button.type = 'button';
      button.append(...head.childNodes);
      button.addEventListener('click', () => sort(head.dataset.sort));
      head.append(button);
    }
  }

  sorted(by) {
    for (const head of this.#table.querySelectorAll('th[data-sort]')) {
      if (head.dataset.sort === by) head.setAttribute('aria-sort', by === 'opened' ? 'ascending' : 'descending');
      else head.removeAttribute('aria-sort');
    }
  }

  show(streams, now) {
    // Nothing moves under the pointer of somebody who is about to choose a row.
    if (this.#body.matches(':hover') || this.#body.contains(document.activeElement)) {
      const place = new Map(this.#order.map((id, index) => [id, index]));
      const of = (stream) => place.get(stream.id) ?? Number.MAX_SAFE_INTEGER;
      streams = streams.toSorted((a, b) => of(a) - of(b));
    }
    this.#order = streams.map((stream) => stream.id);
    while (this.#rows.length < streams.length) this.#rows.push(this.#row());
    for (const [index, row] of this.#rows.entries()) {
      const stream = streams[index];
      row.element.hidden = !stream;
      if (stream) this.#fill(row, stream, now);
    }
  }

  #row() {
    const element = this.#body.insertRow();
    const cells = COLUMNS.map(([name]) => {
      const cell = element.insertCell();
      cell.className = name;
      return cell;
    });
    const text = document.createElement('span');
    cells[0].append(text);
    const act = element.insertCell();
    act.className = 'act';
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Kick';
    act.append(button);
    const row = { element, cells, text, button, stream: null };
    button.addEventListener('click', () => this.#kick(row.stream));
    return row;
  }

  #fill(row, stream, now) {
    row.stream = stream;
    for (const [index, [, text]] of COLUMNS.entries()) {
      write(index === 0 ? row.text : row.cells[index], text(stream, now));
    }
    const state = `state is-${stream.state}`;
    if (row.cells[0].className !== state) row.cells[0].className = state;
    const { records, seconds: late } = stream.lag ?? { records: 0, seconds: 0 };
    row.cells[4].className = `number lag ${records > 0 ? 'behind' : 'none'}`;
    row.cells[5].className = `number age ${late > 60 ? 'far' : late > 5 ? 'behind' : ''}`;
    for (const index of [1, 2, 3, 9]) row.cells[index].title = row.cells[index].textContent;
    const title = [
      `route ${stream.route ?? 'unknown'}`,
      `position ${stream.position ?? 'none'}`,
      `${count(stream.gaps ?? 0)} gaps`,
      `last write ${stream.last_write}`,
    ];
    row.cells[11].title = title.join('\n');
    row.button.setAttribute('aria-label', `Kick ${stream.id}`);
  }
}
