//! Finds a project's `hopbox.yaml` and the `.env` files beside it. What they say is `workspace`'s.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::base::failure::{Failure, Fault};
use crate::base::yaml;
use crate::fix;
use crate::sys::bounded;
use crate::workspace::digest::Digest;
use crate::workspace::dotenv;
use crate::workspace::env::Env;
use crate::workspace::manifest::{Bridges, Desired, Editor, Hooks, Manifest};
use crate::workspace::read;
use crate::workspace::wrong::Wrong;

pub const FILE: &str = "hopbox.yaml";
/// The later wins.
const ENV_FILES: [&str; 2] = [".env", ".env.local"];

/// What the laptop keeps to itself.
#[derive(Debug, Default)]
pub struct Local {
    pub host: Option<String>,
    pub editor: Editor,
}

/// Reads `hopbox.yaml` in `dir` for which host and which editor; `None` when there is none. A file
/// that cannot be read or does not parse is an error: to skip it would choose another host in
/// silence.
pub fn local(dir: &Path) -> Result<Option<Local>, Failure> {
    let found = whole(dir, read::local)?;
    Ok(found.map(|(host, editor)| Local { host, editor }))
}

/// The whole of it.
pub fn manifest(dir: &Path) -> Result<Option<Manifest>, Failure> {
    whole(dir, read::manifest)
}

fn whole<T>(
    dir: &Path,
    read: impl Fn(&str) -> Result<T, Vec<Wrong>>,
) -> Result<Option<T>, Failure> {
    let path = dir.join(FILE);
    let Some(text) = text(&path, yaml::TEXT_BYTES)? else { return Ok(None) };
    read(&text).map(Some).map_err(|wrongs| fault(&path, &wrongs))
}

/// All that a server is asked for by a directory.
pub struct Project {
    /// Where it is wanted.
    pub host: Option<String>,
    pub desired: Desired,
    /// By which a yes to this content is known.
    pub consent: Digest,
}

impl Project {
    /// It only says which host, and which editor; whether ports appear here is for this side alone.
    pub fn is_bare(&self) -> bool {
        let Desired {
            workspace: _,
            env,
            services,
            bridges,
            scripts,
            hooks,
            backup,
            auto_ports: _,
            sandboxed_ports,
        } = &self.desired;
        let nothing_runs = services.is_empty() && scripts.is_empty() && *hooks == Hooks::default();
        let nothing_else = env.is_empty() && *bridges == Bridges::default() && backup.is_none();
        nothing_runs && nothing_else && *sandboxed_ports
    }
}

pub fn project(dir: &Path) -> Result<Option<Project>, Failure> {
    let read = |text: &str| read::manifest(text).map(|manifest| (manifest, text.to_owned()));
    let Some((manifest, text)) = whole(dir, read)? else { return Ok(None) };
    let desired = desired(dir, &manifest)?;
    let consent = desired.consent(&text);
    Ok(Some(Project { host: manifest.host, desired, consent }))
}

/// What a server is asked for: the manifest over the variables of the files.
fn desired(dir: &Path, manifest: &Manifest) -> Result<Desired, Failure> {
    let mut files: Vec<Env> = Vec::new();
    for name in ENV_FILES {
        let path = dir.join(name);
        if let Some(text) = text(&path, dotenv::TEXT_BYTES)? {
            files.push(dotenv::parse(&text).map_err(|wrongs| fault(&path, &wrongs))?);
        }
    }
    let whole = manifest.desired.clone().over(&files);
    whole.map_err(|wrong| fault(&dir.join(FILE), &[wrong]))
}

fn text(path: &Path, most: usize) -> Result<Option<String>, Failure> {
    match bounded::read(path, most as u64) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(broken(path, "it is not UTF-8".to_owned())),
        },
        Err(error) if is_absent(path, &error) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::FileTooLarge | ErrorKind::InvalidInput) => {
            Err(broken(path, error.to_string()))
        }
        Err(error) => Err(Failure::io("read", path, &error)),
    }
}

fn is_absent(path: &Path, error: &io::Error) -> bool {
    // A directory that this user may not enter is not where they work: su(1) leaves one there.
    let closed =
        || fs::symlink_metadata(path).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied);
    error.kind() == ErrorKind::NotFound || closed()
}

/// The first mistake is why, the others follow.
fn fault(path: &Path, wrongs: &[Wrong]) -> Failure {
    let mut all = wrongs.iter().map(Wrong::to_string);
    let first = all.next().unwrap_or_else(|| "it cannot be read".to_owned());
    Failure { also: all.collect(), ..broken(path, first) }
}

fn broken(path: &Path, why: String) -> Failure {
    let shown: PathBuf = path.strip_prefix(".").unwrap_or(path).to_owned();
    let what = format!("{} is not valid", shown.display());
    Failure::new(Fault::Config, what, why, fix!("${EDITOR:-vi} {}", shown))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::desired::TEXT_BYTES;

    #[test]
    fn files_beside_the_manifest_are_read_and_every_mistake_is_told() {
        let dir = std::env::temp_dir().join(format!("hopbox-workspace-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let write = |name: &str, text: &[u8]| fs::write(dir.join(name), text).unwrap();
        assert!(manifest(&dir).unwrap().is_none() && local(&dir).unwrap().is_none());
        write(FILE, b"host: mybox\neditor: {path: /x}\n");
        let here = local(&dir).unwrap().unwrap();
        assert_eq!(
            (here.host.as_deref(), here.editor.path.as_deref()),
            (Some("mybox"), Some("/x"))
        );
        assert!(manifest(&dir).unwrap_err().why.contains("name: is missing"));
        write(FILE, b"name: a\nenv: {B: yaml}\n");
        write(".env", b"A=env\nB=env\nC=env\n");
        write(".env.local", b"C=local\n");
        let given = manifest(&dir).unwrap().unwrap();
        let all = desired(&dir, &given).unwrap();
        let env: Vec<_> = all.env.iter().collect();
        assert_eq!(env, [("A", "env"), ("B", "yaml"), ("C", "local")]);
        assert!(all.text().len() < TEXT_BYTES);
        let before = project(&dir).unwrap().unwrap();
        assert!(!before.is_bare() && before.desired == all && before.host.is_none());
        let consent = || project(&dir).unwrap().unwrap().consent;
        assert_eq!(consent(), before.consent);
        write(".env.local", b"C=other\n");
        assert_ne!(consent(), before.consent, "a variable");
        write(".env.local", b"C=local\n");
        write(FILE, b"name: a\nenv: {B: yaml} # b\n");
        assert_ne!(consent(), before.consent, "a byte");
        fs::remove_file(dir.join(".env.local")).unwrap();
        fs::remove_file(dir.join(".env")).unwrap();
        let is_bare = |text: &str| {
            write(FILE, text.as_bytes());
            project(&dir).unwrap().unwrap().is_bare()
        };
        assert!(is_bare("name: a\nports: {auto: false}\n"));
        for more in [
            "hooks: {start: x}",
            "env: {A: b}",
            "scripts: {x: y}",
            "bridges: [{type: cdp}]",
            "ports: {sandboxes: false}",
        ] {
            assert!(!is_bare(&format!("name: a\n{more}\n")), "{more}");
        }
        write(".env", b"A\nB=secret\nC='\n");
        let failure = desired(&dir, &given).unwrap_err();
        assert_eq!((failure.fault, failure.also.len()), (Fault::Config, 1));
        assert!(failure.why.starts_with("line 1") && failure.also[0].starts_with("line 3"));
        for bad in [b"name: a\xff\n".to_vec(), vec![b'a'; yaml::TEXT_BYTES + 1]] {
            write(FILE, &bad);
            assert_eq!(local(&dir).unwrap_err().fault, Fault::Config);
        }
        fs::remove_file(dir.join(FILE)).unwrap();
        fs::create_dir(dir.join(FILE)).unwrap();
        assert_eq!(local(&dir).unwrap_err().fault, Fault::Config);
        fs::remove_dir_all(&dir).unwrap();
    }
}
