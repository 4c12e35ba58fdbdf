//! Opening files with care.

/// Opens what is there for reading. A link is not followed, and a pipe is not waited for.
pub fn open_no_link(path: &std::path::Path) -> std::io::Result<std::fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)
}
