//! Puts the helper in its place and takes it away; see `install`.

fn main() -> std::process::ExitCode {
    hop_helper::install_main()
}
