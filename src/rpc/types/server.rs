//! What a server is beside its tunnel, as far as its login may look: what `hop doctor` judges.

use serde_json::{Value, json};

use super::{Message, any, opt_meant, opt_number, read_list, to_list};
use crate::base::json::{Fields, ReadError};

/// More than there are looked at.
const DISKS: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// By its own clock, since 1970.
    pub unix_ms: u64,
    /// `None` where there is none at its usual place.
    pub sshd: Option<Sshd>,
    /// The kernel has one hierarchy of control groups, of version 2: services can have limits.
    pub is_unified: bool,
    /// Whether the login has a service manager without a session; `None` where it needs none of its
    /// own, or the machine was not started by systemd.
    pub lingers: Option<bool>,
    /// The login's name on the server.
    pub login: String,
    pub disks: Vec<Disk>,
}

/// A program that lets logins in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sshd {
    /// In its own words, such as `OpenSSH_9.2p1`; `None` where it has none that are known.
    pub version: Option<String>,
    /// Its C library is musl.
    pub is_musl: bool,
    /// It knows PAM, and its configuration uses it.
    pub has_pam: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    pub path: String,
    /// For who is not root, and all of it.
    pub free_bytes: u64,
    pub bytes: u64,
    /// How many more files; `None` where they are not numbered beforehand.
    pub free_files: Option<u64>,
}

impl Message for Sshd {
    fn to_json(&self) -> Value {
        json!({"version": self.version, "musl": self.is_musl, "pam": self.has_pam})
    }

    fn read(fields: &mut Fields) -> Result<Sshd, ReadError> {
        Ok(Sshd {
            version: opt_meant(fields, "version", any)?,
            is_musl: fields.bool("musl")?,
            has_pam: fields.bool("pam")?,
        })
    }
}

impl Message for Disk {
    fn to_json(&self) -> Value {
        json!({
            "path": self.path, "free_bytes": self.free_bytes, "bytes": self.bytes,
            "free_files": self.free_files,
        })
    }

    fn read(fields: &mut Fields) -> Result<Disk, ReadError> {
        Ok(Disk {
            path: fields.string("path")?,
            free_bytes: fields.int("free_bytes", 0..=u64::MAX)?,
            bytes: fields.int("bytes", 0..=u64::MAX)?,
            free_files: opt_number(fields, "free_files")?,
        })
    }
}

impl Message for Server {
    fn to_json(&self) -> Value {
        json!({
            "unix_ms": self.unix_ms, "sshd": self.sshd.as_ref().map(Message::to_json),
            "unified_cgroups": self.is_unified, "lingers": self.lingers, "login": self.login,
            "disks": to_list(&self.disks),
        })
    }

    fn read(fields: &mut Fields) -> Result<Server, ReadError> {
        let lingers = match fields.take("lingers") {
            None | Some(Value::Null) => None,
            Some(Value::Bool(lingers)) => Some(lingers),
            Some(_) => return Err(fields.error("lingers", "must be true, false or null")),
        };
        let sshd = match fields.take("sshd") {
            None | Some(Value::Null) => None,
            Some(sshd) => Some(Sshd::of(sshd)?),
        };
        Ok(Server {
            unix_ms: fields.int("unix_ms", 0..=u64::MAX)?,
            sshd,
            is_unified: fields.bool("unified_cgroups")?,
            lingers,
            login: fields.string("login")?,
            disks: read_list(fields, "disks", DISKS)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_again() {
        let sshd = Sshd { version: Some("OpenSSH_9.2p1".into()), is_musl: true, has_pam: false };
        let disk = Disk { path: "/".into(), free_bytes: 7, bytes: 9, free_files: None };
        let whole = Server {
            unix_ms: 5,
            sshd: Some(sshd),
            is_unified: true,
            lingers: Some(false),
            login: "dev".into(),
            disks: vec![disk.clone(), Disk { free_files: Some(3), ..disk }],
        };
        let bare = Server { sshd: None, lingers: None, disks: Vec::new(), ..whole.clone() };
        for server in [whole, bare] {
            assert_eq!(Server::of(server.to_json()).unwrap(), server);
        }
        for (key, bad) in [("lingers", json!(7)), ("sshd", json!("x")), ("disks", json!([7]))] {
            let mut json = json!({"unix_ms": 5, "unified_cgroups": true, "login": "dev"});
            json[key] = bad;
            assert!(Server::of(json).is_err(), "{key}");
        }
    }
}
