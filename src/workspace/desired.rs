//! What is asked of a server for a workspace, complete: nothing has to be looked up in a file of
//! the laptop's any more. It crosses as JSON under the keys of `hopbox.yaml`, and the server reads
//! it by the same strict rules. Its text is canonical, so that a digest of it says whether
//! something changed.

use serde_json::{Value, json};

use super::digest::Digest;
use super::env::Env;
use super::manifest::{Desired, Service};
use super::read;
use super::write;
use super::wrong::{Refusal, Wrong};
use crate::base::yaml::NOWHERE;

/// Of repositories alone.
const LOGINS: [&str; 2] = ["RESTIC_REST_USERNAME", "RESTIC_REST_PASSWORD"];
/// Longest text that crosses.
pub const TEXT_BYTES: usize = 768 * 1024;

/// By which a service is known to be the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceDigest {
    /// What the process or container was made of: another one means another process.
    pub run: Digest,
    /// Everything that is said of it; health, order and publication change without a restart.
    pub all: Digest,
}

impl Desired {
    /// With the variables of the files, the last of which wins over the others, below its own.
    pub fn over(self, files: &[Env]) -> Result<Desired, Wrong> {
        let below = files.iter().fold(Env::default(), |below, file| below.under(file));
        let desired = Desired { env: below.under(&self.env), ..self };
        let length = desired.text().len();
        let too_much = desired.env.len() > super::env::VARIABLES || length > TEXT_BYTES;
        if too_much {
            let why = format!("the workspace has more than {TEXT_BYTES} bytes or 512 variables");
            let fix = "remove some from .env, .env.local or hopbox.yaml";
            return Err(Refusal::new(why, fix).at(NOWHERE, "env"));
        }
        Ok(desired)
    }

    /// Strictly: what is not known is refused, and so is what a manifest could not say.
    pub fn read(json: &Value) -> Result<Desired, Vec<Wrong>> {
        read::desired(json)
    }

    pub fn to_json(&self) -> Value {
        write::desired(self)
    }

    /// Canonical. It holds the values of variables.
    pub fn text(&self) -> String {
        self.to_json().to_string()
    }

    pub fn digest(&self) -> Digest {
        Digest::of("hopbox.desired/1", &self.text())
    }

    /// Everything that a service sees: not what opens the repository, with which one that was
    /// taken over could remove what is to bring it back.
    pub fn env_of(&self, service: &Service) -> Env {
        let mut env = self.env.clone();
        let password = self.backup.as_ref().map(|backup| backup.password_env.as_str());
        password.into_iter().chain(LOGINS).for_each(|name| env.remove(name));
        env.under(&service.env)
    }

    pub fn digest_of(&self, name: &str, service: &Service) -> ServiceDigest {
        let env = write::env(&self.env_of(service));
        let of = |what, part: Value| {
            let whole = json!([self.workspace, name, env, part]);
            Digest::of(what, &whole.to_string())
        };
        ServiceDigest {
            run: of("hopbox.service.run/1", write::run_part(service)),
            all: of("hopbox.service/1", write::service(service)),
        }
    }

    /// What somebody says yes to: the whole text of the manifest, with what the laptop keeps to
    /// itself, and all that is sent because of it.
    pub fn consent(&self, manifest: &str) -> Digest {
        let whole = json!([manifest, self.digest().to_string()]);
        Digest::of("hopbox.consent/1", &whole.to_string())
    }

    /// What a unit or container of a service is called. A point stands in neither name, so that no
    /// two pairs share one.
    pub fn unit_name(&self, service: &str) -> String {
        unit_name(&self.workspace, service)
    }
}

pub fn unit_name(workspace: &str, service: &str) -> String {
    format!("hopbox-{workspace}.{service}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::dotenv;

    const TEXT: &str = include_str!("read/full.yaml");

    fn desired(text: &str) -> Desired {
        read::manifest(text).unwrap_or_else(|wrongs| panic!("{wrongs:#?}")).desired
    }

    #[test]
    fn what_crosses_is_read_back_as_it_was_and_has_one_text() {
        let desired = desired(TEXT);
        let json: Value = serde_json::from_str(&desired.text()).unwrap();
        let crossed = Desired::read(&json).unwrap();
        assert_eq!(crossed, desired);
        assert_eq!((crossed.text(), crossed.digest()), (desired.text(), desired.digest()));
    }

    #[test]
    fn the_server_is_as_strict() {
        let good = desired(TEXT).to_json();
        for (pointer, value) in [
            ("", json!(7)),
            ("/name", json!(null)),
            ("/name", json!("../x")),
            ("/host", json!("mybox")),
            ("/editor", json!({})),
            ("/more", json!(1)),
            ("/env/A", json!({"a": 1})),
            ("/services/web/ports/0", json!("0.0.0.0:1:1")),
            ("/services/web/depends_on", json!(["nobody"])),
            ("/services/web/depends_on/web", json!("started")),
            ("/services/web/privileged", json!(true)),
            ("/services/postgres/image", json!("--privileged")),
            ("/services/postgres/data/0/host", json!("/a/../..")),
            ("/services/postgres/public", json!("true")),
        ] {
            let mut bad = good.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap_or(("", ""));
            match bad.pointer_mut(parent) {
                Some(Value::Array(list)) => list[0] = value,
                Some(Value::Object(map)) if !pointer.is_empty() => {
                    drop(map.insert(key.into(), value))
                }
                _ => bad = value,
            }
            let wrongs = Desired::read(&bad).expect_err(pointer);
            assert!(!wrongs.is_empty(), "{pointer}");
            assert!(!wrongs[0].to_string().starts_with("line"), "{}", wrongs[0]);
        }
        let mut deep = json!(1);
        (0..100).for_each(|_| deep = json!([deep]));
        assert!(Desired::read(&json!({"name": "a", "env": deep})).is_err());
    }

    #[test]
    fn env_files_lie_under_the_manifest_and_that_under_the_service() {
        let text = "name: a\nenv: {C: yaml, D: yaml}\nservices:\n  w: {type: native, command: x, \
                    env: {D: service}}\n";
        let files = ["A=env\nB=env\nC=env\nD=env\n", "B=local\nC=local\nD=local\n"];
        let files = files.map(|text| dotenv::parse(text).unwrap());
        let of_files = desired(text).over(&files).unwrap();
        let env = of_files.env_of(&of_files.services["w"]);
        let all: Vec<_> = env.iter().collect();
        assert_eq!(all, [("A", "env"), ("B", "local"), ("C", "yaml"), ("D", "service")]);
        // What opens the repository is no service's, unless it has one of that name itself.
        let backup = "backup: {backend: restic, target: /r, password_env: A}\n";
        let mut login = Env::default();
        login.set("RESTIC_REST_PASSWORD", "x");
        let [first, second] = files;
        let kept = desired(&format!("{text}{backup}")).over(&[first, second, login]).unwrap();
        let env = kept.env_of(&kept.services["w"]);
        let names: Vec<_> = env.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["B", "C", "D"]);
        let many = |from: usize| {
            let mut env = Env::default();
            (from..from + 300).for_each(|n| env.set(format!("A{n}"), ""));
            env
        };
        assert!(of_files.clone().over(&[many(0), many(0)]).is_ok());
        assert!(of_files.over(&[many(0), many(300)]).is_err());
    }

    #[test]
    fn a_digest_tells_what_needs_another_process() {
        let of = |text: &str| {
            let desired = desired(text);
            desired.digest_of("w", &desired.services["w"])
        };
        let before = "name: a\nservices:\n  w: {type: native, command: x, ports: [80]}\n";
        let same = "# a comment\nname: a\nscripts: {x: \"y\"}\nservices:\n  v: {type: native, command: \
                    z}\n  w:\n    type: native\n    ports: [\"80:80/tcp\"]\n    command: x\n    \
                    restart: on-failure\n    stop_timeout: 10000ms\n";
        assert_eq!(of(before), of(same));
        for watched in ["health: {tcp: 80}", "public: true"] {
            let after = of(&before.replace("ports", &format!("{watched}, ports")));
            assert_eq!(after.run, of(before).run, "{watched}");
            assert_ne!(after.all, of(before).all, "{watched}");
        }
        let inside = before.replace("native, command: x", "container, image: x");
        let open = inside.replace("ports", "public: true, ports");
        assert_ne!(of(&open).run, of(&inside).run, "it is published at another address");
        for (from, to) in [
            ("command: x", "command: [x]"),
            ("[80]", "[81]"),
            ("ports", "env: {A: b}, ports"),
            ("name: a", "name: b"),
            ("name: a", "name: a\nenv: {A: b}"),
            ("ports", "limits: {pids: 7}, ports"),
        ] {
            assert_ne!(of(&before.replacen(from, to, 1)).run, of(before).run, "{to}");
        }
    }

    #[test]
    fn a_yes_is_to_every_byte_and_every_variable() {
        let text = "name: a\nhost: b\nhooks: {setup: x}\n";
        let of = |text: &str, file: &str| {
            let file = dotenv::parse(file).unwrap();
            desired(text).over(&[file]).unwrap().consent(text)
        };
        let yes = of(text, "A=b\n");
        assert_eq!(of(text, "# the same\nA='b'\n"), yes);
        for other in ["host: c", "host: b # c", "host: b\nbridges: [{type: clipboard}]"] {
            assert_ne!(of(&text.replace("host: b", other), "A=b\n"), yes, "{other}");
        }
        assert_ne!(of(text, "A=c\n"), yes);
        assert_ne!(of(text, "A=b\nLD_PRELOAD=x\n"), yes);
    }

    #[test]
    fn no_two_services_share_the_name_of_a_unit() {
        assert_ne!(unit_name("a-b", "c"), unit_name("a", "b-c"));
    }
}
