const STEP = 1000;
const CAP = 30_000;
const DAY = 86_400_000;

/** The random part of a delay after a number of failures in a row: any time up to a bound that doubles. */
export const jitter = (failures) => Math.random() * Math.min(CAP, STEP * 2 ** failures);

/** The milliseconds of a `Retry-After`, which is a number of seconds or a date, and at least those of `retry`. */
export const demanded = (retry, retryAfter) => {
  const delay = /^\d+$/.test(retryAfter) ? retryAfter * 1000 : Date.parse(retryAfter) - Date.now();
  return Math.min(Math.max(retry, delay || 0), DAY);
};
