//! What nginx is given to read, and what it says that it has read: the one file of all sites, made
//! from typed values, and whose names the rest of the configuration has. Pure. Must not know: the
//! disk, programs, users.

use crate::server::nginx::site::Site;
use std::net::IpAddr;

/// Never the name of a request: whatever is for nobody's name is none of a user's either, though
/// the first server of a port has that where no other one is marked for it.
const NOBODY: &str = "hopbox.invalid";
/// Precedes each file in what `nginx -T` prints.
const FILE: &str = "# configuration file ";

/// The file. No byte of it was written by a caller.
pub fn render(sites: &[Site], ipv6: bool) -> String {
    let mut text = "# Made by hop-helper-server(8), which writes it anew.\n".to_owned();
    if sites.is_empty() {
        return text;
    }
    let listen = if ipv6 { " listen 80;\n listen [::]:80;\n" } else { " listen 80;\n" };
    text += "map $http_upgrade $hopbox_connection { default upgrade; '' close; }\n";
    text += &format!("server {{\n{listen} server_name {NOBODY};\n return 404;\n}}\n");
    for site in sites {
        text += &format!(
            "# {}\nserver {{\n{listen} server_name {};\n client_max_body_size 0;\n location / {{\n  \
             proxy_pass http://127.0.0.1:{};\n{PASSED} }}\n}}\n",
            site.key.text(),
            site.domains.join(" "),
            site.port,
        );
    }
    text
}

/// As whoever is behind a proxy expects; connections that are quiet for long are WebSockets.
const PASSED: &str = "  proxy_http_version 1.1;
  proxy_request_buffering off;
  proxy_read_timeout 1h;
  proxy_send_timeout 1h;
  proxy_set_header Host $host;
  proxy_set_header X-Real-IP $remote_addr;
  proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header Upgrade $http_upgrade;
  proxy_set_header Connection $hopbox_connection;
";

/// The configuration as `nginx -T` prints it: each file with its text.
pub fn files(dump: &str) -> Vec<(&str, String)> {
    let mut files: Vec<(&str, String)> = Vec::new();
    for line in dump.lines() {
        let file = line.strip_prefix(FILE).and_then(|rest| rest.strip_suffix(':'));
        match (file, files.last_mut()) {
            (Some(file), _) => files.push((file, String::new())),
            (None, Some((_, text))) => {
                *text += uncommented(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    files
}

fn uncommented(line: &str) -> &str {
    let bytes = line.as_bytes();
    let begins = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        before.is_none_or(|b| b.is_ascii_whitespace() || b";{}".contains(b))
    };
    let at = line.match_indices('#').map(|(at, _)| at).find(|at| begins(*at));
    at.and_then(|at| line.get(..at)).unwrap_or(line)
}

/// Whose name it is in another file than ours: the name as it is written there, and the file.
pub fn foreign<'a>(
    files: &'a [(&'a str, String)],
    own: &str,
    domain: &str,
) -> Option<(&'a str, &'a str)> {
    let others = files.iter().filter(|(file, _)| *file != own);
    let mut names = others.flat_map(|(file, text)| names(text).map(move |name| (name, *file)));
    names.find(|(name, _)| is_served(name, domain))
}

/// Whether a request for a site gets to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effective {
    Served,
    /// This is of others, and answers in its place, at one address at least.
    Shadowed(String),
    /// Who listens there is not said by the configuration alone.
    Unknown(String),
}

/// For these names, of which ours listens at every address: a server that listens at one of them
/// alone has all that comes there, whatever its name is, and of two servers with a name nginx
/// ignores one.
pub fn effective(files: &[(&str, String)], own: &str, domains: &[String]) -> Effective {
    if let Some((name, file)) = domains.iter().find_map(|name| foreign(files, own, name)) {
        return Effective::Shadowed(format!("server_name {name} in {file}"));
    }
    let mut unknown = None;
    for (file, text) in files.iter().filter(|(file, _)| *file != own) {
        for at in values(text, "listen").filter_map(|list| list.split_whitespace().next()) {
            let told = || format!("listen {at} in {file}");
            match taken(at.trim_matches(['"', '\''])) {
                Some(true) => return Effective::Shadowed(told()),
                None => unknown = unknown.or_else(|| Some(told())),
                Some(false) => {}
            }
        }
    }
    unknown.map_or(Effective::Served, Effective::Unknown)
}

/// Whether this is port 80 at one address that others can reach; `None` where it is a name.
fn taken(at: &str) -> Option<bool> {
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if at.starts_with("unix:") || is_number(at) {
        return Some(false);
    }
    let (host, port) = match at.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (at, "80"),
    };
    let (first, last) = port.split_once('-').unwrap_or((port, port));
    match (first.parse::<u16>(), last.parse::<u16>()) {
        (Ok(first), Ok(last)) if (first..=last).contains(&80) => {}
        _ => return Some(false),
    }
    if matches!(host, "*" | "localhost") {
        return Some(false);
    }
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(!address.is_unspecified() && !address.is_loopback())
}

fn names(text: &str) -> impl Iterator<Item = &str> {
    let lists = values(text, "server_name");
    lists.flat_map(|list| list.split_whitespace().map(|name| name.trim_matches(['"', '\''])))
}

/// What stands behind every such word, wherever that stands: blocks of other languages are skipped
/// over.
fn values<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = &'a str> {
    let bytes = text.as_bytes();
    let starts = text.match_indices(word).filter(move |(at, _)| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        let after = bytes.get(at + word.len());
        before.is_none_or(|b| b.is_ascii_whitespace() || b";{}".contains(b))
            && after.is_some_and(|b| b.is_ascii_whitespace() || b"\"'".contains(b))
    });
    let rests = starts.filter_map(move |(at, _)| text.get(at + word.len()..));
    // A pattern may have a semicolon in quotes: what is behind that is no name of anybody's.
    rests.filter_map(|rest| rest.split(';').next())
}

/// Whether that name, as nginx takes it, is or covers this domain. Patterns of regular expressions
/// may cover any.
fn is_served(name: &str, domain: &str) -> bool {
    let name = name.to_ascii_lowercase();
    if name.starts_with('~') {
        return true;
    }
    if let Some(below) = name.strip_prefix('*') {
        return domain.ends_with(below);
    }
    if let Some(above) = name.strip_suffix(".*") {
        return domain.strip_prefix(above).is_some_and(|rest| rest.starts_with('.'));
    }
    match name.strip_prefix('.') {
        Some(base) => domain == base || domain.ends_with(&name),
        None => name == domain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::nginx::site::Key;

    const OWN: &str = "/etc/hopbox/nginx/sites.conf";

    #[test]
    fn a_name_of_others_is_found_as_nginx_takes_it() {
        let dump = "nginx: noise\n# configuration file /etc/nginx/nginx.conf:\nhttp {\n\
            # server_name commented.example;\n\
            server { server_name a.example\n  'b.example' \"c.example\" ; } # server_name no.example;\n\
            content_by_lua_block { it's = {'}'} }\n\
            server {server_name .d.example *.e.example f.example.*;} my_server_name x.example;\n\
            # configuration file /etc/hopbox/nginx/sites.conf:\nserver_name own.example;\n\
            # configuration file /etc/nginx/sites-enabled/z:\nserver_name\tlast.example;\n\
            server_name _ \"\" $hostname;\n";
        let files = files(dump);
        let names: Vec<&str> = files.iter().map(|(file, _)| *file).collect();
        assert_eq!(names, ["/etc/nginx/nginx.conf", OWN, "/etc/nginx/sites-enabled/z"]);
        let of = |domain| foreign(&files, OWN, domain).map(|(name, _)| name);
        for (domain, name) in [
            ("a.example", "a.example"),
            ("b.example", "b.example"),
            ("c.example", "c.example"),
            ("d.example", ".d.example"),
            ("x.d.example", ".d.example"),
            ("x.e.example", "*.e.example"),
            ("f.example.org", "f.example.*"),
        ] {
            assert_eq!(of(domain), Some(name), "{domain}");
        }
        assert_eq!(
            foreign(&files, OWN, "last.example"),
            Some(("last.example", "/etc/nginx/sites-enabled/z"))
        );
        for free in [
            "commented.example",
            "no.example",
            "own.example",
            "x.example",
            "e.example",
            "xd.example",
            "f.examples.org",
            "f.example",
            "_.example",
        ] {
            assert_eq!(of(free), None, "{free}");
        }
        let regex = [("/f", "server_name ~^(www|shop)\\.;\n".to_owned())];
        assert!(foreign(&regex, OWN, "any.example").is_some(), "nobody can tell");
    }

    #[test]
    fn who_listens_at_one_address_has_all_that_comes_there() {
        let told = |text: &str| {
            let files = [(OWN, "listen 192.0.2.9:80;".to_owned()), ("/f", text.to_owned())];
            effective(&files, OWN, &["a.example".to_owned()])
        };
        for free in [
            "listen 80; listen [::]:80 default_server; listen *:80; listen 0.0.0.0:80;",
            "listen 127.0.0.1:80; listen [::1]:80; listen localhost:80; listen unix:/run/x;",
            "listen 192.0.2.1:8080; listen 192.0.2.1:443 ssl; listen [2001:db8::1]:81; listen 443;",
            "proxy_pass 192.0.2.1:80; my_listen 192.0.2.1; listen\t8080;",
        ] {
            assert_eq!(told(free), Effective::Served, "{free}");
        }
        for taken in
            ["192.0.2.1:80", "192.0.2.1", "[2001:db8::1]:80", "[2001:db8::1]", "192.0.2.1:79-81"]
        {
            let shadowed = Effective::Shadowed(format!("listen {taken} in /f"));
            let with_more = told(&format!("listen 80; server {{listen {taken} default_server;}}"));
            assert_eq!(with_more, shadowed, "{taken}");
        }
        let name = Effective::Unknown("listen web.example:80 in /f".to_owned());
        assert_eq!(told("listen web.example:80;"), name);
        assert!(matches!(told("listen web.example; listen 192.0.2.1:80;"), Effective::Shadowed(_)));
        let same = Effective::Shadowed("server_name a.example in /f".to_owned());
        assert_eq!(told("listen 80; server_name a.example;"), same);
    }

    #[test]
    fn a_site_says_only_what_was_typed() {
        assert!(!render(&[], true).contains("server {"));
        let key = Key { app: "hopbox-a".into(), service: "web".into() };
        let site = Site { key, domains: vec!["a.example".into(), "b.example".into()], port: 8080 };
        let text = render(&[site.clone(), site], false);
        for (line, count) in [
            ("server_name a.example b.example;", 2),
            ("proxy_pass http://127.0.0.1:8080;", 2),
            ("# hopbox-a/web\n", 2),
            ("listen 80;", 3),
            ("[::]", 0),
            ("map ", 1),
        ] {
            assert_eq!(text.matches(line).count(), count, "{line}: {text}");
        }
        let own = [(OWN, text)];
        assert_eq!(foreign(&own, "", NOBODY), Some((NOBODY, OWN)));
        let none = own.iter().map(|(_, text)| text.matches('{').count()).sum::<usize>();
        assert_eq!(none, own[0].1.matches('}').count());
    }
}
