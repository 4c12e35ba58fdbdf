//! The `hop` program: command line in, exit code out. Everything else is `hopbox::cli`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(hopbox::cli::main(std::env::args_os().collect()))
}
