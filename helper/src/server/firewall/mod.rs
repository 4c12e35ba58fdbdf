//! Ports that users ask to be open: `rule` is one, typed; `change` says who may add or remove
//! which; `plans` holds changes that wait for a yes, `trials` those that wait for a second one,
//! from whoever they might have cut off; `store` is what is on the disk, `table` what is in the
//! kernel; `grants` and `answers` keep the two the same; `effective` and `matches` say what the
//! other tables of the machine make of it.

mod answers;
mod change;
mod effective;
mod grants;
mod matches;
mod plans;
pub mod rule;
pub mod store;
pub mod table;
mod trials;

pub use change::{Change, RULES_MAX, RULES_PER_UID};
pub use grants::{Firewall, Task};
pub use store::is_id;
pub use trials::LASTS_MAX;
