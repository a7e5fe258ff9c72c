// The chart: events per second above, lag below, on one axis of time.
import { brief, rate, seconds } from './format.js';

const SPAN = 600;
const LEFT = 48;
const RIGHT = 10;
const TOP = 6;
const BOTTOM = 18;
const BETWEEN = 14;

const svg = (name, attributes = {}) => {
  const element = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
};

/** A number that is easy to read, not below another one and not far above it. */
function round(number, least) {
  if (number <= least) return least;
  const power = 10 ** Math.floor(Math.log10(number));
  const first = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((first) => first * power >= number);
  return Number((first * power).toPrecision(2));
}

export class Chart {
  #element;
  #legend;
  #picture = svg('svg', { role: 'img' });
  #samples = [];
  #pointer = null;

  constructor(element, legend) {
    this.#element = element;
    this.#legend = legend;
    element.append(this.#picture);
    new ResizeObserver(() => this.#draw()).observe(element);
    element.addEventListener('pointermove', (event) => {
      this.#pointer = event.clientX - this.#picture.getBoundingClientRect().left;
      this.#draw();
    });
    element.addEventListener('pointerleave', () => {
      this.#pointer = null;
      this.#draw();
    });
  }

  /** Replaces all samples: time in seconds, events per second, seconds of lag. */
  reset(samples) {
    this.#samples = samples;
    this.#draw();
  }

  add(sample) {
    const last = this.#samples.at(-1);
    if (last && last.time >= sample.time) return;
    this.#samples.push(sample);
    while (this.#samples[0].time < sample.time - SPAN) this.#samples.shift();
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.#picture;
    if (width < 200 || height < 100) return;
    const samples = this.#samples;
    const now = samples.at(-1)?.time ?? 0;
    const inner = height - TOP - BOTTOM - BETWEEN;
    const upper = { top: TOP, height: inner * 0.62 };
    const lower = { top: TOP + inner * 0.62 + BETWEEN, height: inner * 0.38 };
    const x = (time) => LEFT + (1 - (now - time) / SPAN) * (width - LEFT - RIGHT);
    const parts = [];

    const panel = ({ top, height }, name, value, most, label) => {
      const y = (number) => top + height * (1 - Math.min(number / most, 1));
      for (const share of [0, 0.5, 1]) {
        const at = Math.round(y(most * share)) + 0.5;
        parts.push(svg('line', { class: 'grid', x1: LEFT, x2: width - RIGHT, y1: at, y2: at }));
        if (share === 0.5) continue;
        const text = svg('text', { class: 'axis', x: LEFT - 6, y: at + 4, 'text-anchor': 'end' });
        text.textContent = label(most * share);
        parts.push(text);
      }
      // A line ends where the server was not asked for a while.
      const runs = [];
      for (const [index, sample] of samples.entries()) {
        if (index === 0 || sample.time - samples[index - 1].time > 12) runs.push([]);
        runs.at(-1).push(sample);
      }
      const draw = (run) => run.map((sample) => `${x(sample.time).toFixed(1)} ${y(value(sample)).toFixed(1)}`).join('L');
      const base = (top + height).toFixed(1);
      const area = (run) => `M${x(run[0].time).toFixed(1)} ${base}L${draw(run)}L${x(run.at(-1).time).toFixed(1)} ${base}Z`;
      parts.push(svg('path', { class: name, d: runs.map(area).join('') }));
      parts.push(svg('path', { class: `${name}-line`, d: runs.map((run) => `M${draw(run)}`).join('') }));
    };

    const most = (value, least) => round(samples.reduce((found, sample) => Math.max(found, value(sample)), 0), least);
    panel(upper, 'events', (sample) => sample.events, most((sample) => sample.events, 10), (number) => brief(number));
    panel(lower, 'lag', (sample) => sample.lag, most((sample) => sample.lag, 0.1), (number) => seconds(number).replace('.0 ', ' '));
    for (let minutes = 0; minutes <= 10; minutes += 2) {
      const anchor = minutes === 0 ? 'end' : minutes === 10 ? 'start' : 'middle';
      const at = LEFT + (1 - minutes / 10) * (width - LEFT - RIGHT);
      const text = svg('text', { class: 'axis', x: at, y: height - 4, 'text-anchor': anchor });
      text.textContent = minutes === 0 ? 'now' : `${minutes} min ago`;
      parts.push(text);
    }

    let shown = samples.at(-1);
    if (this.#pointer !== null && samples.length > 0) {
      const distance = (sample) => Math.abs(x(sample.time) - this.#pointer);
      shown = samples.reduce((best, sample) => (distance(sample) < distance(best) ? sample : best));
      const at = Math.round(x(shown.time)) + 0.5;
      parts.push(svg('line', { class: 'cross', x1: at, x2: at, y1: TOP, y2: height - BOTTOM }));
    }
    const [events, lag] = this.#legend.querySelectorAll('b');
    events.textContent = shown ? rate(shown.events) : '–';
    lag.textContent = shown ? seconds(shown.lag) : '–';
    const time = shown && this.#pointer !== null ? new Date(shown.time * 1000).toLocaleTimeString('en-GB') : '';
    this.#legend.querySelector('time').textContent = time;
    const label = shown ? `${rate(shown.events)} events per second, 99 % of streams within ${seconds(shown.lag)}` : 'no data yet';
    this.#picture.setAttribute('aria-label', label);
    this.#picture.replaceChildren(...parts);
  }
}
