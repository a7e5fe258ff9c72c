//! A shared, bounded log with cursors: fan-out without a queue for each listener.
