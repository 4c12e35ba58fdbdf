//! An HTTP proxy that programs here are told of by their environment: unless `no_proxy` says
//! otherwise they ask it for `mybox.hop` and for `localhost` too, where it finds nothing.
//!
//! The readers of `no_proxy` agree on little: on names after commas, and on domains with a dot
//! before them. `*`, `*.hop`, blanks, ports and networks are nothing to one or another (curl 7.88,
//! wget 1.21, requests 2.32, aiohttp 3.13, undici 7.16, axios 1.13), so they do not count here.

use crate::fix;
use crate::text::fix::Fix;

/// Who names a proxy. Of two that differ in case programs read now this one first, now that one.
const NAMED_BY: [&str; 6] =
    ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
/// The first is read by all, by wget alone; the second, where it is there, by Go's before it.
const EXCEPTIONS: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// The variable that sends programs here to a proxy for `name`, such as `mybox.hop`, or for
/// `localhost`; `None` where none does. Its value is told to nobody: it may hold a password.
pub fn in_the_way(
    name: &str,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<(&'static str, String)> {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty());
    let by = NAMED_BY.into_iter().find(|name| set(name).is_some())?;
    let [first, second] = EXCEPTIONS.map(set);
    let first = first.unwrap_or_default();
    let lists = [Some(first.as_str()), second.as_deref()];
    [name, "localhost"]
        .into_iter()
        .find(|wanted| lists.iter().flatten().any(|list| !is_excepted(wanted, list)))
        .map(|wanted| (by, wanted.to_owned()))
}

/// What the environment of this process says.
pub fn of_this_process(name: &str) -> Option<(&'static str, String)> {
    in_the_way(name, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into()))
}

/// Typed where programs are started; a line of a shell's profile, too.
pub fn exception() -> Fix {
    fix!(
        "export no_proxy=\".hop,localhost,127.0.0.1,::1,$no_proxy,$NO_PROXY\" && \
         export NO_PROXY=\"$no_proxy\""
    )
}

fn is_excepted(name: &str, list: &str) -> bool {
    list.split(',').map(|entry| entry.trim().to_ascii_lowercase()).any(|entry| {
        entry == name || entry.len() > 1 && entry.starts_with('.') && name.ends_with(&entry)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is in the way of `mybox.hop` where these are set.
    fn found(set: &[(&str, &str)]) -> Option<(&'static str, String)> {
        let value = |name: &str| set.iter().find(|(known, _)| *known == name);
        in_the_way("mybox.hop", |name| value(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_every_reader_takes_for_an_exception_is_one() {
        let proxy = ("http_proxy", "http://user:secret@proxy.example:3128");
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("http_proxy", ""), ("no_proxy", "")]), None);
        for list in [".hop,localhost", "localhost, .HOP", "a.example,mybox.hop,localhost,,"] {
            assert_eq!(found(&[proxy, ("no_proxy", list)]), None, "{list}");
            assert_eq!(found(&[proxy, ("no_proxy", list), ("NO_PROXY", list)]), None, "{list}");
        }
        let missed =
            ["", "*", "*.hop,localhost", "hop,localhost", "localhost .hop", ".", "10.0.0.0/8"];
        for list in missed.into_iter().chain([".hop:8000,localhost", "other.hop,localhost"]) {
            let found = found(&[proxy, ("no_proxy", list)]);
            assert_eq!(found, Some(("http_proxy", "mybox.hop".to_owned())), "{list}");
        }
        let found_for = |set: &[_]| found(set).map(|(_, name)| name);
        assert_eq!(found_for(&[proxy, ("no_proxy", ".hop")]).as_deref(), Some("localhost"));
    }

    #[test]
    fn both_spellings_count() {
        let upper = ("HTTPS_PROXY", "http://proxy.example:3128");
        let list = ".hop,localhost";
        // wget knows the lower case alone.
        assert_eq!(found(&[upper, ("NO_PROXY", list)]).unwrap().0, "HTTPS_PROXY");
        assert!(found(&[upper, ("no_proxy", list), ("NO_PROXY", ".corp.example")]).is_some());
        assert!(found(&[upper, ("no_proxy", list), ("NO_PROXY", "")]).is_none());
    }
}
