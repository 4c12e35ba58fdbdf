//! `hop selftest`: laptop and VPS on this machine, in namespaces of their own, from the helper to
//! `hop down`. A program of its own, because `hop` itself makes no namespace and no machine; of
//! hopbox it knows what any user of it sees, and how its files are written.
//!
//! Two processes. The outer one makes PID, mount and network namespaces and starts the inner one
//! as their first process; when the outer one ends, however it ends, the kernel kills the inner
//! one and with it every process, mount, device and address of the test. So there is no clean-up
//! that could be missed. Reading order: `command_line` → `outside` → `inside` → `machine` →
//! `programs` → `files` → `course` → `load`. `sys` are the namespaces, mounts and links.
//!
//! What is public is for hopbox's own tests, which play other courses with the same machines.
#![cfg(target_os = "linux")]
#![forbid(unsafe_code)]

mod broken;
mod command_line;
mod course;
pub mod files;
mod inside;
mod load;
pub mod machine;
mod outside;
pub mod programs;
pub mod sys;

pub use command_line::main;
