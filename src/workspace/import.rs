//! Files of other tools become a `hopbox.yaml`. What cannot be carried over is told with its place:
//! nothing is left out in silence.
//!
//! Reading order: `note` → `draft` (the text that is made), `scaffold` → `variables` (`${X:-y}`),
//! `names`, `compose`; `jsonc` → `devcontainer`.

mod compose;
mod devcontainer;
mod draft;
mod jsonc;
mod names;
mod note;
mod scaffold;
mod variables;

pub use compose::{Named, compose};
pub use devcontainer::devcontainer;
pub use draft::Imported;
pub use note::Note;
pub use scaffold::scaffold;
