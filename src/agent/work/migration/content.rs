//! What is in a file: read without its holes, block by block, and as one digest.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;

use super::stamps::Hash;
use super::wire::BLOCK;
use crate::sys::holes;
use crate::workspace::digest::Digesting;

static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Of a block; one of zeros has a digest of its own, which takes no time.
pub fn hash(bytes: &[u8]) -> Hash {
    if is_zero(bytes) {
        return Hash::default();
    }
    let mut digesting = Digesting::of("hopbox.block/1");
    digesting.add(bytes);
    digesting.done().bytes()
}

pub fn is_zero(bytes: &[u8]) -> bool {
    ZEROS.get(..bytes.len()).is_some_and(|zeros| zeros == bytes)
}

/// The digest of a file that comes in blocks, of which those of zeros are only counted.
pub struct OfFile {
    digesting: Digesting,
    zeros: u64,
}

impl OfFile {
    pub fn of(bytes: u64) -> OfFile {
        let mut digesting = Digesting::of("hopbox.file/1");
        digesting.add(&bytes.to_be_bytes());
        OfFile { digesting, zeros: 0 }
    }

    pub fn add(&mut self, block: &[u8]) {
        if is_zero(block) {
            return self.add_zeros(1);
        }
        self.tell_zeros();
        self.digesting.add(block);
    }

    /// So many blocks of nothing else.
    pub fn add_zeros(&mut self, blocks: u64) {
        self.zeros += blocks;
    }

    /// Before each block that is none of them.
    fn tell_zeros(&mut self) {
        self.digesting.add(&self.zeros.to_be_bytes());
        self.zeros = 0;
    }

    pub fn done(mut self) -> Hash {
        self.tell_zeros();
        self.digesting.done().bytes()
    }
}

/// As many as there are, up to the end of the file.
pub fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(left) = into.get_mut(done..).filter(|left| !left.is_empty()) {
        match file.read_at(left, offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

/// Reads a file once, of holes no more than where they are: its digest, and how much was read.
/// `take` is given each block that is not zero.
pub fn read(
    file: &File,
    bytes: u64,
    take: &mut dyn FnMut(u64, Vec<u8>) -> io::Result<()>,
) -> io::Result<(Hash, u64)> {
    let count = bytes.div_ceil(BLOCK as u64);
    let (mut of_file, mut at, mut read, mut data_end) = (OfFile::of(bytes), 0, 0, 0);
    while at < count {
        if at * BLOCK as u64 >= data_end {
            let next = holes::next_data(file, at * BLOCK as u64)?;
            let (begin, end) = next.unwrap_or((u64::MAX, u64::MAX));
            let first = (begin / BLOCK as u64).clamp(at, count);
            of_file.add_zeros(first - at);
            (at, data_end) = (first, end);
            if at == count {
                break;
            }
        }
        let block = block(file, bytes, at)?;
        of_file.add(&block);
        read += block.len() as u64;
        if !is_zero(&block) {
            take(at * BLOCK as u64, block)?;
        }
        at += 1;
    }
    Ok((of_file.done(), read))
}

/// One block of a file of so many bytes; zeros where it has become shorter.
pub fn block(file: &File, bytes: u64, at: u64) -> io::Result<Vec<u8>> {
    let offset = at.saturating_mul(BLOCK as u64);
    let mut block = vec![0; bytes.saturating_sub(offset).min(BLOCK as u64) as usize];
    read_at(file, &mut block, offset)?;
    Ok(block)
}
