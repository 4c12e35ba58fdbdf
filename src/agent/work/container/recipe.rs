//! Of what a container is made: `container.json` in its service's directory, written by whoever
//! starts it and read by `hop-agent contain`. It holds the values of variables: 0600. None of them
//! is ever an engine's argument; they are in the environment of the one call that makes the
//! container, or in a file for that call where an engine's own program would heed them.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};

use super::engine::{self, Engine, Kind};
use super::image::whole_name;
use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::sys::bounded;
use crate::workspace::digest::Digest;
use crate::workspace::env::Env;
use crate::workspace::manifest::{Container, Limits, Service};

const RECIPE: &str = "container.json";
const RECIPE_BYTES: u64 = 1024 * 1024;
const STOP_S: u32 = 3600;

/// What docker, podman and what they start read for themselves.
const HEEDED: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "ALL_PROXY",
    "NOTIFY_SOCKET",
    "REGISTRY_AUTH_FILE",
    "GCONV_PATH",
];
const HEEDED_BEGIN: [&str; 13] = [
    "XDG_",
    "DBUS_",
    "DOCKER_",
    "CONTAINER",
    "PODMAN_",
    "STORAGE_",
    "BUILDAH_",
    "LD_",
    "GO",
    "GLIBC_",
    "MALLOC_",
    "LISTEN_",
    "SSL_CERT_",
];
/// Longest line of a file of variables.
const LINE_BYTES: usize = 32 * 1024;

pub struct Recipe {
    pub engine: Engine,
    pub name: String,
    pub workspace: String,
    pub service: String,
    /// With its registry.
    pub image: String,
    /// Between the name and the image.
    options: Vec<String>,
    /// After the image.
    command: Vec<String>,
    env: Vec<(String, String)>,
    /// Where the laptop answered for its ports when this was written: no reason to make another.
    urls: Vec<(String, String)>,
    /// Directories of the server that it sees.
    pub dirs: Vec<PathBuf>,
    pub stop_s: u32,
}

/// Where a service has its place.
pub struct Place<'a> {
    pub workspace: &'a str,
    pub service: &'a str,
    /// Of its unit and container.
    pub name: String,
    pub home: &'a Path,
    /// Where ports are published.
    pub address: Option<Ipv4Addr>,
    /// Those of the workspace that publish some.
    pub published: Vec<&'a str>,
    /// `HOPBOX_URL_<port>` for its ports.
    pub urls: Env,
}

impl Recipe {
    pub fn of(
        engine: Engine,
        place: &Place,
        service: &Service,
        container: &Container,
        env: &Env,
    ) -> Result<Recipe, String> {
        let mut options = Options(Vec::new());
        for port in &service.ports {
            let none = "the tunnel's address is not known yet; what helps: hop up";
            let address = match service.public {
                true => Ipv4Addr::UNSPECIFIED,
                false => place.address.ok_or(none)?,
            };
            options.put("--publish", format!("{address}:{}:{}/tcp", port.published, port.target));
        }
        // The tunnel's address may be another one, or none, while nginx asks.
        let first = service.ports.first().filter(|_| service.is_on_loopback());
        if let Some(port) = first.filter(|_| place.address.is_some_and(|a| !a.is_loopback())) {
            let loopback = Ipv4Addr::LOCALHOST;
            options.put("--publish", format!("{loopback}:{}:{}/tcp", port.published, port.target));
        }
        // Inside of a container loopback is its own.
        if let Some(address) = place.address.filter(|address| !address.is_loopback()) {
            for name in place.published.iter().filter(|name| **name != place.service) {
                options.put("--add-host", format!("{name}:{address}"));
            }
        }
        let mut dirs = Vec::new();
        for data in &service.data {
            let Some(inside) = &data.container else { continue };
            let host = below(place.home, &data.host);
            let how = if data.read_only { "ro" } else { "rw" };
            options.put("--volume", format!("{}:{inside}:{how}", host.display()));
            dirs.push(host);
        }
        limits(&mut options, &service.limits);
        let mut command = container.command.clone();
        if let Some((program, words)) = container.entrypoint.split_first() {
            options.put("--entrypoint", program.clone());
            command.splice(0..0, words.iter().cloned());
        }
        for (flag, value) in [("--workdir", &container.workdir), ("--user", &container.user)] {
            value.iter().for_each(|value| options.put(flag, value.clone()));
        }
        let pairs = |env: &Env| {
            env.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        };
        // What the manifest says is first.
        let mut urls: Vec<(String, String)> = pairs(&place.urls);
        urls.retain(|(name, _)| env.iter().all(|(its, _)| its != name));
        Ok(Recipe {
            engine,
            name: place.name.clone(),
            workspace: place.workspace.to_owned(),
            service: place.service.to_owned(),
            image: whole_name(&container.image),
            options: options.0,
            command,
            env: pairs(env),
            urls,
            dirs,
            stop_s: u32::try_from(service.stop_timeout.as_secs()).unwrap_or(STOP_S).min(STOP_S),
        })
    }

    /// By which a container is known to be made of this and this image.
    pub fn digest(&self, image: &str) -> Digest {
        let whole = json!([image, self.image, self.options, self.command, self.env]);
        Digest::of("hopbox.container/1", &whole.to_string())
    }

    /// Whether it is a container of this service's.
    pub fn is_ours(&self, found: &engine::Found) -> bool {
        let is = |label: &str, text: &str| found.labels.get(label).is_some_and(|own| own == text);
        is(engine::WORKSPACE, &self.workspace) && is(engine::SERVICE, &self.service)
    }

    /// The engine's arguments, with variables by their names alone.
    pub fn words(&self, made: &Digest, file: &Path) -> Vec<String> {
        let mut words = Options(vec!["create".to_owned(), "--pull=never".to_owned()]);
        words.put("--name", self.name.clone());
        for (label, text) in [
            (engine::WORKSPACE, self.workspace.clone()),
            (engine::SERVICE, self.service.clone()),
            (engine::MADE, made.to_string()),
        ] {
            words.put("--label", format!("{label}={text}"));
        }
        // Whoever keeps it starts it again and writes down what it says.
        words.put("--restart", "no".to_owned());
        words.put("--log-driver", "none".to_owned());
        words.0.extend(self.options.iter().cloned());
        for (name, _) in self.plain_env() {
            words.put("--env", name.clone());
        }
        if self.heeded_env().next().is_some() {
            words.put("--env-file", file.display().to_string());
        }
        words.0.push(self.image.clone());
        words.0.extend(self.command.iter().cloned());
        words.0
    }

    /// For the environment of that call.
    pub fn plain_env(&self) -> impl Iterator<Item = &(String, String)> {
        self.env.iter().filter(|(name, _)| !is_heeded(name)).chain(&self.urls)
    }

    fn heeded_env(&self) -> impl Iterator<Item = &(String, String)> {
        self.env.iter().filter(|(name, _)| is_heeded(name))
    }

    /// For the file of that call: a line each, which engines read as it stands.
    pub fn env_file(&self) -> Result<String, String> {
        let mut text = String::new();
        for (name, value) in self.heeded_env() {
            if value.len() > LINE_BYTES || value.contains(['\n', '\r', '"', '\'']) {
                let engine = self.engine.kind.word();
                return Err(format!(
                    "the variable {name} cannot be given to {engine}: its value has quotes or \
                     more than one line; give it in the image, or under another name"
                ));
            }
            text += &format!("{name}={value}\n");
        }
        Ok(text)
    }

    pub fn save(&self, dir: &Path) -> Result<(), String> {
        let written = file::replace(&dir.join(RECIPE), self.to_json().to_string().as_bytes());
        written.map_err(|error| format!("cannot write {RECIPE}: {error}"))
    }

    /// Nothing where the service was never a container.
    pub fn load(dir: &Path) -> Option<Result<Recipe, String>> {
        let bytes = match bounded::read(dir.join(RECIPE), RECIPE_BYTES) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            read => read,
        };
        let text = bytes.map_err(|error| error.to_string());
        let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(|e| e.to_string()));
        let read = text.and_then(|text| Recipe::read(&text).map_err(|error| error.to_string()));
        Some(read.map_err(|why| format!("{RECIPE} cannot be read: {why}")))
    }

    pub fn forget(dir: &Path) -> Result<(), String> {
        match std::fs::remove_file(dir.join(RECIPE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.to_string()),
            _ => Ok(()),
        }
    }

    /// A command inside of the container, while it runs.
    pub fn inside(&self, words: &[String]) -> Command {
        let mut command = self.engine.command();
        command.args(["exec", &self.name]).args(words);
        command
    }

    fn to_json(&self) -> Value {
        let map = |pairs: &[(String, String)]| -> Map<String, Value> {
            pairs.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
        };
        json!({
            "version": 1, "engine": self.engine.kind.word(), "program": self.engine.program,
            "name": self.name, "workspace": self.workspace, "service": self.service,
            "image": self.image, "options": self.options, "command": self.command,
            "env": map(&self.env), "urls": map(&self.urls), "dirs": self.dirs, "stop_s": self.stop_s,
        })
    }

    fn read(text: &str) -> Result<Recipe, ReadError> {
        let mut fields = Fields::parse(text)?;
        fields.int::<u32>("version", 1..=1)?;
        let kind = fields.meant("engine", Kind::read)?;
        let recipe = Recipe {
            engine: Engine { kind, program: fields.string("program")?.into() },
            name: fields.string("name")?,
            workspace: fields.string("workspace")?,
            service: fields.string("service")?,
            image: fields.string("image")?,
            options: words(&mut fields, "options")?,
            command: words(&mut fields, "command")?,
            env: pairs(&mut fields, "env")?,
            urls: pairs(&mut fields, "urls")?,
            dirs: words(&mut fields, "dirs")?.into_iter().map(PathBuf::from).collect(),
            stop_s: fields.int("stop_s", 0..=STOP_S)?,
        };
        fields.finish().map(|()| recipe)
    }
}

struct Options(Vec<String>);

impl Options {
    fn put(&mut self, flag: &str, value: String) {
        self.0.extend([flag.to_owned(), value]);
    }
}

fn limits(options: &mut Options, limits: &Limits) {
    let Limits { memory_bytes, cpu_percent, pids } = limits;
    if let Some(bytes) = memory_bytes {
        options.put("--memory", bytes.to_string());
        // With swap: as much as without.
        options.put("--memory-swap", bytes.to_string());
    }
    if let Some(percent) = cpu_percent {
        options.put("--cpus", format!("{}.{:02}", percent / 100, percent % 100));
    }
    pids.iter().for_each(|pids| options.put("--pids-limit", pids.to_string()));
}

fn is_heeded(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    HEEDED.contains(&upper.as_str()) || HEEDED_BEGIN.iter().any(|begin| upper.starts_with(begin))
}

/// `~` is the login's home.
fn below(home: &Path, path: &str) -> PathBuf {
    path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest))
}

fn words(fields: &mut Fields, key: &str) -> Result<Vec<String>, ReadError> {
    let word = |word: &Value| word.as_str().map(str::to_owned);
    let read = match fields.take(key) {
        Some(Value::Array(all)) => all.iter().map(word).collect(),
        _ => None,
    };
    read.ok_or_else(|| fields.error(key, "must be a list of strings"))
}

fn pairs(fields: &mut Fields, key: &str) -> Result<Vec<(String, String)>, ReadError> {
    let pair = |(name, value): (String, Value)| Some((name, value.as_str()?.to_owned()));
    let read = match fields.take(key) {
        Some(Value::Object(map)) => map.into_iter().map(pair).collect(),
        // An earlier version wrote no such map.
        None => Some(Vec::new()),
        _ => None,
    };
    read.ok_or_else(|| fields.error(key, "must be names with strings"))
}

#[cfg(test)]
mod tests;
