//! Published ports, in their short and long forms. Here they are on the tunnel's address alone,
//! whatever address the file names.

use std::ops::RangeInclusive;

use super::from::{From, all, word};
use crate::base::yaml::{Node, Value};
use crate::workspace::check::{self, API_PORT};
use crate::workspace::import::note::below;

/// As many as a service may have.
const PORTS: usize = 64;

/// As a manifest has them.
pub fn ports(ctx: &mut From, layers: &[&Node], path: &str) -> Vec<String> {
    let path = below(path, "ports");
    let mut found: Vec<(u16, u16)> = Vec::new();
    for node in all(layers, "ports") {
        let Value::List(list) = &node.value else {
            ctx.note(node, &path, "left out: it should be a list");
            continue;
        };
        for item in list {
            let pairs = match &item.value {
                Value::Map(_) => long(ctx, item, &path),
                _ => short(ctx, item, &path),
            };
            for (published, target) in pairs {
                take(ctx, &mut found, published, target, item, &path);
            }
        }
    }
    let text = |(published, target): (u16, u16)| match published == target {
        true => published.to_string(),
        false => format!("{published}:{target}"),
    };
    found.into_iter().map(text).collect()
}

fn take(
    ctx: &mut From,
    found: &mut Vec<(u16, u16)>,
    published: u16,
    target: u16,
    item: &Node,
    path: &str,
) {
    if found.contains(&(published, target)) {
        return;
    }
    if published == API_PORT {
        ctx.note(item, path, format!("left out: {API_PORT} is the port of hopbox's agent"));
    } else if found.len() >= PORTS {
        ctx.note(item, path, format!("left out: more than {PORTS} ports"));
    } else if !ctx.published.insert(published) {
        ctx.note(item, path, format!("left out: port {published} is published already"));
    } else {
        if published != target {
            let what = format!("other services reach {target} at {published}, as the laptop does");
            ctx.note(item, path, what);
        }
        found.push((published, target));
    }
}

/// `80`, `8080:80`, `127.0.0.1:8080:80/tcp`, `8000-8003:9000-9003`
fn short(ctx: &mut From, item: &Node, path: &str) -> Vec<(u16, u16)> {
    let Some(text) = ctx.value(item, path) else { return Vec::new() };
    let (text, protocol) = text.rsplit_once('/').unwrap_or((&text, "tcp"));
    if protocol != "tcp" {
        ctx.note(item, path, format!("left out: {protocol:.8} is not published, TCP is"));
        return Vec::new();
    }
    let (rest, target) = text.rsplit_once(':').unwrap_or(("", text));
    let (host, published) = match rest.rsplit_once(':') {
        Some((host, published)) => (host, published),
        None => ("", rest),
    };
    if !host.is_empty() {
        ctx.note(item, path, format!("is on the tunnel's address, not on {host:.40}"));
    }
    let published = match published {
        "" => {
            ctx.note(item, path, format!("is port {target:.11}, and not one that docker chooses"));
            target
        }
        published => published,
    };
    pairs(ctx, item, path, published, target)
}

fn long(ctx: &mut From, item: &Node, path: &str) -> Vec<(u16, u16)> {
    let Value::Map(entries) = &item.value else { return Vec::new() };
    let known = ["target", "published", "protocol", "mode", "name"];
    for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
        ctx.note(&entry.node, &below(path, &entry.key), "not carried over");
    }
    let get = |key: &str| item.get(key).ok().flatten();
    if get("protocol").and_then(word).is_some_and(|protocol| protocol != "tcp") {
        ctx.note(item, path, "left out: only TCP is published");
        return Vec::new();
    }
    let target = get("target").and_then(|node| ctx.value(node, path));
    let published = match get("published") {
        None => target.clone(),
        Some(node) => ctx.value(node, path),
    };
    match (published, target) {
        (Some(published), Some(target)) => pairs(ctx, item, path, &published, &target),
        _ => {
            ctx.note(item, path, "left out: it names no port");
            Vec::new()
        }
    }
}

fn pairs(
    ctx: &mut From,
    item: &Node,
    path: &str,
    published: &str,
    target: &str,
) -> Vec<(u16, u16)> {
    let ranges = range(published).zip(range(target));
    let Some((published, target)) = ranges else {
        ctx.note(item, path, "left out: it is no port");
        return Vec::new();
    };
    if target.len() == 1 && published.len() > 1 {
        // One of them is chosen by docker.
        let first = *published.start();
        ctx.note(item, path, format!("is published on {first}, the first of its range"));
        return vec![(first, *target.start())];
    }
    if published.len() != target.len() || published.len() > PORTS {
        ctx.note(item, path, "left out: the ranges are not alike, or too long");
        return Vec::new();
    }
    published.zip(target).collect()
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (check::port_number(first).ok()?, check::port_number(last).ok()?);
    (first <= last).then_some(first..=last)
}
