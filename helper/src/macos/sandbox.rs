//! What the helper gives up on macOS before it answers the first request: running programs.
//!
//! That is all that can be given up by a short and stable profile; the rest of the promise (no
//! path from a caller, nothing executed) stands on the code alone. Must not know: requests.

use crate::sys;
use serde_json::{Value, json};
use std::path::PathBuf;

/// In the language of sandbox_init(3).
const PROFILE: &str = "(version 1)(allow default)(deny process-fork)(deny process-exec)";

/// Which layers are on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layers {
    pub no_exec: bool,
}

impl Layers {
    pub fn to_json(self) -> Value {
        json!({"seccomp": false, "landlock": 0, "no_exec": self.no_exec})
    }
}

/// Directories that the helper needs; the profile names none.
#[expect(dead_code, reason = "read where files can be restricted")]
pub struct Rooms {
    pub own: Vec<PathBuf>,
    pub read: PathBuf,
    pub socket: Option<PathBuf>,
}

/// There is one.
pub const STRICTNESS: () = ();

/// Takes effect for the rest of the process's life.
pub fn enter(_: &Rooms, (): ()) -> Layers {
    let entered =
        sys::sandbox(PROFILE).inspect_err(|e| crate::core::say::tell(&format!("no sandbox: {e}")));
    Layers { no_exec: entered.is_ok() }
}
