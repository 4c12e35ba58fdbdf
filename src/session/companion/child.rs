//! How a companion begins.

use std::ffi::OsString;

use super::kind::Kind;
use super::life::Life;
use crate::host::paths::Paths;
use crate::session::bridge;
use crate::session::log::log;
use crate::session::ports;
use crate::sys::process;

/// What such a process does: everything. Returns whether it ended as it should.
pub fn main(kind: Kind, host: Option<&OsString>) -> bool {
    if let Err(error) = process::close_inherited() {
        log(&format!("cannot close inherited descriptors: {error}"));
        return false;
    }
    process::set_umask(0o077);
    process::take_name(c"hop");
    let Some(host) = host.and_then(|host| host.to_str()) else { return false };
    let (paths, life) = match (Paths::from_env(), Life::take()) {
        (Ok(paths), Ok(life)) => (paths, life),
        _ => return false,
    };
    let done = match kind {
        Kind::Ports => ports::run(&paths, host, &life),
        Kind::Bridges => bridge::run(&paths, host, &life),
    };
    if let Err(error) = &done {
        life.say(&error.to_string());
    }
    done.is_ok()
}
