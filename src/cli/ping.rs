//! `hop ping`: round trips through a host's tunnel, loss, and the largest packet that passes.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::command::{Call, Command, Flag, Group, Takes};
use super::page::Page;
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::store;
use crate::session::ping::{self, Pinger};
use crate::session::through;

pub const COMMAND: Command = Command {
    name: "ping",
    summary: "measure round trip, loss and packet size to a host",
    usage: "hop ping [host] [-c COUNT]",
    details: "Sends echo requests through the tunnel, or asks the agent where this user may not\n\
              send any, and says least, mean and largest round trip and how many were lost. Then\n\
              measures the largest packet inside the tunnel that passes whole. Exits 3 when the\n\
              host is not up and 6 when nothing came back.",
    example: "hop ping mybox -c 20",
    group: Group::Trouble,
    flags: &[Flag {
        short: Some('c'),
        long: "count",
        value: Some("COUNT"),
        help: "how many, 1 to 10000 (5)",
    }],
    operands: (0, 1),
    takes: Takes::Host,
    hidden: false,
    run,
};

const COUNT: u16 = 5;
const MOST: u16 = 10_000;
const EVERY: Duration = Duration::from_millis(250);
const LIMIT: Duration = Duration::from_secs(1);
/// A packet that is too large is waited for this much longer than the others took.
const SIZE_WAIT: Duration = Duration::from_millis(300);

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let count = count(call)?;
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let host = store::load(&paths, &name)?;
    let Some(link) = through::link(&paths, &host) else {
        let next = fix!("hop up {}", name);
        return Err(Failure::new(Fault::No, "cannot ping", format!("{name} is not up"), next));
    };
    let mut pinger = Pinger::new(&host, link);
    let times = measure(call, &mut pinger, count);
    let Some(worst) = times.iter().max().copied() else {
        let what = format!("{name} does not answer through the tunnel");
        let why = format!("none of {count} came back");
        return Err(Failure::new(Fault::Unreachable, what, why, fix!("hop doctor {}", name)));
    };
    let mtu = match pinger {
        Pinger::Echo(_) => ping::path_mtu(&host, link, worst + SIZE_WAIT),
        Pinger::Agent(_) => None,
    };
    tell(call, &host, &times, count, (pinger.method(), mtu))
}

fn count(call: &Call) -> Result<u16, Failure> {
    let Some(given) = call.args.value("count") else { return Ok(COUNT) };
    let count = given.parse().ok().filter(|count| (1..=MOST).contains(count));
    count.ok_or_else(|| {
        let why = format!("-c takes a number from 1 to {MOST}, not {given:?}");
        Failure::usage("the command line is not valid", why, "hop ping --help")
    })
}

fn measure(call: &mut Call, pinger: &mut Pinger, count: u16) -> Vec<Duration> {
    let mut times = Vec::new();
    for seq in 1..=count {
        let began = Instant::now();
        let time = pinger.ping(seq, LIMIT);
        match time {
            Some(time) => call.out.say(&format!("{seq}: {}", millis(time))),
            None => call.out.say(&format!("{seq}: no reply in {} s", LIMIT.as_secs())),
        }
        times.extend(time);
        if seq < count {
            thread::sleep(EVERY.saturating_sub(began.elapsed()));
        }
    }
    times
}

fn tell(
    call: &mut Call,
    host: &HostConfig,
    times: &[Duration],
    count: u16,
    (method, mtu): (&'static str, Option<u16>),
) -> Result<Code, Failure> {
    let received = u16::try_from(times.len()).unwrap_or(count);
    let least = times.iter().min().copied().unwrap_or_default();
    let worst = times.iter().max().copied().unwrap_or_default();
    let mean = times.iter().sum::<Duration>() / u32::from(received.max(1));
    let loss = 100.0 * f64::from(count - received) / f64::from(count);
    let size = match (method, mtu) {
        ("icmp", Some(mtu)) if mtu >= host.mtu => format!("{mtu} bytes pass whole"),
        ("icmp", Some(mtu)) => format!("{mtu} bytes pass whole, {} do not", host.mtu),
        ("icmp", None) => "not even 576 bytes pass whole".to_owned(),
        _ => "not measured: this user may not send ICMP".to_owned(),
    };
    let of = if method == "icmp" { "" } else { " of the agent's answer" };
    let mut page = Page::default();
    page.add(format!("{}: {received} of {count} came back, {loss:.0} % lost", host.name));
    let (min, mean_text, max) = (millis(least), millis(mean), millis(worst));
    page.add(format!("round trip{of}: min {min}, mean {mean_text}, max {max}"));
    page.add(format!("packets: {size}"));
    let figure = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1000.0;
    let data = json!({
        "host": host.name, "peer_ip": host.peer_ip.to_string(), "method": method,
        "sent": count, "received": received, "loss_percent": loss,
        "min_ms": figure(least), "mean_ms": figure(mean), "max_ms": figure(worst),
        "tunnel_mtu": host.mtu, "path_mtu": mtu,
    });
    call.out.answer("ping", data, page)?;
    Ok(Code::Done)
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
