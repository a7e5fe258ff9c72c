// A TCP proxy between browser and server that can be cut: a network that fails, as both ends see it.
import { once } from 'node:events';
import { connect, createServer } from 'node:net';

export async function cuttable(port) {
  const sockets = new Set();
  const resumed = []; // what each Last-Event-ID that came by, in header or query, was
  let down = false;

  const server = createServer((browser) => {
    if (down) return browser.destroy();
    const upstream = connect(port, '127.0.0.1');
    for (const [socket, other] of [[browser, upstream], [upstream, browser]]) {
      sockets.add(socket);
      socket.on('error', () => other.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        other.destroy();
      });
    }
    browser.on('data', (bytes) => {
      const found = /^last-event-id: *(.+?)\r$|^GET [^ ]*[?&]last-?_?event-?_?id=([^& ]+)/im.exec(bytes.toString('latin1'));
      if (found) resumed.push(found[1] ?? decodeURIComponent(found[2]));
    });
    browser.pipe(upstream);
    upstream.pipe(browser);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  return {
    port: server.address().port,
    resumed,
    cut() {
      down = true;
      for (const socket of sockets) socket.destroy();
    },
    mend() {
      down = false;
    },
    close() {
      this.cut();
      server.close();
    },
  };
}
