/**
 * A parser for the text of one connection (WHATWG HTML 9.2.6), which may be cut anywhere. It calls `onBlock` for
 * each complete block that has data or an id, and `onRetry` for each reconnection time.
 *
 * The `type` of a block is empty if there was no data. Its `id` is `undefined` if there was none.
 */
export function parser(onBlock, onRetry, maxLength) {
  let line = '';
  let afterCr = false;
  let type = '';
  /** Each field of data ends with an LF, even an empty one. */
  let data = '';
  let id;

  const end = () => {
    const block = { type: data && (type || 'message'), data: data.slice(0, -1), id };
    type = data = '';
    id = undefined;
    if (block.type || block.id !== undefined) onBlock(block);
  };

  return (text) => {
    if (!text) return;
    // A CR has ended its line at once. An LF behind it, perhaps in the next piece, belongs to the same line end.
    if (afterCr && text[0] === '\n') text = text.slice(1);
    afterCr = text.endsWith('\r');
    const lines = text.split(/\r\n|\r|\n/);
    lines[0] = line + lines[0];
    line = lines.pop();
    for (const full of lines) {
      const [, name, value] = /^([^:]*):? ?([^]*)$/.exec(full);
      if (!full) end();
      else if (name === 'data') data += `${value}\n`;
      else if (name === 'event') type = value;
      else if (name === 'id' && !value.includes('\0')) id = value;
      else if (name === 'retry' && /^\d+$/.test(value)) onRetry(+value);
    }
    if (line.length + data.length > maxLength) throw new RangeError('event too long');
  };
}
