//! The `hop-selftest` program: command line in, exit code out. Everything else is the library's.
#![forbid(unsafe_code)]

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    hopbox::base::exit::abort_on_panic();
    ExitCode::from(hopbox_selftest::main(std::env::args_os().skip(1)))
}

/// There is no other system with network namespaces: `hop selftest` says so and does not come here.
#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
