//! The daemon; see `net::daemon`.

fn main() -> std::process::ExitCode {
    hop_helper::helper_main()
}
