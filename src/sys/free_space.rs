//! What a file system has room for.

use std::io;
use std::path::Path;

use nix::sys::statvfs::statvfs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeSpace {
    /// For who is not root.
    pub bytes: u64,
    /// Taken and free.
    pub all_bytes: u64,
    /// Bytes of a block: no file takes less.
    pub block: u64,
    /// How many more files; `None` where they are not numbered beforehand.
    pub files: Option<u64>,
}

/// Where `path` lies.
pub fn at(path: &Path) -> io::Result<FreeSpace> {
    let found = statvfs(path)?;
    // Their types are others elsewhere.
    #[allow(clippy::unnecessary_cast)]
    let [blocks, all_blocks, block, all, files] = [
        found.blocks_available() as u64,
        found.blocks() as u64,
        found.fragment_size() as u64,
        found.files() as u64,
        found.files_available() as u64,
    ];
    let bytes = blocks.saturating_mul(block);
    let all_bytes = all_blocks.saturating_mul(block);
    Ok(FreeSpace { bytes, all_bytes, block, files: (all > 0).then_some(files) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_some_and_nowhere_is_none() {
        let free = at(&std::env::temp_dir()).unwrap();
        assert!(free.block > 0 && free.bytes % free.block == 0, "{free:?}");
        assert!(free.all_bytes >= free.bytes, "{free:?}");
        assert!(at(Path::new("/nothing/there")).is_err());
    }
}
