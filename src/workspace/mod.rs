//! What a project's `hopbox.yaml` and `.env` files mean, and what is asked of a server for it.
//! Pure: texts in, values out. Used on the laptop and on the server, which reads what it is sent
//! by the same rules.
//!
//! Reading order: `wrong` (what is said of a mistake) → `env`, `dotenv` → `manifest` (what can be
//! wanted) → `check` (single texts), `words` → `read` (YAML or JSON → values, every mistake with
//! its place), `verify` (what spans several keys) → `order` → `digest`, `write`, `desired` (what
//! crosses to the server) → `plan` (what is to be done there), `script` (what is run of it);
//! `import` (files of other tools).
//! Knows no file, process, socket, host or service manager.

pub mod check;
pub mod desired;
pub mod digest;
pub mod dotenv;
pub mod env;
pub mod import;
pub mod manifest;
pub mod order;
pub mod plan;
pub mod read;
pub mod script;
mod verify;
pub mod words;
mod write;
pub mod wrong;
