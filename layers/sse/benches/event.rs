//! Encoding and parsing of events of the sizes that users have.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tailwater_sse::{DataFields, EventRef, Parser, encode_event};

const SIZES: [usize; 2] = [256, 4096];
const EVENTS: usize = 64;

fn event(data: &[u8]) -> EventRef<'_> {
    EventRef { timestamp: None, event: None, data: Some(data), id: Some(b"AQQABAIC") }
}

/// JSON-like text on one line, or with a line end every 64 bytes.
fn values() -> impl Iterator<Item = (String, Vec<u8>)> {
    SIZES.into_iter().flat_map(|size| {
        let line: Vec<u8> =
            br#"{"symbol":"TWTR","price":42.17},"#.iter().copied().cycle().take(size).collect();
        let mut lines = line.clone();
        lines.iter_mut().skip(63).step_by(64).for_each(|byte| *byte = b'\n');
        [(format!("{size} B"), line), (format!("{size} B in lines"), lines)]
    })
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    for (name, value) in values() {
        group.throughput(Throughput::Bytes((value.len() * EVENTS) as u64));
        group.bench_function(name, |bencher| {
            let mut out = Vec::new();
            bencher.iter(|| {
                out.clear();
                for _ in 0..EVENTS {
                    encode_event(black_box(event(&value)), &mut out);
                }
                black_box(out.len())
            });
        });
    }
}

/// 16 MiB, at once and piece by piece as a stream's writes are.
fn encode_large(criterion: &mut Criterion) {
    const BYTES: usize = 16 << 20;
    const PIECE_BYTES: usize = 64 << 10;

    let text = [b'x'; 4096];
    let mut line = [b'x'; 80];
    line[79] = b'\n';
    let values: [(&str, &[u8]); 5] = [
        ("one line", &text),
        ("lines of 80 B", &line),
        ("LF", b"\n"),
        ("CRLF", b"\r\n"),
        ("lines of a space", b" \n"),
    ];
    let mut group = criterion.benchmark_group("encode 16 MiB");
    group.sample_size(10).throughput(Throughput::Bytes(BYTES as u64));
    for (name, unit) in values {
        let value = unit.repeat(BYTES / unit.len());
        // Without the page faults of memory that is new.
        let mut out = Vec::with_capacity(7 * BYTES);
        group.bench_function(format!("{name}, at once"), |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_event(black_box(event(&value)), &mut out);
                black_box(out.len())
            });
        });
        group.bench_function(format!("{name}, in pieces"), |bencher| {
            bencher.iter(|| {
                let mut fields = DataFields::default();
                let mut pieces = 1;
                while !fields.encode(black_box(&value), PIECE_BYTES, &mut out) {
                    out.clear();
                    pieces += 1;
                }
                out.clear();
                black_box(pieces)
            });
        });
    }
}

fn parse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, value) in values() {
        let mut stream = Vec::new();
        for _ in 0..EVENTS {
            encode_event(event(&value), &mut stream);
        }
        group.throughput(Throughput::Bytes(stream.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let mut parser = Parser::new();
                let mut items = 0;
                for piece in stream.chunks(16 << 10) {
                    parser.push(black_box(piece));
                    while parser.pull().expect("within the limits").is_some() {
                        items += 1;
                    }
                }
                assert_eq!(items, EVENTS);
            });
        });
    }
}

criterion_group!(benches, encode, encode_large, parse);
criterion_main!(benches);
