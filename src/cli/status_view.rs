//! A status as text: one line for each of several hosts; for one host what it is, where it is and
//! what came through, each once. What every layer says and what happened is for `-v`, and what
//! happened last also for a host that is not well.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::grid::Grid;
use super::page::{Colour, Line, Page, VALUES};
use crate::base::time_text::{local, span};
use crate::session::path_mtu::PathMtu;
use crate::session::transport::{Told, TooLong};
use crate::text::{cell, shown};

/// Events of a host that is not well.
const EVENTS: usize = 3;

/// All hosts; what is wrong with one stands below the table.
pub fn all(rows: &[Value], room: Option<usize>) -> Page {
    if rows.is_empty() {
        return "no hosts yet; hop setup <name> -a <address> makes one".into();
    }
    let mut grid = Grid::new(["HOST", "STATE", "SEEN", "RTT", "ENDPOINT", "RECEIVED", "SENT"]);
    for row in rows {
        let plain = |text: String| (Colour::None, text);
        grid.coloured([
            plain(cell(&word(&row["host"])).into_owned()),
            (colour(row), cell(&word(&row["state"])).into_owned()),
            plain(row["last_healthy_unix"].as_u64().map_or("-".to_owned(), ago)),
            plain(round_trip(row).unwrap_or_else(|| "-".to_owned())),
            plain(shown(&endpoint(row)).into_owned()),
            plain(row["rx_bytes"].as_u64().map_or("-".to_owned(), bytes)),
            plain(row["tx_bytes"].as_u64().map_or("-".to_owned(), bytes)),
        ]);
    }
    let mut page = grid.page(room);
    for row in rows {
        if let Some(why) = trouble(row) {
            let host = word(&row["host"]);
            page.add(format!("{host}: {why}; hop doctor {host} says more"));
        }
    }
    page
}

/// One host.
pub fn one(data: &Value, verbose: bool) -> Page {
    let mut page = Page::default();
    page.add(headline(data));
    facts(&mut page, data, verbose);
    guards(&mut page, data);
    drops(&mut page, data, verbose);
    if verbose {
        layers(&mut page, data);
    }
    events(&mut page, data, verbose);
    if trouble(data).is_some() {
        page.add(format!("hop doctor {} says more", word(&data["host"])));
    }
    page
}

/// What it is.
fn headline(data: &Value) -> Line {
    let host = word(&data["host"]);
    let line = Line::from(format!("{host} is ")).in_colour(colour(data), word(&data["state"]));
    match (trouble(data), data["state"] == "down") {
        (Some(why), _) => line.and(format!(": {why}")),
        (None, true) => line.and(format!("; hop up {host} brings it up")),
        (None, false) => {
            line.and(format!(": {} is {}", word(&data["name"]), word(&data["peer_ip"])))
        }
    }
}

/// Where it is, and what came through.
fn facts(page: &mut Page, data: &Value, verbose: bool) {
    let mut row = |name: &str, value: String| page.add(Line::row(name, VALUES, value));
    let away = round_trip(data).map(|time| format!(", {time} away")).unwrap_or_default();
    let named = match (data["endpoint"].as_str(), data["endpoint_name"].as_str()) {
        (Some(at), Some(name)) if at != name => format!(" ({name})"),
        _ => String::new(),
    };
    row("server", format!("{}{named}{away}", endpoint(data)));
    if let Some(told) = Told::from_json(data["transport"].clone()) {
        row("transport", told.in_words(&endpoint(data)));
        if let Some(TooLong { lost, marked }) = told.too_long.filter(|_| verbose) {
            row("too long", format!("{lost} packets waited and were lost, {marked} were marked"));
        }
    }
    let path = PathMtu::from_json(data["path_mtu"].clone());
    if let Some(path) = path.filter(|path| verbose || path.is_limited()) {
        row("packets", path.in_words());
    }
    if let Some(backend) = data["provider"]["backend"].as_str() {
        row("behind", format!("{backend}, firewall {}", data["provider"]["firewall"]));
    }
    let seen = data["last_healthy_unix"].as_u64();
    if data["source"] != "session" {
        if let Some(at) = seen {
            row("last known", format!("healthy {}, at {}", ago(at), local(at)));
        }
        return;
    }
    let seen = seen.map_or(String::new(), |at| format!(", answered {}", ago(at)));
    row("agent", format!("{}{seen}", word(&data["agent_version"])));
    if data["tunnel_mode"] == "userspace" {
        row("there", "in userspace: your own listeners' TCP ports, and ping".to_owned());
    }
    let count = |key: &str| data[key].as_u64().map_or("-".to_owned(), bytes);
    let since = data["up_s"].as_u64().map(|up| format!(" in {}", span(up))).unwrap_or_default();
    row("traffic", format!("{} received, {} sent{since}", count("rx_bytes"), count("tx_bytes")));
}

/// What the helper works without, and what it left as it was.
fn guards(page: &mut Page, data: &Value) {
    for guard in list(&data["guards"]["missing"]) {
        let what = format!("{} ({})", word(&guard["what"]), word(&guard["why"]));
        page.add(Line::row("missing", VALUES, what));
    }
    for left in list(&data["guards"]["left_alone"]) {
        page.add(Line::row("helper", VALUES, word(left)));
    }
}

fn drops(page: &mut Page, data: &Value, verbose: bool) {
    let drops = data["drops"].as_object().into_iter().flatten();
    let drops: Vec<(&String, u64)> = drops
        .filter_map(|(reason, count)| Some((reason, count.as_u64().filter(|count| *count > 0)?)))
        .collect();
    if verbose {
        for (reason, count) in drops {
            page.add(Line::row("dropped", VALUES, format!("{count} ({reason})")));
        }
    } else if !drops.is_empty() {
        let count = drops.iter().map(|(_, count)| *count).fold(0, u64::saturating_add);
        page.add(Line::row("dropped", VALUES, format!("{count} packets; -v says why")));
    }
}

fn layers(page: &mut Page, data: &Value) {
    for layer in list(&data["layers"]) {
        let well = layer["ok"] == true;
        let line = Line::from("  ").mark(well, if well { "ok" } else { "no" });
        page.add(line.and(format!("  {:10} {}", word(&layer["layer"]), word(&layer["detail"]))));
    }
}

fn events(page: &mut Page, data: &Value, verbose: bool) {
    let events = list(&data["events"]);
    let newest = match (verbose, trouble(data)) {
        (true, _) => events.len(),
        (false, Some(_)) => EVENTS,
        (false, None) => 0,
    };
    for event in events.iter().skip(events.len().saturating_sub(newest)) {
        let at = event["at_unix"].as_u64().map_or_else(|| word(&event["at"]), local);
        page.add(format!("  {at}  {}", word(&event["what"])));
    }
}

/// Why a host is not well; `None` when it is, or when it is down on purpose.
fn trouble(data: &Value) -> Option<String> {
    if let Some(detail) = data["detail"].as_str() {
        return Some(detail.to_owned());
    }
    let broken = data["broken"].as_str()?;
    let layer = list(&data["layers"]).iter().find(|layer| layer["layer"] == broken)?;
    Some(format!("{broken}: {}", word(&layer["detail"])))
}

/// That a host was taken down is neither good nor bad.
fn colour(data: &Value) -> Colour {
    match data["state"].as_str() {
        Some("up") => Colour::Green,
        Some("down") => Colour::None,
        _ => Colour::Red,
    }
}

/// The address that answers, else the one that is to.
fn endpoint(data: &Value) -> String {
    let known = data["endpoint"].as_str().or(data["endpoint_name"].as_str());
    known.unwrap_or("-").to_owned()
}

fn round_trip(data: &Value) -> Option<String> {
    data["rtt_ms"].as_f64().map(|ms| format!("{ms:.1} ms"))
}

fn ago(at_s: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    match now.saturating_sub(at_s) {
        0 => "now".to_owned(),
        age => format!("{} ago", span(age)),
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
    use serde_json::json;

    #[test]
    fn sizes_are_short() {
        assert_eq!([0, 1023, 1024, 5 << 20].map(bytes), ["0 B", "1023 B", "1.0 KiB", "5.0 MiB"]);
    }

    /// An ordinary host, up; and one whose agent is gone.
    fn host(broken: bool) -> Value {
        let layer =
            |name: &str, ok: bool, detail: &str| json!({"layer": name, "ok": ok, "detail": detail});
        let silent = "no answer from 10.10.0.2:4200 in 3 s";
        json!({
            "host": "mybox", "state": if broken { "degraded" } else { "up" }, "source": "session",
            "name": "mybox.hop", "peer_ip": "10.10.0.2", "endpoint": "198.51.100.107:51820",
            "endpoint_name": "vps.example.org:51820", "agent_version": "0.1.0", "up_s": 200,
            "connected": !broken, "last_healthy_unix": u64::MAX, "rtt_ms": 14.23,
            "transport": {"choice": "auto", "rung": "ssh", "why": "udp_silent",
                          "too_long": {"lost": 3, "marked": 40}},
            "path_mtu": {"mtu": 1232, "interface": 1420, "answered": true, "sought": false,
                "outer": 1292},
            "rx_bytes": 734_003_200, "tx_bytes": 5_242_880, "drops": {"replayed": 2, "late": 0},
            "broken": if broken { json!("agent") } else { Value::Null },
            "layers": [layer("helper", true, "helper 0.1.0"), layer("agent", !broken, silent)],
            "events": [{"at": "x", "at_unix": 0, "what": "up"}],
        })
    }

    #[test]
    fn each_fact_of_a_host_is_told_once_and_in_80_columns() {
        let said = one(&host(false), false).render(false, None);
        let expected = "mybox is up: mybox.hop is 10.10.0.2\n\
            \x20 server      198.51.100.107:51820 (vps.example.org:51820), 14.2 ms away\n\
            \x20 transport   SSH: UDP to 198.51.100.107:51820 gets no answer here\n\
            \x20 packets     1232 of 1420 bytes: the way takes 1292 outside\n\
            \x20 agent       0.1.0, answered now\n\
            \x20 traffic     700.0 MiB received, 5.0 MiB sent in 3 min\n\
            \x20 dropped     2 packets; -v says why\n";
        assert_eq!(said, expected);
        let said = one(&host(true), false).render(false, None);
        let head = "mybox is degraded: agent: no answer from 10.10.0.2:4200 in 3 s\n";
        assert!(
            said.starts_with(head) && said.ends_with("\nhop doctor mybox says more\n"),
            "{said}"
        );
        assert!(said.lines().all(|line| line.len() <= 80), "{said}");
        let verbose = one(&host(false), true).render(false, None);
        let too_long = "  too long    3 packets waited and were lost, 40 were marked\n";
        assert!(verbose.contains(too_long), "{verbose}");
        assert!(verbose.contains("  ok  agent      no answer") && verbose.contains("  up\n"));
        assert!(verbose.contains("2 (replayed)") && !verbose.contains("(late)"), "{verbose}");
        for fact in ["mybox.hop", "10.10.0.2\n", "51820 (", "14.2 ms", "answered now"] {
            assert_eq!(verbose.matches(fact).count(), 1, "{fact}: {verbose}");
        }
    }

    #[test]
    fn a_table_of_ordinary_hosts_fits() {
        let rows = [host(false), host(true)];
        for room in [60, 80, 100] {
            let said = all(&rows, Some(room)).render(false, Some(room));
            assert!(said.lines().all(|line| line.len() <= room), "{room}: {said}");
            assert!(said.starts_with("HOST   STATE     SEEN"), "{said}");
        }
        assert!(all(&rows, Some(80)).render(false, Some(80)).contains("SENT"));
    }
}
