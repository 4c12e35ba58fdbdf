//! The desktop that bridges use: that of `hop up`, or the one on which they were begun anew since,
//! for as long as that session lives.

use std::ffi::OsString;
use std::os::unix::process::parent_id;

use serde_json::{Map, Value, json};

use crate::base::file;
use crate::base::json::{Fields, ReadError};
use crate::host::paths::Paths;
use crate::session::log::log;

/// By which programs find a desktop.
pub const VARIABLES: [&str; 9] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_SESSION_TYPE",
    "XDG_CURRENT_DESKTOP",
    "DESKTOP_SESSION",
    "BROWSER",
];

/// Each variable with its value there; an empty one is none.
pub type Desktop = Vec<(&'static str, OsString)>;

/// That of this process.
pub fn here() -> Value {
    let value = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?.into()));
    Value::Object(VARIABLES.iter().filter_map(value).collect::<Map<_, _>>())
}

pub fn read(fields: &mut Fields) -> Result<Desktop, ReadError> {
    let value =
        |name: &&'static str| Ok((*name, fields.opt_string(name)?.unwrap_or_default().into()));
    VARIABLES.iter().map(value).collect()
}

/// For the next process of this one's session.
pub fn keep(paths: &Paths, host: &str, desktop: &Desktop) {
    let value = |(name, value): &(&str, OsString)| {
        ((*name).to_owned(), value.to_string_lossy().into_owned().into())
    };
    let all: Map<String, Value> = desktop.iter().map(value).collect();
    let text = json!({"session": parent_id(), "desktop": all}).to_string();
    let path = paths.bridge_desktop(host);
    if let Err(error) = file::replace(&path, text.as_bytes()) {
        log(&format!("bridges: cannot write {}: {error}", path.display()));
    }
}

/// Nothing where none was kept in this session.
pub fn kept(paths: &Paths, host: &str) -> Desktop {
    let read = || {
        let text = file::read_private(&paths.bridge_desktop(host)).ok()?;
        let mut fields = Fields::parse(&text).ok()?;
        fields.int::<u32>("session", parent_id()..=parent_id()).ok()?;
        read(&mut fields.opt_object("desktop").ok()??).ok()
    };
    read().unwrap_or_default()
}
