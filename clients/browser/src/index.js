export { EventStream } from './event-stream.js';
export { keyed } from './keyed.js';
