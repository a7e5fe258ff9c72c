// A server of event streams, for tests: each request is handed to the test.
import { once } from 'node:events';
import { createServer } from 'node:http';

export async function serve(t, answer) {
  const requests = [];
  const open = new Set();
  const server = createServer((request, response) => {
    requests.push(request);
    open.add(response);
    response.on('close', () => open.delete(response));
    answer(request, response, requests.length);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${server.address().port}/events`, requests, open };
}

/** Begins an event stream. */
export const begin = (response, text = ':\n\n') =>
  response.writeHead(200, { 'content-type': 'text/event-stream' }).write(text);

/** The next event of a type, or the first for which `holds`. */
export const next = (target, type, holds = () => true) =>
  new Promise((resolve) => {
    const listener = (event) => {
      if (!holds(event)) return;
      target.removeEventListener(type, listener);
      resolve(event);
    };
    target.addEventListener(type, listener);
  });
