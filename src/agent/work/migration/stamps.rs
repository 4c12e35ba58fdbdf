//! What is known of files from the pass before: which they were by the words of the source, which
//! they are here, and what is in them. Who has changed a file has changed one of its marks, which
//! the kernel moves with every change, and no program can set.
//!
//! Bounds: 400,000 files and 64 MiB of their names; what is beyond that is compared anew each time.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata};
use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

pub type Hash = [u8; 32];

const MOST: usize = 400_000;
const HEAD: &[u8; 16] = b"hopbox.stamps/1\n";
const KEYS_BYTES: usize = 64 * 1024 * 1024;
/// As deep as a tree may be, with names as long as they can be.
const KEY_BYTES: usize = 128 * 1024;
/// Some file systems tell changes by the second.
const SETTLED_S: i64 = 2;

/// Which file it is, and when anything of it was last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub ino: u64,
    pub changed: (i64, i64),
    pub bytes: u64,
}

impl Mark {
    pub fn of(found: &Metadata) -> Mark {
        let changed = (found.ctime(), found.ctime_nsec());
        Mark { ino: found.ino(), changed, bytes: found.len() }
    }

    /// Of one that was not changed just before `now_ms`: one more change of the same moment would
    /// not be told.
    pub fn settled(found: &Metadata, now_ms: u64) -> Option<Mark> {
        let now = i64::try_from(now_ms / 1000).unwrap_or(0);
        (found.ctime() < now.saturating_sub(SETTLED_S)).then(|| Mark::of(found))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What the source said it was when it came; none where it may have been changed since.
    pub theirs: Option<Mark>,
    pub ours: Mark,
    /// Of its content, as this side has read it.
    pub hash: Option<Hash>,
}

/// By which a file is known again: its place, and its path there.
pub fn key(place: usize, path: &[u8]) -> Vec<u8> {
    let mut key = format!("{place}/").into_bytes();
    key.extend_from_slice(path);
    key
}

/// By their keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stamps {
    rows: BTreeMap<Vec<u8>, Row>,
    /// Of those that this pass has met.
    met: BTreeMap<Vec<u8>, Row>,
    bytes: usize,
}

impl Stamps {
    pub fn get(&self, key: &[u8]) -> Option<&Row> {
        self.met.get(key).or_else(|| self.rows.get(key))
    }

    /// It is there, as it was or as it is now.
    pub fn put(&mut self, key: &[u8], row: Row) {
        self.remove(key);
        if self.rows.len() + self.met.len() < MOST && self.bytes + key.len() <= KEYS_BYTES {
            self.bytes += key.len();
            self.met.insert(key.to_vec(), row);
        }
    }

    pub fn remove(&mut self, key: &[u8]) {
        let was_there = self.met.remove(key).is_some() | self.rows.remove(key).is_some();
        if was_there {
            self.bytes = self.bytes.saturating_sub(key.len());
        }
    }

    /// A pass has met all that is there.
    pub fn only_met(&mut self) {
        self.rows.clear();
        self.bytes = self.met.keys().map(Vec::len).sum();
    }

    /// Nothing is known where nothing can be read.
    pub fn load(path: &Path) -> Stamps {
        let read = || {
            let mut from = BufReader::new(File::open(path)?);
            let mut head = [0; HEAD.len()];
            from.read_exact(&mut head)?;
            let mut stamps = Stamps::default();
            if head == *HEAD {
                while let Some((key, row)) = read_row(&mut from)? {
                    stamps.put(&key, row);
                }
            }
            std::mem::swap(&mut stamps.rows, &mut stamps.met);
            Ok::<_, io::Error>(stamps)
        };
        read().unwrap_or_default()
    }

    /// In place of what was there.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let new = path.with_extension("new");
        let mut to = BufWriter::new(File::create(&new)?);
        to.write_all(HEAD)?;
        for (key, row) in self.rows.iter().chain(&self.met) {
            write_row(&mut to, key, row)?;
        }
        to.into_inner().map_err(io::IntoInnerError::into_error)?.sync_data()?;
        fs::rename(new, path)
    }
}

fn write_mark(to: &mut dyn Write, mark: &Mark) -> io::Result<()> {
    to.write_all(&mark.ino.to_be_bytes())?;
    to.write_all(&mark.changed.0.to_be_bytes())?;
    to.write_all(&mark.changed.1.to_be_bytes())?;
    to.write_all(&mark.bytes.to_be_bytes())
}

fn write_row(to: &mut dyn Write, key: &[u8], row: &Row) -> io::Result<()> {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
    to.write_all(&length.to_be_bytes())?;
    to.write_all(key)?;
    to.write_all(&[u8::from(row.theirs.is_some()), u8::from(row.hash.is_some())])?;
    row.theirs.iter().try_for_each(|mark| write_mark(to, mark))?;
    write_mark(to, &row.ours)?;
    row.hash.iter().try_for_each(|hash| to.write_all(hash))
}

fn array<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_mark(from: &mut dyn Read) -> io::Result<Mark> {
    Ok(Mark {
        ino: u64::from_be_bytes(array(from)?),
        changed: (i64::from_be_bytes(array(from)?), i64::from_be_bytes(array(from)?)),
        bytes: u64::from_be_bytes(array(from)?),
    })
}

fn read_row(from: &mut dyn Read) -> io::Result<Option<(Vec<u8>, Row)>> {
    let length = match array(from) {
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        length => u32::from_be_bytes(length?) as usize,
    };
    if length > KEY_BYTES {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut key = vec![0; length];
    from.read_exact(&mut key)?;
    let [has_theirs, has_hash] = array(from)?;
    let theirs = if has_theirs == 1 { Some(read_mark(from)?) } else { None };
    let ours = read_mark(from)?;
    let hash = if has_hash == 1 { Some(array(from)?) } else { None };
    Ok(Some((key, Row { theirs, ours, hash })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_known_again_and_what_is_broken_is_nothing() {
        let dir = std::env::temp_dir().join(format!("hopbox-stamps-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let (path, mut stamps) = (dir.join("stamps"), Stamps::default());
        let mark = |ino| Mark { ino, changed: (-1, 999), bytes: u64::MAX };
        stamps.put(b"0/a\n\xff", Row { theirs: Some(mark(1)), ours: mark(2), hash: None });
        stamps.put(b"", Row { theirs: None, ours: mark(3), hash: Some([7; 32]) });
        stamps.save(&path).unwrap();
        std::mem::swap(&mut stamps.rows, &mut stamps.met);
        assert_eq!(Stamps::load(&path), stamps);
        let whole = fs::read(&path).unwrap();
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            // Whole rows or none.
            let read = Stamps::load(&path);
            assert!(read.rows.iter().all(|(key, row)| stamps.get(key) == Some(row)), "{cut}");
        }
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xff;
            fs::write(&path, &broken).unwrap();
            Stamps::load(&path);
        }
        assert_eq!(Stamps::load(&dir.join("none")), Stamps::default());
        fs::remove_dir_all(&dir).unwrap();
    }
}
