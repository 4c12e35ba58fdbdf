//! What somebody may ask nginx for, typed: names, and a port of this machine that answers for them.
//! Whatever comes in, from a request, from the disk or from the daemon, comes through `Site::read`.
//! Pure. Must not know: who asks, how nginx is told.

use crate::proto::{Args, OpError, required};
use crate::server::firewall::rule;
use serde_json::{Value, json};

/// Most names of one site, and the length of one, which is that of DNS.
const DOMAINS_MAX: usize = 8;
const DOMAIN_MAX: usize = 253;
const LABEL_MAX: usize = 63;
pub const ARGUMENTS: &[&str] = &["app_name", "service", "domains", "port"];
/// What a site is known by, beside its user.
pub const KEY: &[&str] = &["app_name", "service"];

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub app: String,
    pub service: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub key: Key,
    /// Lower case, without a dot at the end.
    pub domains: Vec<String>,
    /// On 127.0.0.1.
    pub port: u16,
}

impl Key {
    pub fn read(a: &Args) -> Result<Key, OpError> {
        let app = rule::app(a)?;
        let service = required("service", a.text("service")?)?;
        let edge = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let plain = service.bytes().all(|b| edge(&b) || b == b'-' || b == b'_');
        let ends = [service.as_bytes().first(), service.as_bytes().last()];
        if service.len() > LABEL_MAX || !plain || !ends.into_iter().flatten().all(edge) {
            let why = "service is up to 63 of a-z, 0-9, - and _, with neither of the last two \
                       at an end";
            return Err(OpError::field("service", why));
        }
        Ok(Key { app, service })
    }

    pub fn text(&self) -> String {
        format!("{}/{}", self.app, self.service)
    }
}

impl Site {
    pub fn read(a: &Args) -> Result<Site, OpError> {
        let wrong = |why: String| Err(OpError::field("domains", why));
        let listed = required("domains", a.0.get("domains"))?.as_array();
        let domains: Option<Vec<String>> =
            listed.and_then(|all| all.iter().map(|one| one.as_str().map(str::to_owned)).collect());
        let domains = match domains {
            Some(all) if (1..=DOMAINS_MAX).contains(&all.len()) => all,
            _ => return wrong(format!("domains is a list of 1 to {DOMAINS_MAX} names")),
        };
        if !domains.iter().all(|domain| is_domain(domain)) {
            let form = "each of domains is as app.example.org: lower case, a dot or more, no *";
            return wrong(form.to_owned());
        }
        if (1..domains.len()).any(|at| domains.iter().take(at).any(|d| Some(d) == domains.get(at)))
        {
            return wrong("a name occurs twice in domains".to_owned());
        }
        let port = required("port", a.int("port", 1, 65_535)?)?;
        Ok(Site { key: Key::read(a)?, domains, port: port as u16 })
    }

    pub fn to_json(&self) -> Value {
        json!({
            "app_name": self.key.app, "service": self.key.service,
            "domains": self.domains, "port": self.port,
        })
    }

    /// For the audit log.
    pub fn text(&self) -> String {
        format!("{} from 127.0.0.1:{} ({})", self.domains.join(", "), self.port, self.key.text())
    }
}

/// A name of DNS with a dot in it, which is neither an address nor a pattern of nginx's.
fn is_domain(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let label = |label: &str| {
        (1..=LABEL_MAX).contains(&label.len())
            && label.bytes().all(plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= DOMAIN_MAX
        && text.contains('.')
        && text.split('.').all(label)
        && last.bytes().any(|b| b.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site() -> Value {
        json!({"app_name": "hopbox-a", "service": "web_1", "domains": ["app.example.org"],
               "port": 8080})
    }

    fn read(value: &Value) -> Result<Site, Option<String>> {
        Site::read(&Args(value.as_object().unwrap())).map_err(|e| e.field)
    }

    #[test]
    fn one_meaning_has_one_spelling() {
        let long = format!("{}.example", ["a".repeat(63), "b".repeat(63)].join("."));
        for domains in [json!(["app.example.org", "xn--bcher-kva.example"]), json!([long])] {
            let mut wanted = site();
            wanted["domains"] = domains;
            let read = Site::read(&Args(wanted.as_object().unwrap())).unwrap();
            assert_eq!(read.to_json(), wanted);
        }
    }

    /// C24: nothing that nginx reads otherwise than as a name.
    #[test]
    fn what_is_no_name_is_refused() {
        let long = format!("{}.example", "a".repeat(64));
        let longer = vec!["a".repeat(60); 5].join(".");
        for domain in [
            "",
            ".",
            "org",
            "app.example.org.",
            ".example.org",
            "*.example.org",
            "example.*",
            "~^app\\.example",
            "App.example.org",
            "app..org",
            "-app.example",
            "app-.example",
            "192.0.2.1",
            "1.2.3.0x4.5",
            "a b.example",
            "a;b.example",
            "a{.example",
            "a}.example",
            "$host.example",
            "a.example;",
            "a.example\n",
            "a.example #",
            "\"a.example\"",
            "a.example\\",
            "bücher.example",
            "_.example",
            "a/b.example",
            "a.example:80",
            "[::1]",
            &long,
            &longer,
        ] {
            let mut wanted = site();
            wanted["domains"] = json!([domain]);
            assert_eq!(read(&wanted), Err(Some("domains".to_owned())), "{domain}");
        }
        let many: Vec<String> = (0..9).map(|n| format!("a{n}.example")).collect();
        for (field, value) in [
            ("domains", json!([])),
            ("domains", json!("app.example.org")),
            ("domains", json!(["a.example", "a.example"])),
            ("domains", json!(many)),
            ("domains", json!([1])),
            ("port", json!(0)),
            ("port", json!(65_536)),
            ("port", json!("80")),
            ("service", json!("-a")),
            ("service", json!("a/b")),
            ("service", json!("a.b")),
            ("service", json!("Web")),
            ("app_name", json!("7")),
            ("app_name", json!("a b")),
        ] {
            let mut wanted = site();
            wanted[field] = value.clone();
            assert_eq!(read(&wanted), Err(Some(field.to_owned())), "{field} {value}");
        }
        for field in ARGUMENTS {
            let mut wanted = site();
            wanted.as_object_mut().unwrap().remove(*field);
            assert_eq!(read(&wanted), Err(Some((*field).to_owned())), "{field}");
        }
    }
}
