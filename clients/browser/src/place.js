/** The bytes of a text in base64url. */
export const decode = (text) =>
  Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (char) => char.charCodeAt(0));

/**
 * The place in the stream that an event id stands for. Ids of tailwater that differ only in key and etag have the
 * same: they have the form `progress/etag` or `["key","progress/etag"]`. Any other id is its own place.
 */
export const place = (id) => {
  try {
    const [, progress] = /^(?:\[[^,]*,")?([\w-]+=*)(?:["/]|$)/.exec(id);
    // The progress is 01, a count, and a partition and an offset for each. The numbers are varints, which end with a
    // byte below 128, and are doubled since they may be negative.
    const [version, ...varints] = decode(progress);
    const number = varints.filter((byte) => byte < 128).length;
    if (version === 1 && varints.at(-1) < 128 && varints[0] === number - 1) return progress;
  } catch {}
  return id;
};
