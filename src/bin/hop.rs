//! The `hop` program: command line in, exit code out. Everything else is `hopbox::cli`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

/// The Makefile says it. Asked for here and not in the library, which stays as it is when only this
/// changes.
const COMMIT: Option<&str> = option_env!("HOPBOX_COMMIT");

fn main() -> ExitCode {
    hopbox::base::exit::abort_on_panic();
    ExitCode::from(hopbox::cli::main(std::env::args_os().collect(), COMMIT))
}
