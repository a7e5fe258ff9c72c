// `tailwater start` with a guard before the event stream of a server in this process.
import { generateKeyPairSync, sign } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { pages, start } from './server.js';

const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

/** A token that is good until a time, in milliseconds since 1970. */
export function token(expiry, sub = 'somebody') {
  const encode = (part) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const claims = { iss: 'https://auth.example.com', sub, exp: expiry / 1000 };
  const message = `${encode({ alg: 'ES256', kid: 'ec' })}.${encode(claims)}`;
  const signature = sign('sha256', Buffer.from(message), { key: privateKey, dsaEncoding: 'ieee-p1363' });
  return `${message}.${signature.toString('base64url')}`;
}

/** An event stream that says what it is told to. */
export async function upstream() {
  const streams = new Set();
  const server = createServer((request, response) => {
    streams.add(response);
    response.on('close', () => streams.delete(response));
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(':\n\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    port: server.address().port,
    streams,
    say(data) {
      for (const stream of streams) stream.write(`data: ${data}\n\n`);
    },
    close() {
      for (const stream of streams) stream.destroy();
      server.close();
    },
  };
}

const configuration = ({ tls, versions, port }) => ({
  name: 'guarded',
  vaults: {
    servers: {
      type: 'filesystem',
      options: { keys: { store: 'keytool.p12', type: 'pkcs12', password: 'generated' } },
    },
  },
  guards: {
    who: {
      type: 'jwt',
      options: {
        issuer: 'https://auth.example.com',
        keys: [{ ...publicKey.export({ format: 'jwk' }), alg: 'ES256', kid: 'ec' }],
        challenge: 60,
      },
    },
  },
  bindings: {
    tcp_in: {
      type: 'tcp',
      kind: 'server',
      options: { host: '127.0.0.1', port: 0 },
      exit: tls ? 'tls_in' : 'http_in',
    },
    tls_in: { type: 'tls', kind: 'server', vault: 'servers', options: { keys: ['localhost'] }, exit: 'http_in' },
    http_in: {
      type: 'http',
      kind: 'server',
      options: {
        versions,
        authorization: {
          who: {
            credentials: {
              headers: { authorization: 'Bearer {credentials}' },
              query: { access_token: '{credentials}' },
              cookies: { access_token: '{credentials}' },
            },
          },
        },
      },
      routes: [{ when: [{ headers: { ':path': '/events' } }], exit: 'sse_in' }, { exit: 'pages' }],
    },
    ...pages,
    sse_in: { type: 'sse', kind: 'server', routes: [{ guarded: { who: [] }, exit: 'upstream' }] },
    upstream: { type: 'sse', kind: 'client', exit: 'http_out' },
    http_out: { type: 'http', kind: 'client', options: { versions: ['http/1.1'] }, exit: 'tcp_out' },
    tcp_out: { type: 'tcp', kind: 'client', options: { host: '127.0.0.1', port } },
  },
});

/** The server, and its origin. Its pages are files of this folder. */
export async function guarded({ pages = { 'www/index.html': 'guarded.html' }, arguments: more, ...options }) {
  const files = { ...pages, 'keytool.p12': '../../layers/tls/tests/fixtures/keytool.p12' };
  const server = await start(configuration(options), files, more);
  const origin = `${options.tls ? 'https' : 'http'}://localhost:${server.port}`;
  return { origin, address: (message) => server.address(message), close: () => server.close() };
}
