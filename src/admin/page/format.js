// Numbers and times for people.

const whole = new Intl.NumberFormat('en');

export const count = (number) => whole.format(Math.round(number));

/** A number of at most four digits, and its unit. */
function short(number, base, units) {
  let unit = 0;
  while (number >= base && unit < units.length - 1) {
    number /= base;
    unit += 1;
  }
  const digits = unit === 0 || number >= 100 ? 0 : 1;
  return `${number.toFixed(digits)}${units[unit]}`;
}

export const brief = (number) => (number < 10_000 ? count(number) : short(number, 1000, ['', ' k', ' M', ' G', ' T']));

export const bytes = (number) => short(number, 1024, [' B', ' KiB', ' MiB', ' GiB', ' TiB']);

export function rate(number) {
  return number > 0 && number < 10 ? number.toFixed(1) : brief(number);
}

export function seconds(number) {
  if (number < 0.0005) return '0 s';
  if (number < 1) return `${(number * 1000).toFixed(0)} ms`;
  if (number < 60) return `${number.toFixed(1)} s`;
  return duration(number);
}

const UNITS = [
  ['d', 86_400],
  ['h', 3600],
  ['min', 60],
  ['s', 1],
];

/** A time in its largest unit. */
export function age(number) {
  const [name, size] = UNITS.find(([, size]) => number >= size) ?? UNITS.at(-1);
  return `${Math.floor(number / size)} ${name}`;
}

/** A time in its two largest units. */
export function duration(number) {
  const at = UNITS.findIndex(([, size]) => number >= size);
  if (at < 0) return '0 s';
  const [[name, size], next] = [UNITS[at], UNITS[at + 1]];
  const first = `${Math.floor(number / size)} ${name}`;
  const rest = next && Math.floor((number % size) / next[1]);
  return rest ? `${first} ${rest} ${next[0]}` : first;
}
