// `tailwater start` with a configuration of the test's own.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { binary } from './demo.js';

/** The bindings that serve the files of the folder `www`. */
export const pages = {
  pages: {
    type: 'http-filesystem',
    kind: 'proxy',
    routes: [{ when: [{ path: '/{path}' }], with: { path: '${params.path}' }, exit: 'files' }],
  },
  files: { type: 'filesystem', kind: 'server', options: { location: 'www' } },
};

/** The server, beside copies of files of this folder. It listens on a port of its own. */
export async function start(configuration, files, options = []) {
  const folder = await mkdtemp(join(tmpdir(), 'tailwater-browser-'));
  for (const [name, original] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await copyFile(fileURLToPath(new URL(original, import.meta.url)), join(folder, name));
  }
  const config = join(folder, 'zilla.json');
  await writeFile(config, JSON.stringify(configuration));
  const child = spawn(binary, ['start', '-c', config, '--log-format', 'json', '--drain', '1', ...options], {
    stdio: ['ignore', 'inherit', 'pipe'],
  });
  const exited = once(child, 'exit');
  exited.catch(() => {});
  const log = [];
  const port = await new Promise((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      log.push(line);
      const found = /"listening".*"127\.0\.0\.1:(\d+)"|"127\.0\.0\.1:(\d+)".*"listening"/.exec(line);
      if (found) resolve(Number(found[1] ?? found[2]));
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`it did not start:\n${log.join('\n')}`)));
  });
  return {
    port,
    log,
    /** The address of its line with this message. */
    async address(message) {
      for (;;) {
        const line = log.map((line) => JSON.parse(line)).find((line) => line.message === message);
        if (line) return line.address;
        if (child.exitCode !== null) throw new Error(`it ended:\n${log.join('\n')}`);
        await setTimeout(20);
      }
    },
    /** What Ctrl-C does; the exit status. */
    async close() {
      child.kill('SIGINT');
      const [status, signal] = await exited;
      await rm(folder, { recursive: true });
      return status ?? signal;
    },
  };
}
