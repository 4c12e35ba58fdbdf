//! Sites that users ask nginx to answer for: `site` is one, typed; `store` is what is on the disk
//! and what becomes of it; `config` is what nginx reads, and whose names others have; `sites` keeps
//! the two the same; `make` is what the worker does for that, by the service manager.

mod config;
mod make;
pub mod site;
mod sites;
mod store;

pub use make::serve;
pub use sites::{Sites, Task, WORD};
pub use store::{Change, SITES_MAX, SITES_PER_UID};
