//! What both trees are, as one number: names, kinds, modes, times, attributes, contents, links of
//! both kinds, and owners where both sides are root's. Of a file whose marks are as they were when
//! it was read, what was read is known.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::attributes::Attributes;
use super::content;
use super::stamps::{Hash, Mark, Row, Stamps, key};
use crate::agent::work::snap::tree::{self, Met, put};
use crate::rpc::types::migration::Digested;
use crate::rpc::types::snap::Far;
use crate::sys::{clock, writeback};
use crate::workspace::digest::Digesting;

/// Bytes between two words of how far it is.
const TELL_EVERY: u64 = 64 * 1024 * 1024;

pub struct Reading<'a> {
    pub stamps: &'a mut Stamps,
    pub are_owners_kept: bool,
    /// Nobody else writes there: whatever is read stays so.
    pub is_ours: bool,
    pub far: &'a mut dyn FnMut(Far),
    pub is_wanted: &'a dyn Fn() -> bool,
    digesting: Digesting,
    known: Far,
    read: u64,
}

impl<'a> Reading<'a> {
    pub fn of(
        stamps: &'a mut Stamps,
        (are_owners_kept, is_ours): (bool, bool),
        far: &'a mut dyn FnMut(Far),
        is_wanted: &'a dyn Fn() -> bool,
    ) -> Reading<'a> {
        let digesting = Digesting::of("hopbox.move/1");
        let known = Far::default();
        Reading { stamps, are_owners_kept, is_ours, far, is_wanted, digesting, known, read: 0 }
    }

    /// Of each place, by what it is called on both sides and where it lies here.
    pub fn all(mut self, places: &[(String, PathBuf)]) -> io::Result<Digested> {
        for (index, (text, path)) in places.iter().enumerate() {
            put(&mut self.digesting, text.as_bytes());
            if fs::symlink_metadata(path).is_ok() {
                self.place(index, path)?;
            }
        }
        Ok(Digested {
            digest: self.digesting.done(),
            files: self.known.files,
            bytes: self.known.bytes,
            bytes_read: self.read,
        })
    }

    fn place(&mut self, index: usize, path: &Path) -> io::Result<()> {
        let found = fs::symlink_metadata(path)?;
        let dir = if found.is_dir() { path } else { path.parent().unwrap_or(path) };
        let began = clock::wall_ms();
        let began_ms = (writeback::settle(dir)? || self.is_ours).then_some(began);
        let (mut numbers, is_wanted) = (BTreeMap::new(), self.is_wanted);
        let visit = &mut |met: &Met<'_>| self.met(index, began_ms, &mut numbers, met);
        tree::visit(path, visit, is_wanted).map(drop)
    }

    fn met(
        &mut self,
        index: usize,
        began_ms: Option<u64>,
        numbers: &mut BTreeMap<(u64, u64), u64>,
        met: &Met<'_>,
    ) -> io::Result<()> {
        let (kind, found) = (met.found.file_type(), met.found);
        // First what may fail, so that nothing is half told.
        let attributes = Attributes::of(met.seen, found)?;
        let next = numbers.len() as u64;
        let several = found.nlink() > 1 && !kind.is_dir();
        let again = match several {
            true => numbers.get(&(found.dev(), found.ino())).copied(),
            false => None,
        };
        let hash = match again {
            None if kind.is_file() => Some(self.hash(index, began_ms, met)?),
            _ => None,
        };
        let digesting = &mut self.digesting;
        put(digesting, met.path.as_os_str().as_bytes());
        self.known.files += u64::from(!kind.is_dir());
        if let Some(number) = again {
            put(digesting, b"same");
            digesting.add(&number.to_be_bytes());
            return Ok(());
        }
        if several {
            numbers.insert((found.dev(), found.ino()), next);
        }
        put(digesting, tree::word(kind));
        if !kind.is_symlink() {
            digesting.add(&attributes.mode.to_be_bytes());
        }
        if self.are_owners_kept {
            let owner = [attributes.uid.to_be_bytes(), attributes.gid.to_be_bytes()];
            digesting.add(&owner.concat());
        }
        let (s, ns) = attributes.changed;
        digesting.add(&[s.to_be_bytes(), ns.to_be_bytes()].concat());
        digesting.add(&(attributes.all.len() as u64).to_be_bytes());
        for (name, value) in &attributes.all {
            put(digesting, name.as_bytes());
            put(digesting, value);
        }
        if kind.is_symlink() {
            put(digesting, fs::read_link(met.seen)?.as_os_str().as_bytes());
        }
        if let Some(hash) = hash {
            self.known.bytes += found.len();
            digesting.add(&found.len().to_be_bytes());
            digesting.add(&hash);
        }
        Ok(())
    }

    fn hash(&mut self, index: usize, began_ms: Option<u64>, met: &Met<'_>) -> io::Result<Hash> {
        let key = key(index, met.path.as_os_str().as_bytes());
        let mark = Mark::of(met.found);
        let row = self.stamps.get(&key).cloned();
        if let Some(hash) = row.as_ref().filter(|row| row.ours == mark).and_then(|row| row.hash) {
            return Ok(hash);
        }
        if !(self.is_wanted)() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let file = tree::open_file(met.seen)?;
        let (hash, read) = content::read(&file, met.found.len(), &mut |_, _| Ok(()))?;
        let before = self.read / TELL_EVERY;
        self.read += read;
        if self.read / TELL_EVERY > before {
            (self.far)(Far { bytes: self.read, ..self.known });
        }
        let is_same = Mark::of(&file.metadata()?) == mark;
        let settled = began_ms.and_then(|began| Mark::settled(met.found, began));
        if is_same && (self.is_ours || settled.is_some()) {
            let theirs = row.and_then(|row| row.theirs);
            self.stamps.put(&key, Row { theirs, ours: mark, hash: Some(hash) });
        }
        Ok(hash)
    }
}
