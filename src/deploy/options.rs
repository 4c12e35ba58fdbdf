//! What the user asked for: the command line, completed from an earlier setup of the same host.

use std::fs;
use std::path::PathBuf;

use super::identity;
use crate::base::failure::Failure;
use crate::base::field::{self, check_name};
use crate::fix;
use crate::host::config::{Endpoint, HostConfig};
use crate::host::paths::Paths;
use crate::host::store;
use crate::ssh::known_hosts;
use crate::ssh::target::Target;
use crate::text::fix::Fix;

/// What the user asked for, completed from an earlier setup.
pub struct Options {
    pub name: String,
    pub target: Target,
    pub endpoint: Option<EndpointOverride>,
    /// A second UDP port to have the agent listen at; 0 for none any more.
    pub second_port: Option<u16>,
    pub dry: bool,
    /// Where the programs for the server are.
    pub agent_dir: Option<PathBuf>,
}

/// Where UDP is to go, if not where ssh goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointOverride {
    pub host: String,
    /// `None`: the one that the agent listens on.
    pub port: Option<u16>,
}

impl EndpointOverride {
    /// `HOST`, `HOST:PORT`, `2001:db8::1` or `[2001:db8::1]:PORT`.
    fn parse(text: &str) -> Result<EndpointOverride, String> {
        if let Ok(Endpoint { host, port }) = Endpoint::parse(text) {
            return Ok(EndpointOverride { host, port: Some(port) });
        }
        let alone = if text.contains(':') { format!("[{text}]:1") } else { format!("{text}:1") };
        match Endpoint::parse(&alone) {
            Ok(Endpoint { host, .. }) => Ok(EndpointOverride { host, port: None }),
            Err(_) => Err(format!("must be HOST or HOST:PORT, not {text:?}")),
        }
    }
}

impl std::fmt::Display for EndpointOverride {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.port {
            Some(port) => Endpoint { host: self.host.clone(), port }.fmt(out),
            None => self.host.fmt(out),
        }
    }
}

impl Options {
    /// `given`: what the command line says to a flag.
    pub fn read<'a>(
        paths: &Paths,
        name: &str,
        given: impl Fn(&str) -> Option<&'a str>,
    ) -> Result<Options, Failure> {
        let bad = |what: &str, why: String| Failure::usage(what, why, "hop setup --help");
        let name = name.to_owned();
        check_name(&name).map_err(|why| bad(&format!("no host can be named {name:?}"), why))?;
        let known = store::names(paths)?.contains(&name);
        let existing = known.then(|| store::load(paths, &name)).transpose()?;
        identity::check(paths, &name)?;
        // Asked again when it matters; a damaged file of another host is told now.
        store::numbers(paths, &name)?;
        let before = existing.as_ref();
        let at = given("address").map(|text| text.rsplit_once('@').unwrap_or(("", text)));
        let address = match at {
            Some((_, address)) => address.to_owned(),
            None => before.map(address_of).ok_or_else(|| {
                bad(&format!("where is {name}?"), "the first setup needs its address".to_owned())
            })?,
        };
        field::ssh_address(&address).map_err(|why| bad("-a is not valid", why))?;
        let user = given("user").or(at.map(|(user, _)| user).filter(|u| !u.is_empty()));
        let user = user.map(str::to_owned).or_else(|| before.and_then(|host| host.user.clone()));
        let user = user.map(|user| field::login(&user)).transpose();
        let port = given("port").map(str::parse::<u16>).transpose();
        let port = port.ok().filter(|port| *port != Some(0));
        let port =
            port.ok_or_else(|| bad("-p is not valid", "it must be 1 to 65535".to_owned()))?;
        let port = port.or_else(|| before.and_then(|host| host.ssh.as_ref()?.port));
        let identity = match given("key") {
            Some(file) => Some(key_file(file)?),
            None => before.and_then(|host| host.identity.as_ref()).map(PathBuf::from),
        };
        let pinned = known_hosts::pinned(&paths.known_hosts(), &name)?;
        let user = user.map_err(|why| bad("-u is not valid", why))?;
        let target = Target { address, user, identity, port, pinned };
        let endpoint = given("endpoint").map(EndpointOverride::parse).transpose();
        let endpoint = endpoint.map_err(|why| bad("--endpoint is not valid", why))?;
        let second_port = given("second-port").map(second_port).transpose();
        let second_port = second_port.map_err(|why| bad("--second-port is not valid", why))?;
        let agent_dir = given("agent-dir").map(PathBuf::from);
        let dry = given("dry-run").is_some();
        Ok(Options { name, target, endpoint, second_port, agent_dir, dry })
    }

    /// The same as a command line.
    pub fn command(&self) -> Fix {
        self.command_of(&self.name, self.target.user.as_deref())
    }

    /// The same for a host that is called so.
    pub fn command_as(&self, name: &str) -> Fix {
        self.command_of(name, self.target.user.as_deref())
    }

    /// The same for a login that needs no sudo.
    pub fn by_root(&self) -> Fix {
        self.command_of(&self.name, Some("root"))
    }

    fn command_of(&self, name: &str, user: Option<&str>) -> Fix {
        let Target { address, identity, port, .. } = &self.target;
        let identity = identity.as_ref().map(|file| file.display().to_string());
        let line = line(name, address, user, *port, identity.as_deref());
        let line = match &self.endpoint {
            Some(at) => fix!("{} --endpoint {}", line, at.to_string()),
            None => line,
        };
        match self.second_port {
            Some(0) => fix!("{} --second-port off", line),
            Some(port) => fix!("{} --second-port {}", line, port.to_string()),
            None => line,
        }
    }
}

/// What networks let out that let out little else; `off` is 0.
fn second_port(text: &str) -> Result<u16, String> {
    match text {
        "443" => Ok(443),
        "53" => Ok(53),
        "off" => Ok(0),
        _ => Err(format!("it must be 443, 53 or off, not {text:?}")),
    }
}

/// The setup of a host as it is set up now.
pub fn command_for(host: &HostConfig) -> Fix {
    let port = host.ssh.as_ref().and_then(|ssh| ssh.port);
    let line =
        line(&host.name, &address_of(host), host.user.as_deref(), port, host.identity.as_deref());
    match host.endpoint.host != hostname_of(host) {
        true => fix!("{} --endpoint {}", line, host.endpoint.to_string()),
        false => line,
    }
}

fn line(
    name: &str,
    address: &str,
    user: Option<&str>,
    port: Option<u16>,
    identity: Option<&str>,
) -> Fix {
    let line = fix!("hop setup {} -a {}", name, address);
    let more = [
        user.map(|user| fix!(" -u {}", user)),
        port.map(|port| fix!(" -p {}", port)),
        identity.map(|file| fix!(" -k {}", file)),
    ];
    more.iter().flatten().fold(line, |line, more| fix!("{}{}", line, more))
}

pub fn address_of(host: &HostConfig) -> String {
    host.ssh.as_ref().map_or_else(|| host.endpoint.host.clone(), |ssh| ssh.address.clone())
}

/// The host that ssh connected to at the last setup.
pub fn hostname_of(host: &HostConfig) -> String {
    let hostname = host.ssh.as_ref().and_then(|ssh| ssh.hostname.clone());
    hostname.unwrap_or_else(|| address_of(host))
}

fn key_file(file: &str) -> Result<PathBuf, Failure> {
    let unusable = |why: String| {
        Failure::usage(format!("the key {file:?} cannot be used"), why, "ls -l ~/.ssh")
    };
    let found = fs::canonicalize(file).and_then(|path| fs::File::open(&path).map(|_| path));
    let path = found.map_err(|error| unusable(error.to_string()))?;
    match path.to_str().map(field::absolute) {
        Some(Ok(_)) => Ok(path),
        Some(Err(why)) => Err(unusable(format!("it {why}"))),
        None => Err(unusable("its name is not UTF-8".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::EndpointOverride;

    #[test]
    fn an_endpoint_may_leave_the_port_to_the_agent() {
        for (text, host, port) in [
            ("203.0.113.7", "203.0.113.7", None),
            ("203.0.113.7:4000", "203.0.113.7", Some(4000)),
            ("gate.example", "gate.example", None),
            ("gate.example:4000", "gate.example", Some(4000)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]:4000", "2001:db8::1", Some(4000)),
        ] {
            let stated = EndpointOverride::parse(text).unwrap();
            assert_eq!((stated.host.as_str(), stated.port), (host, port));
            assert_eq!(stated.to_string(), text);
        }
        for text in ["", ":1", "a b", "host:0", "host:65536", "[x]:1", "1.2.3", "[::1"] {
            assert!(EndpointOverride::parse(text).is_err(), "{text:?}");
        }
    }
}
