//! The `hop-agent` program: command line in, exit code out. Everything else is `hopbox::agent`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    hopbox::base::exit::abort_on_panic();
    ExitCode::from(hopbox::agent::main(std::env::args_os()))
}
