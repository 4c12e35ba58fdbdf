//! What the helper gives up on macOS before it answers the first request: running programs.
//!
//! That is all that can be given up by a short and stable profile; the rest of the promise (no
//! path from a caller, nothing executed) stands on the code alone. Must not know: requests.

use crate::core::access::SandboxPaths;
use crate::sys;
use serde_json::{Value, json};

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

/// There is one.
pub const STRICTNESS: () = ();

/// Takes effect for the rest of the process's life.
pub fn enter(_: &SandboxPaths, _: &[u32], (): ()) -> Layers {
    let entered =
        sys::sandbox(PROFILE).inspect_err(|e| crate::core::say::tell(&format!("no sandbox: {e}")));
    Layers { no_exec: entered.is_ok() }
}
