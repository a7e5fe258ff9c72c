// Starts `tailwater demo` and Chromium, for tests.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

export const binary =
  process.env.TAILWATER_BIN ??
  `${process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL('../../target', import.meta.url))}/release/tailwater`;

/** The demo on a port of its own, and the port. */
export async function demo() {
  const child = spawn(binary, ['demo', '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  child.stderr.pipe(process.stderr);
  const exited = once(child, 'exit');
  exited.catch(() => {});
  const port = await new Promise((resolve, reject) => {
    // Read to the end: a full pipe would stop the demo.
    createInterface(child.stdout).on('line', (line) => {
      const found = /http:\/\/(?:localhost|127\.0\.0\.1):(\d+)/.exec(line);
      if (found) resolve(Number(found[1]));
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${binary} demo: exit status ${code} before it named its address`)));
  });
  return {
    port,
    /** What Ctrl-C does; the exit status. */
    async interrupt() {
      child.kill('SIGINT');
      const [status, signal] = await exited;
      return status ?? signal;
    },
  };
}

export function browser(options) {
  return chromium.launch({
    ...options,
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
