//! What is written for macOS: the same names as on Linux, chosen where they are used.

#[cfg(target_os = "macos")]
pub mod install;
#[cfg(target_os = "macos")]
pub mod link;
#[cfg(target_os = "macos")]
pub mod paths;
#[cfg(target_os = "macos")]
pub mod sandbox;
pub mod xnu;
