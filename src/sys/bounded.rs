//! Files that others write, read up to a limit.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// More than any list of a machine's users, addresses, routes or keys has.
pub const TEXT_BYTES: u64 = 4 * 1024 * 1024;

/// All of a regular file. `FileTooLarge` when it has more than `most` bytes; a pipe or a device is
/// `InvalidInput`, and is not waited for.
pub fn read(path: impl AsRef<Path>, most: u64) -> io::Result<Vec<u8>> {
    let file = open(path.as_ref())?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let why = format!("it is longer than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}

/// The same as text; `InvalidData` if it is none. At most [`TEXT_BYTES`].
pub fn text(path: impl AsRef<Path>) -> io::Result<String> {
    let no_text = |_| io::Error::new(io::ErrorKind::InvalidData, "it is no text");
    String::from_utf8(read(path, TEXT_BYTES)?).map_err(no_text)
}

/// The last whole lines of a file, as far as they fit into `most` bytes.
pub fn tail(path: impl AsRef<Path>, most: u64) -> io::Result<String> {
    let mut file = open(path.as_ref())?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match text.split_once('\n') {
        Some((_, whole)) if length > most => Ok(whole.to_owned()),
        _ => Ok(text),
    }
}

/// A regular file, for reading. Neither a pipe nor a device is waited for.
pub fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;

    #[test]
    fn what_is_too_long_or_no_file_is_refused() {
        let dir = std::env::temp_dir().join(format!("hopbox-bounded-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        let file = dir.join("file");
        std::fs::write(&file, [b'x'; 100]).unwrap();
        let kind = |result: io::Result<Vec<u8>>| result.map_err(|error| error.kind());
        assert_eq!(kind(read(&file, 100)).unwrap().len(), 100);
        assert_eq!(kind(read(&file, 99)), Err(io::ErrorKind::FileTooLarge));
        std::fs::write(&file, "one\ntwo\nthree\n").unwrap();
        let tail = |most| tail(&file, most).unwrap();
        assert_eq!((tail(100).as_str(), tail(9).as_str()), ("one\ntwo\nthree\n", "three\n"));
        // A file without holes of 1 TiB, as far as reading it is concerned.
        std::fs::File::create(&file).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(text(&file).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        let pipe = dir.join("pipe");
        nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
        for other in [pipe.as_path(), &dir, Path::new("/dev/zero")] {
            assert_eq!(kind(read(other, 100)), Err(io::ErrorKind::InvalidInput), "{other:?}");
        }
        assert_eq!(kind(read(dir.join("none"), 1)), Err(io::ErrorKind::NotFound));
        assert!(text("/proc/self/status").unwrap().contains("Pid:"));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
