// Starts `examples/todo`, and `tailwater start` with its configuration.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { binary } from './demo.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const example = process.env.TAILWATER_TODO ?? `${process.env.CARGO_TARGET_DIR ?? join(root, 'target')}/debug/examples/todo`;

/** A process that is ready when its log had a match for each pattern: what they found, and its end. */
async function run(command, args, patterns, options) {
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'pipe'], ...options });
  const exited = once(child, 'exit');
  exited.catch(() => {});
  const log = [];
  const found = [];
  await new Promise((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      log.push(line);
      patterns.forEach((pattern, index) => (found[index] ??= pattern.exec(line)?.[1]));
      if (patterns.every((_, index) => found[index])) resolve();
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`${command} did not start:\n${log.join('\n')}`)));
  });
  const close = async () => {
    child.kill('SIGINT');
    const [status, signal] = await exited;
    return status ?? signal;
  };
  return { found, close };
}

/** The example, which has a Kafka in its process. */
export async function todo(...args) {
  const { found, close } = await run(example, ['127.0.0.1:0', ...args], [/^Kafka: (.*)/, /^http:\/\/.*:(\d+)/]);
  return { kafka: found[0], port: Number(found[1]), close };
}

/** The program, which streams the tasks of that Kafka; `connections` says how many it has. */
export async function streams(kafka) {
  const folder = await mkdtemp(join(tmpdir(), 'tailwater-todo-'));
  const config = join(folder, 'zilla.yaml');
  await writeFile(config, (await readFile(join(root, 'examples/todo/zilla.yaml'), 'utf8')).replace('port: 7114', 'port: 0'));
  const { found, close } = await run(
    binary,
    ['start', '-c', config, '--log-format', 'json', '--drain', '1', '--health', '127.0.0.1:0'],
    [/"serving \/ready and \/live".*"127\.0\.0\.1:(\d+)"|"127\.0\.0\.1:(\d+)".*"serving \/ready and \/live"/, /"listening".*"127\.0\.0\.1:(\d+)"/],
    { env: { ...process.env, KAFKA_BOOTSTRAP_SERVER: kafka } },
  );
  const health = `http://127.0.0.1:${found[0]}/ready`;
  return {
    url: `http://localhost:${found[1]}/tasks`,
    async connections() {
      const { listeners } = await (await fetch(health)).json();
      return listeners.find(({ name }) => name === 'tcp_in').open;
    },
    async close() {
      const status = await close();
      await rm(folder, { recursive: true });
      return status;
    },
  };
}
