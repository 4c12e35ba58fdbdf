//! In which order services start: each after those that it depends on, otherwise by name. They
//! stop in the reverse of it.

use std::collections::{BTreeMap, BTreeSet};

use super::manifest::Service;

/// In waves: those of one can start at the same time. An error is the way of a circle, each of
/// which depends on the next. Names that are no services are passed over.
pub fn waves(all: &BTreeMap<String, Service>) -> Result<Vec<Vec<&str>>, Vec<String>> {
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut waves = Vec::new();
    while done.len() < all.len() {
        let ready = |(name, service): &(&String, &Service)| {
            !done.contains(name.as_str())
                && service
                    .depends_on
                    .keys()
                    .all(|on| done.contains(on.as_str()) || !all.contains_key(on))
        };
        let wave: Vec<&str> = all.iter().filter(ready).map(|(name, _)| name.as_str()).collect();
        if wave.is_empty() {
            return Err(circle(all, &done));
        }
        done.extend(&wave);
        waves.push(wave);
    }
    Ok(waves)
}

pub fn start(all: &BTreeMap<String, Service>) -> Result<Vec<&str>, Vec<String>> {
    waves(all).map(|waves| waves.concat())
}

/// Circles that have no service in common, each as in [`waves`].
pub fn circles(all: &BTreeMap<String, Service>) -> Vec<Vec<String>> {
    let mut rest = all.clone();
    let mut circles = Vec::new();
    // Each takes one out at least.
    while let Err(circle) = waves(&rest) {
        rest.retain(|name, _| !circle.contains(name));
        circles.push(circle);
    }
    circles
}

/// One circle among those that are not done, of which each waits for another that is not.
fn circle(all: &BTreeMap<String, Service>, done: &BTreeSet<&str>) -> Vec<String> {
    let mut way: Vec<&str> = Vec::new();
    let mut next = all.keys().map(String::as_str).find(|name| !done.contains(name));
    while let Some(name) = next {
        if let Some(from) = way.iter().position(|seen| *seen == name) {
            return way.iter().skip(from).map(|&name| name.to_owned()).collect();
        }
        way.push(name);
        let needs = all.get(name).into_iter().flat_map(|service| service.depends_on.keys());
        next = needs.map(String::as_str).find(|on| all.contains_key(*on) && !done.contains(on));
    }
    way.into_iter().map(str::to_owned).collect()
}
