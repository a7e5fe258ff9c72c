// The inspector: asks for the state of the server each second, by one event stream.
import { Chart } from './chart.js';
import { ask, events, keepToken, reason } from './events.js';
import { brief, bytes, count, duration, rate, seconds } from './format.js';
import { Streams, write } from './streams.js';

const find = (selector) => document.querySelector(selector);
const LIMIT = 100;

let sort = 'lag';
let held = false;
let filters = {};
/** Ends the event stream that is open, to begin one with other filters. */
let again = () => {};
/** What was counted of each topic the last time. */
let counted = { time: 0, topics: new Map() };

const chart = new Chart(find('#chart'), find('#legend'));
const streams = new Streams(find('#streams'), {
  kick,
  sort(by) {
    sort = by;
    streams.sorted(by);
    again();
  },
});
streams.sorted(sort);

function pill(element, name, text) {
  const className = `pill ${name}`;
  if (element.className !== className) element.className = className;
  write(element, text);
}

// What comes each second.

function showHistory(samples) {
  chart.reset(samples.map(([time, events, lag]) => ({ time, events, lag })));
}

function showTick(tick) {
  const { sample } = tick;
  chart.add({ time: tick.time, events: sample.events, lag: sample.lag });
  write(find('#version'), tick.version);
  if (tick.draining) pill(find('#ready'), 'warn', 'draining');
  else pill(find('#ready'), tick.ready ? 'good' : 'bad', tick.ready ? 'ready' : 'not ready');
  write(find('#why'), tick.why.join(' · '));
  find('#why').title = tick.why.join('\n');
  if (held) return;

  showTiles(tick);
  showTopics(tick);
  showClusters(tick.clusters);
  const { total, streams: list } = tick.list;
  streams.show(list, tick.time);
  find('#empty').hidden = list.length > 0;
  const isFiltered = Object.keys(filters).length > 0;
  write(find('#empty'), isFiltered ? 'No stream matches these filters.' : 'No stream is open.');
  const order = { lag: 'the furthest behind first', events: 'most events first', bytes: 'most bytes first', opened: 'the oldest first' };
  const which = isFiltered ? ' that match' : '';
  write(find('#count'), list.length > 0 ? `${count(list.length)} of ${count(total)} streams${which}, ${order[sort]}` : '');
}

function showTiles({ sample, states, connections, clusters }) {
  write(find('#tile-streams'), count(sample.streams));
  const named = Object.entries(states).filter(([, number]) => number > 0);
  named.sort(([, a], [, b]) => b - a);
  write(find('#tile-states'), named.map(([state, number]) => `${brief(number)} ${state}`).join(', '));
  find('#tile-states').title = find('#tile-states').textContent;
  write(find('#tile-events'), rate(sample.events));
  write(find('#tile-bytes'), `${bytes(sample.bytes)}/s to clients`);
  write(find('#tile-lag'), seconds(sample.lag));
  find('#tile-lag').className = sample.lag > 60 ? 'bad' : sample.lag > 5 ? 'warn' : '';
  write(find('#tile-behind'), `${brief(sample.behind)} streams behind`);
  write(find('#tile-connections'), count(connections.open));
  const { refused, stalled } = connections;
  write(find('#tile-refused'), `${brief(refused)} refused, ${brief(stalled)} stalled`);

  const away = clusters.filter((cluster) => cluster.kafka !== 'reached');
  const [first] = away.length > 0 ? away : clusters;
  write(find('#tile-kafka'), away.length > 0 ? away[0].kafka : clusters.length > 0 ? 'reached' : 'none');
  find('#tile-kafka').className = away.length > 0 ? 'bad' : clusters.length > 0 ? 'good' : '';
  const since = first?.since ? duration((Date.now() - Date.parse(first.since)) / 1000) : '';
  write(find('#tile-kafka-since'), since && `for ${since}`);
}

function rows(body, number, cells) {
  while (body.rows.length > number) body.deleteRow(-1);
  while (body.rows.length < number) {
    const row = body.insertRow();
    for (let index = 0; index < cells; index++) row.insertCell().className = index > 0 ? 'number' : '';
  }
  return body.rows;
}

function showTopics({ time, topics }) {
  const before = counted;
  counted = { time, topics: new Map(topics.map((topic) => [`${topic.cluster}/${topic.name}`, topic])) };
  const passed = time - before.time;
  topics = topics.toSorted((a, b) => (b.streams ?? 0) - (a.streams ?? 0) || a.name.localeCompare(b.name));
  write(find('#topics-count'), topics.length > 0 ? `${count(topics.length)} held` : 'none held');
  const all = rows(find('#topics').tBodies[0], topics.length, 6);
  for (const [index, topic] of topics.entries()) {
    const earlier = before.topics.get(`${topic.cluster}/${topic.name}`);
    const each = (name) => (earlier && passed > 0 && topic[name] !== undefined ? rate(Math.max(0, topic[name] - earlier[name]) / passed) : '–');
    const [name, ...numbers] = all[index].cells;
    const note = topic.missing ? 'does not exist' : topic.forbidden ? 'is not permitted' : topic.advances === false ? 'does not advance' : '';
    if (!name.firstChild) name.append(document.createElement('span'), document.createElement('span'));
    write(name.firstChild, topic.name);
    name.lastChild.className = 'note';
    write(name.lastChild, note);
    name.title = note ? `${topic.name} ${note}` : topic.name;
    const behind = topic.behind_records;
    const texts = [
      brief(topic.streams ?? 0),
      each('records_read'),
      each('events_sent'),
      behind === undefined || behind === null ? '–' : brief(behind),
      topic.log_bytes === undefined || topic.log_bytes === null ? '–' : bytes(topic.log_bytes),
    ];
    for (const [at, text] of texts.entries()) write(numbers[at], text);
  }
}

function showClusters(clusters) {
  const list = find('#clusters');
  while (list.children.length > clusters.length) list.lastChild.remove();
  while (list.children.length < clusters.length) {
    const item = document.createElement('li');
    item.append(document.createElement('b'), document.createElement('span'));
    list.append(item);
  }
  for (const [index, cluster] of clusters.entries()) {
    const [name, about] = list.children[index].children;
    name.className = cluster.kafka === 'reached' ? 'good' : 'bad';
    write(name, cluster.kafka);
    const cause = cluster.kafka !== 'reached' && cluster.last_error ? ` · ${cluster.last_error}` : '';
    write(about, `${cluster.servers.join(', ')}${cause}`);
    list.children[index].title = `${cluster.name}\n${about.textContent}`;
  }
}

// The end of a stream, by its operator.

let kicked = null;

function kick(stream) {
  kicked = stream;
  const list = find('#kick dl');
  const facts = [
    ['Stream', stream.id],
    ['Topic', stream.topic],
    ['Subject', stream.subject],
    ['Client', stream.client],
    ['Route', stream.route],
    ['Lag', stream.lag ? `${count(stream.lag.records)} records, ${seconds(stream.lag.seconds)}` : 'not known'],
  ];
  list.replaceChildren();
  for (const [name, value] of facts.filter(([, value]) => value)) {
    const [term, text] = [document.createElement('dt'), document.createElement('dd')];
    term.textContent = name;
    text.textContent = value;
    list.append(term, text);
  }
  find('#block').hidden = !stream.subject;
  find('#kick form').reset();
  write(find('#kick-error'), '');
  find('#kick').showModal();
}

find('#kick form').addEventListener('submit', async (event) => {
  if (event.submitter?.value !== 'kick') return;
  event.preventDefault();
  const block = new FormData(event.target).get('block');
  const path = block && kicked.subject ? `/streams?${new URLSearchParams({ subject: kicked.subject, block })}` : `/streams/${kicked.id}`;
  try {
    const response = await ask(path, { method: 'DELETE' });
    if (!response.ok && response.status !== 404) throw new Error(await reason(response));
    find('#kick').close();
  } catch (error) {
    write(find('#kick-error'), `It was not ended: ${error.message}`);
  }
});

// Filters, and a picture that stands still.

let typing;
find('#filters').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(applyFilters, 300);
});
find('#filters').addEventListener('reset', () => setTimeout(applyFilters));
find('#filters').addEventListener('submit', (event) => {
  event.preventDefault();
  applyFilters();
});

function applyFilters() {
  const form = find('#filters');
  if (!form.checkValidity()) return;
  const given = [...new FormData(form)].filter(([, value]) => value !== '');
  filters = Object.fromEntries(given);
  again();
}

find('#hold').addEventListener('click', () => {
  held = !held;
  find('#hold').setAttribute('aria-pressed', String(held));
});

// The event stream, again and again.

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function login(wrong) {
  const dialog = find('#login');
  write(find('#login-error'), wrong ? 'This is not the token.' : '');
  find('#login form').reset();
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener('close', resolve, { once: true }));
  keepToken(new FormData(find('#login form')).get('token').trim());
}

async function follow() {
  let asked = false;
  let wait = 500;
  for (;;) {
    const abort = new AbortController();
    again = () => abort.abort();
    let isWanted = true;
    abort.signal.addEventListener('abort', () => (isWanted = false));
    try {
      const query = new URLSearchParams({ ...filters, sort, limit: LIMIT });
      const response = await ask(`/events?${query}`, { signal: abort.signal });
      if (response.status === 401) {
        pill(find('#link'), 'warn', 'needs a token');
        await login(asked);
        asked = true;
        continue;
      }
      asked = false;
      if (!response.ok) throw new Error(await reason(response));
      pill(find('#link'), 'good', 'live');
      for await (const { type, data } of events(response)) {
        wait = 500;
        if (type === 'history') showHistory(JSON.parse(data).samples);
        else if (type === 'tick') showTick(JSON.parse(data));
      }
      throw new Error('the stream has ended');
    } catch (error) {
      // Other filters were chosen.
      if (!isWanted) continue;
      pill(find('#link'), 'bad', 'no answer');
      find('#link').title = error.message;
      await pause(wait);
      wait = Math.min(wait * 2, 5000);
    }
  }
}

follow();
