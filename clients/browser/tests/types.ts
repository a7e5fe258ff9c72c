// What users write is accepted, and mistakes are not. `tsc` reads this; it is not run.
import { EventStream, keyed } from 'tailwater-client';
import type { Entry, EventStreamOptions } from 'tailwater-client';

interface Task {
  text: string;
}

const options: EventStreamOptions = { share: 'alice', token: async () => 'a.b.c', lastEventId: '', idle: 0 };
const stream: EventTarget = new EventStream('/tasks?liveEvent=true', options);
const tasks = new EventStream(new URL('https://example.com/tasks'));
new EventStream('/tasks', { token: async () => {}, share: true, credentials: 'include', headers: { a: 'b' } });

tasks.addEventListener('message', ({ data, lastEventId }) => data.length + lastEventId.length);
tasks.addEventListener('of-another-server', ({ data }) => data.length);
tasks.addEventListener('error', ({ detail }) => detail === 401 && tasks.readyState === 2, { once: true });
tasks.removeEventListener('live', () => {});
tasks.restart();
tasks.close();

const state = keyed<Task>(tasks, (map, isLive) => isLive && render(map), { parse: JSON.parse });
state.get('a')?.value.text.trim();
state.get('a')?.etag?.trim();
keyed(tasks, () => {}, { parse: (data) => data.length }).get('a')?.value.toFixed();
keyed(tasks, () => {}, { key: ({ data }) => JSON.parse(data).id });

function render(map: ReadonlyMap<string, Entry<Task>>): void {
  map.forEach(({ value }, key) => key + value.text);
}

// @ts-expect-error
new EventStream('/tasks', { shared: true });
// @ts-expect-error
tasks.readyState = 1;
// @ts-expect-error
keyed(new EventSource('/tasks'), () => {});
// @ts-expect-error
state.set('a', { value: { text: '' }, etag: undefined });
stream.dispatchEvent(new Event('x'));
