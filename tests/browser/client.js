// A resumable event stream for `tailwater start` to pass on, and the pages that read it with `tailwater-client`.
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

/** The page, and what `npm run build` in clients/browser has made. */
const files = {
  'client.html': 'client.html',
  'tailwater-client.js': '../../clients/browser/dist/tailwater-client.js',
};
export const pages = Object.fromEntries(Object.entries(files).map(([name, file]) => [`www/${name}`, file]));

const base64 = (bytes) => Buffer.from(bytes).toString('base64url').padEnd(4 * Math.ceil(Math.ceil((bytes.length * 4) / 3) / 4), '=');

/** The beginning of tailwater's id behind `offset` records of one partition. */
function progress(offset) {
  const varint = (number) => (number < 128 ? [number] : [(number & 127) | 128, ...varint(number >> 7)]);
  return base64([1, 2, 0, ...varint(2 * offset)]);
}

/** The server of a log with keys, which speaks as tailwater does of a topic. It counts its streams. */
export async function log() {
  const records = [];
  const streams = new Set();
  const begun = []; // the id of each stream's request
  const write = (response, offset) => {
    const { key, value } = records[offset];
    const id = JSON.stringify([base64(Buffer.from(key)), `${progress(offset + 1)}/e${offset}`]);
    const data = value === undefined ? `event:delete\ndata:${base64(Buffer.from(key))}` : `data:${JSON.stringify(value)}`;
    response.write(`${data}\nid:${id}\n\n`);
  };
  const server = createServer((request, response) => {
    const last = request.headers['last-event-id'];
    begun.push(last);
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write('retry:100\n\n');
    const known = last ? records.findIndex((_, offset) => last.includes(`"${progress(offset + 1)}`) || last === progress(offset + 1)) : -1;
    for (let offset = known + 1; offset < records.length; offset++) write(response, offset);
    response.write(`event:live\ndata:{}\nid:${progress(records.length)}\n\n`);
    streams.add(response);
    response.on('close', () => streams.delete(response));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: server.address().port,
    records,
    streams,
    begun,
    append(key, value) {
      records.push({ key, value });
      for (const response of streams) write(response, records.length - 1);
    },
    cut() {
      for (const stream of streams) stream.destroy();
    },
    close() {
      this.cut();
      server.close();
    },
  };
}

/** Serves page and library beside the streams of an origin that has other pages. */
export async function route(context, origin) {
  for (const [name, file] of Object.entries(files)) {
    const body = await readFile(new URL(file, import.meta.url), 'utf8');
    const contentType = name.endsWith('.js') ? 'text/javascript' : 'text/html';
    await context.route(`${origin}/${name}`, (route) => route.fulfill({ body, contentType }));
  }
}
