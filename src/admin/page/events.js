// Requests with the token, and event streams by fetch: an EventSource cannot send a header.

let token = '';

export function keepToken(text) {
  token = text;
}

/** A request. Its header marks it as the inspector's own, since browsers add an Origin to all but reads. */
export function ask(path, options = {}) {
  const headers = { 'tailwater-inspector': '1', ...options.headers };
  if (token) headers.authorization = `Bearer ${token}`;
  return fetch(path, { ...options, headers, cache: 'no-store', credentials: 'omit', redirect: 'error' });
}

/** The reason that a response gives for its status. */
export async function reason(response) {
  const body = await response.json().catch(() => ({}));
  return body.error ?? `status ${response.status}`;
}

/** The events of a response: their types and data. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let type = 'message';
  let data = [];
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (text + value).split('\n');
    text = lines.pop();
    for (const line of lines) {
      if (line.startsWith('event:')) type = line.slice(6).trimStart();
      else if (line.startsWith('data:')) data.push(line.slice(5));
      else if (line === '') {
        if (data.length > 0) yield { type, data: data.join('\n') };
        type = 'message';
        data = [];
      }
    }
  }
}
