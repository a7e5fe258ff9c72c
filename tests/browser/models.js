// What a test of a real Kafka and a real registry needs: the server, a producer, and the registry's life in its hands.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { pages, start } from './server.js';

const file = (path) => fileURLToPath(new URL(path, import.meta.url));
const { TAILWATER_TEST_KAFKA: kafka, TAILWATER_TEST_APICURIO: registry } = process.env;

/** Why there is nothing to test; undefined if there is. */
export const missing =
  kafka && registry ? undefined : 'tests/registry/registry.sh run tests/kafka/kafka.sh run npm test';

/** `kill` and `start`. */
export function control(command) {
  const { status } = spawnSync(process.env.TAILWATER_TEST_APICURIO_CONTROL, [command], { stdio: 'inherit' });
  if (status !== 0) throw new Error(`registry.sh ${command}: exit status ${status}`);
}

const url = `${registry}/apis/ccompat/v7`;

/** A program that does one command after another. */
export function producer() {
  const script = file('../serializers/serializers.sh');
  const child = spawn(script, ['python', file('producer.py'), kafka, url], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
  return {
    async run(command) {
      child.stdin.write(`${JSON.stringify(command)}\n`);
      const { done } = await lines.next();
      if (done) throw new Error('the producer ended');
    },
    async close() {
      child.stdin.end();
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}

const configuration = (topic) => ({
  name: 'models',
  catalogs: { reg: { type: 'schema-registry', options: { url } } },
  bindings: {
    tcp_in: { type: 'tcp', kind: 'server', options: { host: '127.0.0.1', port: 0 }, exit: 'http_in' },
    http_in: {
      type: 'http',
      kind: 'server',
      routes: [{ when: [{ headers: { ':path': '/events' } }], exit: 'sse_in' }, { exit: 'pages' }],
    },
    ...pages,
    sse_in: { type: 'sse', kind: 'server', exit: 'mapping' },
    mapping: {
      type: 'sse-kafka',
      kind: 'proxy',
      routes: [{ when: [{ path: '/events' }], exit: 'cache_client', with: { topic } }],
    },
    cache_client: { type: 'kafka', kind: 'cache_client', exit: 'cache_server' },
    cache_server: {
      type: 'kafka',
      kind: 'cache_server',
      options: {
        topics: [{ name: topic, value: { model: 'avro', view: 'json', catalog: { reg: [{ strategy: 'topic' }] } } }],
      },
      exit: 'kafka_out',
    },
    kafka_out: { type: 'kafka', kind: 'client', options: { servers: [kafka] }, exit: 'tcp_out' },
    tcp_out: { type: 'tcp', kind: 'client' },
  },
});

/** The server, with a page that shows the topic. */
export function models(topic) {
  return start(configuration(topic), { 'www/index.html': 'models.html' });
}
