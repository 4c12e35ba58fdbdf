//! docker and podman as they are asked: by their own programs, each call with a bound, in an
//! environment that is ours. What they answer is read as JSON; whether it worked, from the exit
//! status alone, which differs between them for what is not there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::sys::child::{self, Done, Limits};
use crate::sys::process;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// A first call after a boot makes namespaces and opens databases.
const BRIEF: Limits = Limits { time: std::time::Duration::from_secs(60), bytes: 4 * 1024 * 1024 };
/// Of a login, which podman and a docker without root need to find their own.
const OF_THE_LOGIN: [&str; 4] = ["HOME", "USER", "LOGNAME", "DOCKER_HOST"];

pub const WORKSPACE: &str = "hopbox.workspace";
pub const SERVICE: &str = "hopbox.service";
/// Of what it was made.
pub const MADE: &str = "hopbox.made";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Docker,
    Podman,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Docker => "docker",
            Kind::Podman => "podman",
        }
    }

    pub fn read(word: &str) -> Result<Kind, String> {
        let known = [Kind::Docker, Kind::Podman].into_iter().find(|kind| kind.word() == word);
        known.ok_or_else(|| "must be docker or podman".to_owned())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    pub kind: Kind,
    pub program: PathBuf,
}

/// A container as its engine has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    pub image: String,
    pub labels: BTreeMap<String, String>,
    pub is_running: bool,
    /// Its engine takes it for one that runs, and it does not: podman 4.3, of one that was killed
    /// together with what watches it, and for ever.
    pub is_stuck: bool,
    pub pid: u32,
    pub exit_code: u8,
    pub is_out_of_memory: bool,
    /// When it was started last, in its engine's words.
    pub started: String,
    /// Directories in volumes without a name.
    pub volumes: Vec<String>,
}

impl Engine {
    /// A docker whose daemon answers this login, or else a podman that works for it.
    pub fn find() -> Result<Engine, String> {
        let mut why = Vec::new();
        for kind in [Kind::Docker, Kind::Podman] {
            let Some(program) = locate(kind.word()) else {
                why.push(format!("{} is not installed", kind.word()));
                continue;
            };
            match (Engine { kind, program }).usable() {
                Ok(engine) => return Ok(engine),
                Err(reason) => why.push(reason),
            }
        }
        let fix = "what helps: sudo apt install podman uidmap slirp4netns";
        Err(format!("no container can be run here: {}; {fix}", why.join("; ")))
    }

    /// It is there, and answers this login.
    pub fn is_usable(kind: Kind) -> bool {
        locate(kind.word()).is_some_and(|program| {
            Engine { kind, program }.usable().is_ok_and(|engine| engine.kind == kind)
        })
    }

    /// It answers this login.
    pub fn usable(self) -> Result<Engine, String> {
        let ask = |words: &[&str]| -> Result<String, String> {
            let done = self.run(words)?;
            match done.status.success() {
                true => Ok(done.text()),
                false => Err(format!("{}: {}", self.kind.word(), done.complaint())),
            }
        };
        // podman may be installed under docker's name.
        let named = self.kind == Kind::Podman || ask(&["--version"])?.starts_with("podman");
        if named {
            ask(&["info", "--format", "{{.Host.CgroupManager}}"])?;
            return Ok(Engine { kind: Kind::Podman, ..self });
        }
        let server = ask(&["version", "--format", "{{.Server.Version}}"])?;
        match server.trim().is_empty() {
            false => Ok(self),
            true => Err("docker: no daemon answers".to_owned()),
        }
    }

    /// Its program, with nothing of this process's environment but the login.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.env_clear().env("PATH", PATH).env("LC_ALL", "C");
        for name in OF_THE_LOGIN {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        // A service without a session is told neither, and podman sets no limits without them.
        let runtime = PathBuf::from(format!("/run/user/{}", process::uid()));
        if !process::is_root() && runtime.is_dir() {
            let bus = runtime.join("bus");
            command.env("XDG_RUNTIME_DIR", &runtime);
            if bus.exists() {
                let bus = format!("unix:path={}", bus.display());
                command.env("DBUS_SESSION_BUS_ADDRESS", bus);
            }
        }
        command.current_dir("/");
        command
    }

    pub fn run(&self, words: &[&str]) -> Result<Done, String> {
        self.run_within(words, BRIEF)
    }

    pub fn run_within(&self, words: &[&str], limits: Limits) -> Result<Done, String> {
        let done = child::run(self.command().args(words), limits);
        done.map_err(|broken| format!("{}: {broken}", self.program.display()))
    }

    /// What it says of a failure, with its name.
    pub fn complaint(&self, done: &Done) -> String {
        format!("{}: {}", self.kind.word(), done.complaint())
    }

    fn inspect(&self, what: &str, name: &str) -> Result<Option<Value>, String> {
        let done = self.run(&["inspect", "--type", what, name])?;
        if !done.status.success() {
            return Ok(None);
        }
        let said: Option<Value> = serde_json::from_slice(&done.stdout).ok();
        let one = said.and_then(|said| said.as_array()?.first().cloned());
        let odd = || format!("{} inspect says what cannot be read", self.kind.word());
        one.map(Some).ok_or_else(odd)
    }

    /// The id of an image that is there.
    pub fn image(&self, name: &str) -> Result<Option<String>, String> {
        let found = self.inspect("image", name)?;
        Ok(found.and_then(|image| Some(image["Id"].as_str()?.to_owned())))
    }

    /// The processor that an image is for, in the words of images.
    pub fn processor(&self, name: &str) -> Result<Option<String>, String> {
        let found = self.inspect("image", name)?;
        let word = found.and_then(|image| Some(image["Architecture"].as_str()?.to_owned()));
        Ok(word.filter(|word| !word.is_empty()))
    }

    /// The container with this name. An engine that does not answer knows of none, which is not
    /// the same as none.
    pub fn container(&self, name: &str) -> Result<Option<Found>, String> {
        if let Some(found) = self.inspect("container", name)? {
            return Ok(Some(read(&found)));
        }
        let done = self.run(&["ps", "--all", "--format", "{{.Names}}"])?;
        let listed = done.text().lines().any(|line| line.split(',').any(|one| one == name));
        match (done.status.success(), listed) {
            (true, false) => Ok(None),
            (true, true) => Err(format!("{} tells nothing of {name}", self.kind.word())),
            (false, _) => Err(self.complaint(&done)),
        }
    }
}

fn locate(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

fn read(found: &Value) -> Found {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = found["Config"]["Labels"].as_object();
    let labels = labels.into_iter().flatten().map(|(key, value)| (key.clone(), text(value)));
    let state = &found["State"];
    let pid = state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0);
    let is_on = state["Running"] == true || state["Status"] == "stopping";
    let is_there = Path::new(&format!("/proc/{pid}")).exists();
    let mounts = found["Mounts"].as_array();
    let unnamed = |mount: &&Value| mount["Type"] == "volume" && is_id(&text(&mount["Name"]));
    let volumes = mounts.into_iter().flatten().filter(unnamed);
    Found {
        id: text(&found["Id"]),
        image: text(&found["Image"]),
        labels: labels.collect(),
        is_running: is_on && is_there,
        is_stuck: is_on && !is_there,
        pid,
        // podman's -1 is one that it does not know.
        exit_code: state["ExitCode"].as_u64().and_then(|c| u8::try_from(c).ok()).unwrap_or(255),
        is_out_of_memory: state["OOMKilled"] == true,
        started: text(&state["StartedAt"]),
        volumes: volumes.map(|mount| text(&mount["Destination"])).collect(),
    }
}

/// What an engine calls a volume that nobody has named.
fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_engines_say_the_same_of_a_container() {
        let volume = "a".repeat(64);
        let docker = json!({
            "Id": "c1", "Image": "sha256:i1",
            "Config": {"Labels": {"hopbox.workspace": "app", "hopbox.service": "db"}},
            "State": {"Running": true, "Pid": std::process::id(), "ExitCode": 0, "OOMKilled": false,
                      "StartedAt": "2026-01-01T00:00:00Z"},
            "Mounts": [{"Type": "volume", "Name": volume, "Destination": "/data"},
                       {"Type": "volume", "Name": "named", "Destination": "/kept"},
                       {"Type": "bind", "Destination": "/src"}],
        });
        let found = read(&docker);
        assert!(found.is_running && found.pid == std::process::id() && found.exit_code == 0);
        assert_eq!((found.volumes, found.labels.len()), (vec!["/data".to_owned()], 2));
        // podman without labels, and with an exit code that it has lost.
        let podman = json!({
            "Id": "c1", "Image": "i1", "Config": {"Labels": null},
            "State": {"Running": false, "Pid": 0, "ExitCode": -1, "OOMKilled": true},
            "Mounts": [],
        });
        let found = read(&podman);
        assert!(
            !found.is_stuck
                && found.labels.is_empty()
                && found.is_out_of_memory
                && !found.is_running
        );
        assert_eq!((found.exit_code, found.started.as_str()), (255, ""));
        for state in [json!({"Running": true}), json!({"Status": "stopping"})] {
            let found = read(&json!({"State": state}));
            assert!(found.is_stuck && !found.is_running);
        }
        assert_eq!(read(&json!({})).id, "");
    }
}
