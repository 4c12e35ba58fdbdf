//! A status as text: a table with one line for each host, and for one host its layers, drops and
//! what happened last.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::page::{Line, Page};
use crate::text::{cell, shown};

const EVENTS: usize = 5;
const HEAD: [&str; 8] =
    ["HOST", "STATE", "CONNECTED", "LAST HEALTHY", "RTT", "ENDPOINT", "RECEIVED", "SENT"];

/// All hosts; what is wrong with one stands below the table.
pub fn all(rows: &[Value]) -> Page {
    if rows.is_empty() {
        return "no hosts yet; hop setup <name> -a <address> makes one".into();
    }
    let mut page = table(rows);
    for row in rows {
        if let Some(why) = trouble(row) {
            page.add(format!("{}: {why}", word(&row["host"])));
        }
    }
    page
}

/// One host.
pub fn one(data: &Value, verbose: bool) -> Page {
    let host = word(&data["host"]);
    let mut page = table(std::slice::from_ref(data));
    if data["source"] == "last known" {
        page.add("  (no session answers: this is the last that is known)");
    }
    if let Some(why) = trouble(data) {
        page.add(format!("{host}: {why}"));
    }
    let row = |what: &str, value: String| format!("  {what:15} {value}");
    if data["source"] == "session" && data["layers"].is_array() {
        page.add(row("name", format!("{} → {}", word(&data["name"]), word(&data["peer_ip"]))));
        page.add(row("agent", word(&data["agent_version"])));
        page.add(row("up for", data["up_s"].as_u64().map_or("-".to_owned(), span)));
        page.add("layers:");
    }
    for layer in list(&data["layers"]) {
        let well = layer["ok"] == true;
        let line = Line::from("  ").mark(well, if well { "ok" } else { "no" });
        let text = format!("  {:10} {}", word(&layer["layer"]), word(&layer["detail"]));
        page.add(line.and(text));
    }
    for guard in list(&data["guards"]["missing"]) {
        page.add(format!("  missing: {} ({})", word(&guard["what"]), word(&guard["why"])));
    }
    for left in list(&data["guards"]["left_alone"]) {
        page.add(format!("  helper: {}", word(left)));
    }
    let drops = data["drops"].as_object().into_iter().flatten();
    for (reason, count) in drops.filter(|(_, count)| verbose || count.as_u64() != Some(0)) {
        page.add(row("dropped", format!("{} ({reason})", word(count))));
    }
    let events = list(&data["events"]);
    let newest = if verbose { events.len() } else { EVENTS };
    for event in events.iter().skip(events.len().saturating_sub(newest)) {
        page.add(row(&word(&event["at"]), word(&event["what"])));
    }
    page
}

/// Why a host is not well; `None` when it is, or when it is down on purpose.
fn trouble(data: &Value) -> Option<String> {
    if let Some(detail) = data["detail"].as_str() {
        return Some(format!("{detail}; hop doctor {} says more", word(&data["host"])));
    }
    let broken = data["broken"].as_str()?;
    let layers = list(&data["layers"]);
    let layer = layers.iter().find(|layer| layer["layer"] == broken)?;
    let host = word(&data["host"]);
    Some(format!("{broken} is broken: {}; hop doctor {host} says more", word(&layer["detail"])))
}

fn table(rows: &[Value]) -> Page {
    let cells: Vec<[String; 8]> = rows.iter().map(cells).collect();
    let width = |column: usize| {
        let all = cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        all.max().unwrap_or(0).max(HEAD.get(column).map_or(0, |head| head.len()))
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |row: &[String], state: Option<bool>| {
        let mut line = Line::default();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let last = column + 1 == HEAD.len();
            let padded = if last { cell.clone() } else { format!("{cell:width$}  ") };
            line = match state {
                Some(well) if column == 1 => line.mark(well, padded),
                _ => line.and(padded),
            };
        }
        line
    };
    let mut page = Page::default();
    page.add(line(&HEAD.map(str::to_owned), None));
    for row in &cells {
        let well = matches!(row.get(1).map(String::as_str), Some("up"));
        page.add(line(row, Some(well)));
    }
    page
}

fn cells(data: &Value) -> [String; 8] {
    let bytes = |key: &str| data[key].as_u64().map_or("-".to_owned(), bytes);
    let endpoint = match (data["endpoint"].as_str(), data["endpoint_name"].as_str()) {
        (Some(at), Some(name)) if at != name => format!("{at} ({name})"),
        (Some(at), _) => at.to_owned(),
        (None, name) => name.unwrap_or("-").to_owned(),
    };
    [
        cell(&word(&data["host"])).into_owned(),
        cell(&word(&data["state"])).into_owned(),
        if data["connected"] == true { "yes".to_owned() } else { "no".to_owned() },
        data["last_healthy_unix"].as_u64().map_or("-".to_owned(), ago),
        data["rtt_ms"].as_f64().map_or("-".to_owned(), |ms| format!("{ms:.1} ms")),
        shown(&endpoint).into_owned(),
        bytes("rx_bytes"),
        bytes("tx_bytes"),
    ]
}

fn ago(at_s: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    match now.saturating_sub(at_s) {
        0 => "now".to_owned(),
        age => format!("{} ago", span(age)),
    }
}

/// A time in its largest unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7_199 => format!("{} min", seconds / 60),
        7_200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, next);
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_short() {
        let spans = [0, 119, 120, 7_200, 172_800].map(span);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
        assert_eq!([0, 1023, 1024, 5 << 20].map(bytes), ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]);
    }
}
