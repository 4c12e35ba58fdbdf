//! The target's part of a pass: what the source tells is put into a staging tree beside each place,
//! if the workspace that is here has that place, too.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use super::line::Line;
use super::staging::{Staging, bad};
use super::stamps::Stamps;
use super::wire::{Answer, Said, VERSION};
use crate::rpc::types::migration::Pass;
use crate::sys::process;

pub struct Receiving<'a> {
    pub line: &'a mut Line,
    pub stamps: &'a mut Stamps,
    pub pass: &'a mut Pass,
    /// Where the tree of each place lies.
    pub places: BTreeMap<String, PathBuf>,
}

impl Receiving<'_> {
    /// Whether both are root's, so that owners are kept.
    pub fn all(&mut self) -> io::Result<bool> {
        let is_root = process::is_root();
        let Said::Hello { version, is_root: is_theirs } = self.line.hear()? else {
            return Err(bad("no greeting"));
        };
        self.line.answer(&Answer::Welcome { version: VERSION, is_root })?;
        if version != VERSION {
            return Err(bad("its agent is of another version: set up both servers again"));
        }
        let are_owners_kept = is_root && is_theirs;
        let (mut at, mut index) = (None::<Staging>, 0);
        loop {
            match self.line.hear()? {
                Said::Place(text) => {
                    at.take().map_or(Ok(()), Staging::finish)?;
                    // Once, and no other than the workspace's.
                    let root = self.places.remove(&text);
                    let root = root.ok_or_else(|| bad("a place that the workspace has not"))?;
                    at = Some(Staging::begin(index, &root, are_owners_kept)?);
                    index += 1;
                }
                Said::Finished => {
                    at.take().map_or(Ok(()), Staging::finish)?;
                    self.stamps.only_met();
                    return Ok(are_owners_kept);
                }
                Said::Failed(why) => return Err(io::Error::other(format!("the source: {why}"))),
                Said::Hello { .. } => return Err(bad("a second greeting")),
                said => {
                    let at = at.as_mut().ok_or_else(|| bad("something in no place"))?;
                    self.within(at, said)?;
                }
            }
        }
    }

    fn within(&mut self, at: &mut Staging, said: Said) -> io::Result<()> {
        match said {
            Said::Entry(entry) => match at.entry(*entry, self.stamps, self.pass)? {
                Some(answer) => self.line.answer(&answer),
                None => Ok(()),
            },
            Said::Data { offset, bytes } => {
                self.pass.bytes_sent += bytes.len() as u64;
                at.data(offset, &bytes)
            }
            Said::Zero { offset, bytes } => at.zero(offset, bytes),
            Said::Digests { first, all } => {
                let bits = at.compare(first, &all, self.pass)?;
                self.line.answer(&Answer::Wanted(bits))
            }
            Said::End { is_whole } => at.end(is_whole, self.stamps, self.pass),
            _ => Err(bad("something else")),
        }
    }
}
