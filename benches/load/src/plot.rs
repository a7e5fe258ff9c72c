//! The plot of `growth`: deliveries per CPU-second against clients, both axes logarithmic, as SVG.

use std::fmt::Write as _;

use crate::report::{Rounds, median, values};
use crate::scenarios::growth::CLIENTS;
use crate::servers::Kind;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 360.0;

/// The lines: server, name, colour, and the first of its columns.
const LINES: [(Kind, &str, &str, usize); 5] = [
    (Kind::Tailwater, "tailwater", "#0969da", 0),
    (Kind::Axum, "axum", "#bc4c00", 0),
    (Kind::Raw, "raw", "#6e7781", 0),
    (Kind::Tailwater, "tailwater, HTTP/2", "#0969da", CLIENTS.len()),
    (Kind::Axum, "axum, HTTP/2", "#bc4c00", CLIENTS.len()),
];

#[derive(Debug)]
struct Line {
    name: &'static str,
    colour: &'static str,
    is_dashed: bool,
    points: Vec<f64>,
}

pub(crate) fn svg(rounds: &Rounds) -> String {
    let lines: Vec<_> = LINES
        .into_iter()
        .map(|(kind, name, colour, first)| {
            let columns = first..first + CLIENTS.len();
            let points = columns.map(|column| median(&values(rounds, kind, column)));
            let points = points.filter(|point| point.is_normal()).collect();
            Line { name, colour, is_dashed: first > 0, points }
        })
        .filter(|line| line.points.len() == CLIENTS.len())
        .collect();
    let all = || lines.iter().flat_map(|line| line.points.iter().map(|point| point.log10()));
    let least = all().fold(f64::INFINITY, f64::min).floor();
    let most = all().fold(0.0, f64::max).ceil();
    let y =
        |value: f64| BOTTOM - (value.log10() - least) / (most - least).max(1.0) * (BOTTOM - TOP);
    let x = |column: usize| LEFT + column as f64 / (CLIENTS.len() - 1) as f64 * (RIGHT - LEFT);

    let mut out = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">
<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>
<text x="{LEFT}" y="26" font-size="15" fill="#1f2328">Deliveries per CPU-second in a burst of events of 256 bytes (HTTP/2: over TLS)</text>
"##
    );
    let mut tick = least;
    while tick <= most {
        for (value, is_power) in [(10f64.powf(tick), true), (3.0 * 10f64.powf(tick), false)] {
            if value.log10() > most {
                continue;
            }
            let at = y(value);
            let colour = if is_power { "#d0d7de" } else { "#eaeef2" };
            let _ = writeln!(
                out,
                r##"<line x1="{LEFT}" y1="{at:.1}" x2="{RIGHT}" y2="{at:.1}" stroke="{colour}"/><text x="{}" y="{:.1}" text-anchor="end" fill="#1f2328">{}</text>"##,
                LEFT - 8.0,
                at + 4.5,
                short(value)
            );
        }
        tick += 1.0;
    }
    for (column, clients) in CLIENTS.iter().enumerate() {
        let at = x(column);
        let _ = writeln!(
            out,
            r##"<line x1="{at:.1}" y1="{TOP}" x2="{at:.1}" y2="{BOTTOM}" stroke="#eaeef2"/><text x="{at:.1}" y="{}" text-anchor="middle" fill="#1f2328">{clients}</text>"##,
            BOTTOM + 20.0
        );
    }
    let _ = writeln!(
        out,
        r##"<text x="{}" y="{}" text-anchor="middle" fill="#1f2328">clients</text>"##,
        f64::midpoint(LEFT, RIGHT),
        BOTTOM + 44.0
    );
    for Line { name, colour, is_dashed, points } in &lines {
        let dashes = if *is_dashed { r#" stroke-dasharray="6 4""# } else { "" };
        let path: Vec<_> = (0..)
            .zip(points)
            .map(|(column, point)| format!("{:.1},{:.1}", x(column), y(*point)))
            .collect();
        let _ = writeln!(
            out,
            r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2.5"{dashes}/>"#,
            path.join(" ")
        );
        for (column, point) in points.iter().enumerate() {
            let _ = writeln!(
                out,
                r#"<circle cx="{:.1}" cy="{:.1}" r="4" fill="{colour}"/>"#,
                x(column),
                y(*point)
            );
        }
        if let Some(last) = points.last() {
            let _ = writeln!(
                out,
                r#"<text x="{}" y="{:.1}" fill="{colour}" font-weight="bold">{name}</text>"#,
                RIGHT + 12.0,
                y(*last) + 4.5
            );
        }
    }
    out.push_str("</svg>\n");
    out
}

fn short(value: f64) -> String {
    if value >= 999_999.0 {
        format!("{:.0} M", value / 1e6)
    } else {
        format!("{:.0} k", value / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_without_all_their_points_are_left_out() {
        let rounds = [vec![
            (Kind::Tailwater, vec![9e6, 8e6, 8e6, 5e6, 4e6, 3e6, 3e6, 2e6]),
            (Kind::Axum, vec![6e5, 6e5, f64::NAN, 5e5]),
        ]];
        let svg = svg(&rounds);
        assert_eq!(svg.matches("<polyline").count(), 2, "{svg}");
        assert_eq!(svg.matches("stroke-dasharray").count(), 1, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 2 * CLIENTS.len(), "{svg}");
        assert!(svg.contains(">tailwater<") && !svg.contains("NaN"), "{svg}");
    }
}
