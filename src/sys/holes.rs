//! Files with parts that take no room.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

fn offset(number: u64) -> io::Result<libc::off_t> {
    number.try_into().map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn seek(file: &File, from: u64, how: libc::c_int) -> io::Result<Option<u64>> {
    // SAFETY: takes numbers only; the descriptor is open, as it is borrowed.
    let told = unsafe { libc::lseek(file.as_raw_fd(), offset(from)?, how) };
    match u64::try_from(told) {
        Ok(at) => Ok(Some(at)),
        Err(_) => match io::Error::last_os_error() {
            // Nothing more is there.
            error if error.raw_os_error() == Some(libc::ENXIO) => Ok(None),
            error => Err(error),
        },
    }
}

/// Where the next part from `from` on begins and ends that is no hole; none up to the end of the
/// file. Moves where the file is read next.
pub fn next_data(file: &File, from: u64) -> io::Result<Option<(u64, u64)>> {
    let Some(begin) = seek(file, from, libc::SEEK_DATA)? else { return Ok(None) };
    let end = seek(file, begin, libc::SEEK_HOLE)?;
    Ok(end.filter(|end| *end > begin).map(|end| (begin, end)))
}

/// These bytes of it are zero from now on, and take no room where the file system can do that.
pub fn punch(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let (from, bytes) = (offset(from)?, offset(bytes)?);
    // SAFETY: takes numbers only; the descriptor is open, as it is borrowed.
    match unsafe { libc::fallocate(file.as_raw_fd(), how, from, bytes) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt};

    #[test]
    fn what_is_a_hole_is_told_and_made() {
        let path = std::env::temp_dir().join(format!("hopbox-holes-{}", std::process::id()));
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.unwrap();
        let (mega, bytes) = (1 << 20, [7; 4096]);
        file.set_len(8 * mega).unwrap();
        assert_eq!(next_data(&file, 0).unwrap(), None);
        file.write_all_at(&bytes, 2 * mega).unwrap();
        let (begin, end) = next_data(&file, 0).unwrap().unwrap();
        assert!(begin <= 2 * mega && end >= 2 * mega + 4096 && end < 8 * mega, "{begin} {end}");
        assert_eq!(next_data(&file, end).unwrap(), None);
        assert!(file.metadata().unwrap().blocks() > 0);
        punch(&file, 2 * mega, mega).unwrap();
        assert_eq!((next_data(&file, 0).unwrap(), file.metadata().unwrap().blocks()), (None, 0));
        assert_eq!(file.metadata().unwrap().len(), 8 * mega);
        std::fs::remove_file(path).unwrap();
    }
}
