//! The block editor: what it writes, what it refuses, and that nothing else ever changes.

use super::*;

fn entry(name: &str, last: u8) -> Entry {
    Entry { name: name.to_string(), ip: Ipv4Addr::new(10, 10, 0, last) }
}

/// Carries a plan out on a copy, as `write` does on the file.
fn apply(text: &[u8], edit: &Edit) -> Vec<u8> {
    let mut file = text.to_vec();
    for write in &edit.writes {
        assert!(write.at <= file.len() && write.end() >= write.at + write.old.len());
        file.resize(file.len().max(write.end()), b'?');
        file[write.at..write.at + write.new.len()].copy_from_slice(&write.new);
    }
    assert!(edit.writes.len() != 1 || edit.end() >= text.len() || edit.len == text.len());
    file.truncate(edit.len);
    file
}

/// Plans and applies, and checks that a second plan finds nothing to do.
fn edited(text: &[u8], entries: &[Entry], memory: &mut Memory) -> Vec<u8> {
    let planned = plan(text, entries, memory).unwrap();
    *memory = planned.memory;
    let after = apply(text, &planned.edit);
    memory.cut(after.len());
    let again = plan(&after, entries, memory).unwrap();
    assert_eq!((again.edit.writes.len(), &again.memory), (0, &*memory));
    after
}

/// What comes of the text where the file cannot be cut, because somebody keeps it open.
fn uncut(text: &[u8], entries: &[Entry], memory: &mut Memory) -> Vec<u8> {
    let planned = plan(text, entries, memory).unwrap();
    *memory = planned.memory;
    let edit = Edit { len: planned.edit.end().max(text.len()), ..planned.edit };
    apply(text, &edit)
}

/// The text without what is ours: the block, the newline before it, blank lines in our memory.
fn foreign(text: &[u8], memory: &Memory) -> Vec<u8> {
    let block = find_block(text).unwrap().unwrap_or(text.len()..text.len());
    let ours = |at: &usize| {
        block.contains(at)
            || memory.joined == Some(*at)
            || memory.blank.iter().any(|range| range.contains(at))
    };
    text.iter().enumerate().filter(|(at, _)| !ours(at)).map(|(_, b)| *b).collect()
}

const ONE: &str =
    "# --- hopbox managed start ---\n10.10.0.2\ta.hop\n# --- hopbox managed end ---\n";

#[test]
fn a_block_comes_and_goes_without_a_trace() {
    for text in [
        "",
        "127.0.0.1 localhost\n",
        "127.0.0.1 localhost",
        "# only\n# comments\n",
        "127.0.0.1\tlocalhost\r\n::1 localhost\r\n",
        "\n\n\n",
        "no newline\n\nat the end",
        "\r",
        "# --- hopbox managed start --- not quite\n",
    ] {
        let mut joined = Memory::default();
        let with = edited(text.as_bytes(), &[entry("a.hop", 2)], &mut joined);
        let glue = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        assert_eq!(String::from_utf8_lossy(&with), format!("{text}{glue}{ONE}"));
        assert_eq!(joined.joined.is_some(), !glue.is_empty());
        let two = [entry("b.hop", 3), entry("a.hop", 2)];
        let more = edited(&with, &two, &mut joined);
        let less = edited(&more, &[entry("a.hop", 2)], &mut joined);
        assert_eq!(less, with);
        assert_eq!(edited(&less, &[], &mut joined), text.as_bytes(), "{text:?}");
    }
}

#[test]
fn entries_are_sorted_and_order_makes_no_edit() {
    let (a, b) = (entry("a.hop", 2), entry("b.hop", 3));
    let text = edited(b"", &[b.clone(), a.clone()], &mut Memory::default());
    assert!(plan(&text, &[a, b], &Memory::default()).unwrap().edit.writes.is_empty());
}

#[test]
fn text_behind_the_block_stays_where_it_is() {
    let text = format!("before\n{ONE}after\n");
    let block = ONE.replace("10.10.0.2\ta", "10.10.0.3\tb");
    let after = edited(text.as_bytes(), &[entry("b.hop", 3)], &mut Memory::default());
    assert_eq!(String::from_utf8_lossy(&after), format!("before\n{block}after\n"));
    // One with more lines has to go elsewhere.
    let blank = "\n".repeat(ONE.len());
    let two = [entry("a.hop", 2), entry("b.hop", 3)];
    let after = edited(text.as_bytes(), &two, &mut Memory::default());
    let both = String::from_utf8(render(&two)).unwrap();
    assert_eq!(String::from_utf8_lossy(&after), format!("before\n{blank}after\n{both}"));
    let none = edited(text.as_bytes(), &[], &mut Memory::default());
    assert_eq!(String::from_utf8_lossy(&none), format!("before\n{blank}after\n"));
    // Unfinished text behind the block: the new block gets its own line.
    let open = format!("{ONE}after");
    let mut joined = Memory::default();
    let after = edited(open.as_bytes(), &two, &mut joined);
    assert_eq!(String::from_utf8_lossy(&after), format!("{blank}after\n{both}"));
    assert_eq!(edited(&after, &[], &mut joined), format!("{blank}after").into_bytes());
}

#[test]
fn a_newline_that_may_not_be_ours_stays() {
    let mut joined = Memory::default();
    let with = edited(b"127.0.0.1 localhost", &[entry("a.hop", 2)], &mut joined);
    // Somebody put a line before the block: the newline there is theirs.
    let text = String::from_utf8(with.clone()).unwrap().replacen('\n', "\n::1 localhost\n", 1);
    let after = edited(text.as_bytes(), &[], &mut joined.clone());
    assert_eq!(after, b"127.0.0.1 localhost\n::1 localhost\n");
    // The helper was restarted and remembers nothing.
    assert_eq!(edited(&with, &[], &mut Memory::default()), b"127.0.0.1 localhost\n");
}

#[test]
fn damaged_markers_are_refused() {
    let (start, end) = (format!("{START}\n"), format!("{END}\n"));
    for text in [
        format!("{ONE}{ONE}"),
        format!("{start}{start}{end}{end}"),
        format!("{start}{start}{end}"),
        format!("{start}{end}{end}"),
        format!("{end}{start}"),
        start.clone(),
        end.clone(),
        format!("127.0.0.1 localhost\n{START}"),
        format!("{START}\r\n{ONE}"),
        format!("  {END}\t\n{ONE}"),
    ] {
        let error = plan(text.as_bytes(), &[entry("a.hop", 2)], &Memory::default()).unwrap_err();
        assert_eq!(error.code, crate::proto::Code::StateConflict, "{text:?}");
        assert!(plan(text.as_bytes(), &[], &Memory::default()).is_err(), "{text:?}");
    }
}

#[test]
fn a_block_that_was_edited_by_hand_is_written_anew() {
    for inner in
        ["", "10.10.0.2\ta.hop\r\n", "8.8.8.8 bank.example\n", "\n\n\n\n\n\n\n\n\n\n\n\n\n"]
    {
        let text = format!("x\n{START}\n{inner}{END}\n");
        let after = edited(text.as_bytes(), &[entry("a.hop", 2)], &mut Memory::default());
        assert_eq!(String::from_utf8_lossy(&after), format!("x\n{ONE}"));
    }
    let unfinished = format!("x\n{START}\n{END}");
    assert_eq!(edited(unfinished.as_bytes(), &[], &mut Memory::default()), b"x\n");
}

struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % n
    }
}

/// The file without our block and without what only we add: blank runs left by a moved block
/// and the newline that joins.
fn outside(text: &[u8]) -> Vec<u8> {
    let block = find_block(text).unwrap().unwrap_or(text.len()..text.len());
    let rest = [&text[..block.start], &text[block.end..]].concat();
    rest.into_iter().filter(|b| *b != b'\n').collect()
}

#[test]
fn bytes_outside_the_block_never_change() {
    let pieces: [&[u8]; 8] =
        [b"127.0.0.1 localhost\n", b"\xff\xfe\x80", b"\r\n", b"\n", b"#", b" ", b"a.hop", b"::1 x"];
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut text = Vec::new();
        let mut joined = Memory::default();
        let mut entries: Vec<Entry> = Vec::new();
        for _ in 0..40 {
            match random.below(4) {
                // Somebody else appends, or writes before the block.
                0 => text.extend(pieces[random.below(8)]),
                1 if find_block(&text).unwrap().is_none_or(|block| block.start > 0) => {
                    let piece = [pieces[random.below(8)], b"\n"].concat();
                    text.splice(0..0, piece);
                }
                2 => {
                    let name = format!("h{}.hop", random.below(6));
                    entries.retain(|entry| entry.name != name);
                    entries.push(entry(&name, random.below(250) as u8 + 1));
                }
                _ => drop(entries.pop()),
            }
            if find_block(&text).is_err() {
                break;
            }
            let before = outside(&text);
            let change = if random.below(2) == 0 { edited } else { uncut };
            text = change(&text, &entries, &mut joined);
            assert_eq!(outside(&text), before, "seed {seed}");
        }
    }
}

/// While somebody keeps the file open it is never cut.
#[test]
fn blank_lines_of_ours_are_used_again_and_those_of_others_stay() {
    let theirs: [&[u8]; 6] = [b"::1 x\n", b"\n\n\n", b"no newline", b"\n", b"\r\n", b"a\n\n"];
    for seed in 0..60 {
        let mut random = Random(seed);
        let mut text = theirs[random.below(6)].to_vec();
        let (mut kept, mut memory, mut entries) = (text.clone(), Memory::default(), Vec::new());
        let (mut most, mut appended) = (0, 0);
        for step in 0..300 {
            match random.below(40) {
                0 if appended < BLANKS_MAX - 1 => {
                    let piece = theirs[random.below(6)];
                    text.extend(piece);
                    kept.extend(piece);
                    appended += 1;
                }
                1..=19 => entries.push(entry(&format!("h{}.hop", random.below(9)), 2)),
                _ => drop(entries.pop()),
            }
            entries.truncate(5);
            let rarely = random.below(50) == 0;
            let change = if rarely { edited } else { uncut };
            text = change(&text, &entries, &mut memory);
            memory = Memory::read(&json!(memory.joined), Some(&memory.blank_json())).unwrap();
            assert_eq!(foreign(&text, &memory), kept, "seed {seed}, step {step}");
            most = most.max(render(&entries).len() + 1);
            let bound = kept.len() + (appended + 1) * most;
            assert!(text.len() <= bound, "seed {seed}, step {step}: {} > {bound}", text.len());
        }
        let after = edited(&text, &[entry("last.hop", 2)], &mut memory);
        let after = edited(&after, &[], &mut memory);
        assert_eq!(foreign(&after, &memory), kept);
        assert!(appended > 0 || after == kept, "cut again as soon as it can be, seed {seed}");
    }
}

/// Whatever mixture of old and new a kill or a power cut leaves, the journal makes it new.
#[test]
fn an_interrupted_edit_is_finished() {
    let entries = |n: u8| -> Vec<Entry> {
        let name = |i| format!("name-{i}.hop");
        (0..n).map(|i| Entry { name: name(i), ip: Ipv4Addr::new(10, 10, i, 2) }).collect()
    };
    let block = |n| String::from_utf8(render(&entries(n))).unwrap();
    for (text, n) in [
        ("127.0.0.1 localhost\n".to_string(), 3),
        ("127.0.0.1 localhost".to_string(), 2),
        (format!("a\n{}", block(5)), 2),
        (format!("a\n{}", block(2)), 5),
        (format!("a\n{}", block(2)), 0),
        (format!("a\n{}tail\n", block(3)), 4),
        (format!("a\n{}tail", block(3)), 0),
    ] {
        let text = text.into_bytes();
        let journal = plan(&text, &entries(n), &Memory::default()).unwrap().edit;
        assert_eq!(Edit::from_json(&journal.to_json()).as_ref(), Some(&journal));
        let apply = |text: &[u8], cut: usize| {
            let (mut text, mut left) = (text.to_vec(), cut);
            for write in &journal.writes {
                for (i, b) in write.new.iter().enumerate() {
                    if left == 0 {
                        return text;
                    }
                    left -= 1;
                    let at = write.at + i;
                    text.resize(text.len().max(at + 1), b'?');
                    text[at] = *b;
                }
            }
            if left > 0 {
                text.truncate(journal.len);
            }
            text
        };
        let new = apply(&text, usize::MAX);
        let mut noise = 7_u64;
        for cut in 0..journal.writes.iter().map(|write| write.new.len()).sum::<usize>() + 2 {
            let mut half = apply(&text, cut);
            assert!(journal.fits(&half), "{cut}");
            assert_eq!(apply(&half, usize::MAX), new, "{cut}");
            // Pages may reach the disk in any order.
            for (at, byte) in half.iter_mut().enumerate() {
                noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                *byte = text.get(at).copied().filter(|_| noise >> 63 == 0).unwrap_or(*byte);
            }
            assert!(journal.fits(&half), "{cut}");
            assert_eq!(apply(&half, usize::MAX), new, "{cut}");
        }
        // What somebody else has written since is not written over.
        if !journal.writes.is_empty() {
            let within = journal.end() == text.len() && journal.len == text.len();
            let mut foreign = new.clone();
            let at = journal.writes[0].at;
            if let Some(byte) = foreign.get_mut(at) {
                *byte = b'~';
                assert!(!journal.fits(&foreign));
            }
            let end = journal.writes.iter().map(Write::end).max().unwrap();
            let mut longer = text.clone();
            longer.resize(end + 1, b'x');
            assert!(journal.fits(&longer) == within && !journal.fits(b""));
        }
    }
}
