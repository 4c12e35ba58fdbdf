//! `hop firewall backend`: which firewalls are in front of a host. The server's own always is; that
//! of its provider is where it is declared, and asked for the first time then.

use std::path::Path;

use serde_json::{Value, json};

use super::command::{Call, Command, Flag, Group, Takes};
use super::firewall_local;
use super::target_host;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::cloud::firewall::Firewall;
use crate::deploy::provider;
use crate::fix;
use crate::host::config::{Backend, HostConfig, Provider, https};
use crate::host::paths::Paths;
use crate::host::store;

pub const COMMAND: Command = Command {
    name: "firewall backend",
    summary: "show or declare the firewall of a host's provider",
    usage: "hop firewall backend [host] [hetzner-cloud|local-nftables] [--firewall ID] \
            [--token-file PATH] [--endpoint URL] [--ca-file PATH]",
    details: "What is opened on the server is opened there, too, and closed with it: the tunnel's\n\
              port by hop setup, services that are public by hop up. Rules of others are left as\n\
              they are. The token has to read and write; its file is yours alone (chmod 600), is\n\
              read each time, and the token is given to curl on its standard input.\n\
              local-nftables declares that there is none but the server's own.",
    example: "hop firewall backend mybox hetzner-cloud --firewall 7 --token-file token",
    group: Group::Hosts,
    flags: &[
        Flag {
            short: None,
            long: "firewall",
            value: Some("ID"),
            help: "the number of the firewall at the provider",
        },
        Flag {
            short: None,
            long: "token-file",
            value: Some("PATH"),
            help: "the file that holds the API token",
        },
        Flag {
            short: None,
            long: "endpoint",
            value: Some("URL"),
            help: "where the API answers, if not at the provider's own place",
        },
        Flag {
            short: None,
            long: "ca-file",
            value: Some("PATH"),
            help: "who has signed the certificate there, instead of whom the system trusts",
        },
    ],
    operands: (0, 2),
    takes: Takes::Host,
    hidden: false,
    run,
};

fn run(call: &mut Call) -> Result<Code, Failure> {
    let paths = call.paths()?;
    let name = target_host::host(call, &paths)?;
    let host = store::load(&paths, &name)?;
    let text = match call.args.operands.get(1).cloned() {
        None => shown(&host),
        Some(word) if word == firewall_local::NAME => withdrawn(call, &paths, &host)?,
        Some(word) => declared(call, &paths, &host, &word)?,
    };
    let data = told(&store::load(&paths, &name)?);
    call.out.answer("firewall.backend", data, text)?;
    Ok(Code::Done)
}

/// In the order in which they open ports.
pub fn names(host: &HostConfig) -> Vec<&'static str> {
    let provider = host.provider.as_ref().map(|provider| provider.backend.word());
    [firewall_local::NAME].into_iter().chain(provider).collect()
}

fn told(host: &HostConfig) -> Value {
    let mut data = json!({"host": host.name, "backends": names(host)});
    if let Some(provider) = &host.provider {
        data["firewall"] = json!(provider.firewall);
        data["token_file"] = json!(provider.token_file);
        data["endpoint"] = json!(provider.endpoint);
        data["ca_file"] = json!(provider.ca_file);
    }
    data
}

fn shown(host: &HostConfig) -> String {
    match &host.provider {
        None => format!("{}: the server's own ({})", host.name, firewall_local::NAME),
        Some(provider) => format!(
            "{}: the server's own ({}), and {} (firewall {}, token in {})",
            host.name,
            firewall_local::NAME,
            provider.backend.word(),
            provider.firewall,
            provider.token_file
        ),
    }
}

fn withdrawn(call: &mut Call, paths: &Paths, host: &HostConfig) -> Result<String, Failure> {
    provider::tell_left(call, host);
    store::save(paths, &HostConfig { provider: None, ..host.clone() })?;
    Ok(format!("{}: nothing but the server's own firewall is asked", host.name))
}

fn declared(
    call: &mut Call,
    paths: &Paths,
    host: &HostConfig,
    word: &str,
) -> Result<String, Failure> {
    let usage = |why: String| {
        let what = "that firewall cannot be declared";
        Failure::usage(what, why, fix!("hop help {}", "firewall"))
    };
    let backend = Backend::of_word(word)
        .map_err(|_| usage(format!("a backend is hetzner-cloud or {}", firewall_local::NAME)))?;
    let before = host.provider.as_ref();
    let flag = |name: &str| call.args.value(name).map(str::to_owned);
    let file = |name: &str| flag(name).map(|path| absolute(&path)).transpose();
    let firewall = match flag("firewall") {
        Some(id) => id.parse().ok().filter(|id| *id > 0),
        None => before.map(|provider| provider.firewall),
    };
    let firewall = firewall.ok_or_else(|| usage("--firewall takes its number there".to_owned()))?;
    let token_file = file("token-file")?.or_else(|| Some(before?.token_file.clone()));
    let token_file = token_file.ok_or_else(|| usage("--token-file is missing".to_owned()))?;
    let endpoint = flag("endpoint").map(|url| https(&url)).transpose();
    let endpoint = endpoint.map_err(|why| usage(format!("--endpoint {why}")))?;
    let provider = Provider {
        backend,
        firewall,
        token_file,
        endpoint: endpoint.or_else(|| before?.endpoint.clone()),
        ca_file: file("ca-file")?.or_else(|| before?.ca_file.clone()),
    };
    let host = HostConfig { provider: Some(provider), ..host.clone() };
    call.out.wait(&format!("asking {word}"));
    let asked = provider::of(&host).map(|mut hetzner| hetzner.list());
    call.out.done("");
    let grants = asked.transpose()?.unwrap_or_default();
    store::save(paths, &host)?;
    call.out.say(&format!("hop setup {} opens the tunnel's port there", host.name));
    Ok(format!(
        "{}: ports are opened at {word}, too; {} of hopbox are there",
        host.name,
        grants.len()
    ))
}

fn absolute(path: &str) -> Result<String, Failure> {
    let found = std::path::absolute(Path::new(path));
    found.ok().and_then(|path| path.to_str().map(str::to_owned)).ok_or_else(|| {
        let next = fix!("ls -l {}", path);
        Failure::new(Fault::Usage, "a file cannot be named", "its path is no text", next)
    })
}
