//! The block of /etc/hosts: any file, names that come and go, strangers who write in between, and a
//! kill at any byte of any edit.

use hop_helper::block::{self, Edit, Entry, Memory};
use std::net::Ipv4Addr;

/// A script of steps, a zero byte, and the file before the first of them.
pub fn hosts_edit(data: &[u8]) {
    let end = data.iter().position(|b| *b == 0).unwrap_or(0);
    let (script, rest) = data.split_at(end);
    let mut text = rest.to_vec();
    text.retain(|b| *b != 0);
    let (mut entries, mut memory) = (Vec::new(), Memory::default());
    for step in script.iter().take(12) {
        disturb(*step, &mut text, &mut entries);
        let Ok(plan) = block::plan(&text, &entries, &memory) else {
            // What is wrong with the file has nothing to do with the names.
            assert!(block::plan(&text, &[], &Memory::default()).is_err());
            return;
        };
        let journal = plan.edit;
        assert_eq!(Edit::from_json(&journal.to_json()).as_ref(), Some(&journal));
        let after = carried_out(&journal, &text, usize::MAX);
        outside_is_kept(&text, &after, &memory);
        holds(&after, &entries);
        memory = plan.memory;
        memory.cut(after.len());
        let again = block::plan(&after, &entries, &memory).expect("a block of ours");
        assert_eq!((again.edit.writes.len(), &again.memory), (0, &memory));
        if !journal.writes.is_empty() {
            interrupted(&journal, &text, &after, *step);
        }
        text = after;
    }
}

/// Changes the names, or the file as other programs may.
fn disturb(step: u8, text: &mut Vec<u8>, entries: &mut Vec<Entry>) {
    let n = step & 0x1f;
    let (name, ip) = (format!("h{}.hop", n & 7), Ipv4Addr::new(10, 10, 0, n + 1));
    match step >> 5 {
        0..=2 => {
            entries.retain(|entry: &Entry| entry.name != name);
            entries.push(Entry { name, ip });
        }
        3 | 4 => drop(entries.pop()),
        5 => text.extend(b"192.0.2.1 later\n".iter().take(n.into())),
        6 => drop(text.splice(0..0, b"192.0.2.2 first\n".iter().copied().take(n.into()))),
        _ => text.truncate(text.len().saturating_sub(n.into())),
    }
}

/// As the helper does it, up to `bytes` bytes of it.
fn carried_out(journal: &Edit, text: &[u8], bytes: usize) -> Vec<u8> {
    let (mut file, mut left) = (text.to_vec(), bytes);
    for write in &journal.writes {
        let part = &write.new[..write.new.len().min(left)];
        left -= part.len();
        assert!(write.at <= file.len(), "a hole");
        let end = (write.at + part.len()).min(file.len());
        file.splice(write.at..end, part.iter().copied());
        if left == 0 {
            return file;
        }
    }
    file.truncate(journal.len);
    file
}

/// No byte outside the block has changed or moved; only newlines that are ours may go.
fn outside_is_kept(before: &[u8], after: &[u8], memory: &Memory) {
    let len = before.len();
    let block = block::find_block(before).expect("planned").unwrap_or(len..len);
    for (at, byte) in before.iter().enumerate().filter(|(at, _)| !block.contains(at)) {
        let blank = memory.blank.iter().any(|range| range.contains(&at));
        let ours = blank || (memory.joined == Some(at) && at + 1 == block.start);
        assert!(
            (ours && *byte == b'\n') || after.get(at) == Some(byte),
            "byte {at} of {before:?}: {after:?}"
        );
    }
}

/// The block reads back as the names it was made from, and nothing else.
fn holds(text: &[u8], entries: &[Entry]) {
    let block = block::find_block(text).expect("a block of ours");
    assert_eq!(block.is_some(), !entries.is_empty());
    let Some(block) = block else { return };
    assert_eq!(text[block.clone()], block::render(entries));
    assert!(block.start == 0 || text[block.start - 1] == b'\n', "glued to a line");
    let block = std::str::from_utf8(&text[block]).expect("ASCII");
    let mut read: Vec<Entry> = Vec::new();
    for line in block.lines().filter(|line| !line.starts_with('#')) {
        let (ip, name) = line.split_once('\t').expect("address TAB name");
        read.push(Entry { name: name.into(), ip: ip.parse().expect("an address") });
    }
    let mut wanted = entries.to_vec();
    wanted.sort();
    assert_eq!(read, wanted);
}

/// Wherever it is cut, and whichever of its bytes have reached the disk, the journal finishes it.
fn interrupted(journal: &Edit, text: &[u8], after: &[u8], seed: u8) {
    let whole: usize = journal.writes.iter().map(|write| write.new.len()).sum();
    for cut in (0..=whole).step_by(whole / 16 + 1) {
        let mut half = carried_out(journal, text, cut);
        let mixed = half.iter_mut().zip(text).enumerate();
        mixed.filter(|(at, _)| at % 7 == usize::from(seed) % 7).for_each(|(_, (b, old))| *b = *old);
        assert!(journal.fits(&half), "cut at {cut}");
        assert_eq!(carried_out(journal, &half, usize::MAX), after, "cut at {cut}");
    }
}
