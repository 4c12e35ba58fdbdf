//! The daemon of a server; see `server`.

#[cfg(target_os = "linux")]
fn main() -> std::process::ExitCode {
    hop_helper::server_main()
}

/// It is for servers, and those are of Linux.
#[cfg(not(target_os = "linux"))]
fn main() -> std::process::ExitCode {
    std::process::ExitCode::FAILURE
}
