use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::log::{Half, Log};
use super::super::spec::LogBounds;
use super::*;

const SMALL: LogBounds = LogBounds { bytes: 4 * 1024, files: 2 };

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hopbox-reader-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    dir
}

fn say(log: &mut Log, numbers: std::ops::Range<u32>) {
    let mut half = Half::default();
    for number in numbers {
        log.hear(Voice::Out, &mut half, format!("line {number}\n").as_bytes());
    }
}

/// The numbers of the lines that are there now; -1 for a gap.
fn read(reader: &mut Reader) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        match reader.next_line().unwrap() {
            Next::Line(line) => {
                let text = String::from_utf8(line.text).unwrap();
                all.push(text.strip_prefix("line ").unwrap().parse().unwrap());
            }
            Next::Skipped => all.push(-1),
            Next::End => return all,
        }
    }
}

#[test]
fn the_last_lines_are_found_through_all_files_and_what_follows_comes_once() {
    let dir = scratch("last");
    assert!(read(&mut Reader::open(&dir, Start::Last(3))).is_empty());
    let mut early = Reader::open(&dir, Start::Oldest);
    let mut log = Log::open(&dir, SMALL, 0).unwrap();
    say(&mut log, 0..1);
    assert_eq!(read(&mut early), [0], "it was there before the log was");
    say(&mut log, 1..300);
    let all = read(&mut Reader::open(&dir, Start::Oldest));
    assert_eq!((all.last(), all.len() as i64), (Some(&299), 300 - all[0]));
    assert!(all.len() > 200 && dir.join("log.1").exists(), "more than one file");
    for last in [0, 1, 7, 150, all.len() as u32, 100_000] {
        let mut reader = Reader::open(&dir, Start::Last(last));
        let expected = &all[all.len().saturating_sub(last as usize)..];
        assert_eq!(read(&mut reader), expected, "{last}");
        assert!(read(&mut reader).is_empty());
    }
    let mut reader = Reader::open(&dir, Start::Last(0));
    for from in (300..1200).step_by(100) {
        say(&mut log, from..from + 100);
        let expected: Vec<i64> = (from..from + 100).map(i64::from).collect();
        assert_eq!(read(&mut reader), expected, "through a rotation");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn what_is_gone_before_it_was_read_is_told_and_the_open_file_is_read_whole() {
    let dir = scratch("gap");
    let mut log = Log::open(&dir, SMALL, 0).unwrap();
    say(&mut log, 0..10);
    let mut slow = Reader::open(&dir, Start::Oldest);
    assert!(matches!(slow.next_line().unwrap(), Next::Line(_)));
    say(&mut log, 10..2000);
    let all = read(&mut slow);
    let gap = all.iter().position(|number| *number == -1).unwrap();
    let (held, kept) = (&all[..gap], &all[gap + 1..]);
    assert!(held.len() > 100 && held.iter().zip(1..).all(|(number, n)| *number == n), "{held:?}");
    assert!(kept.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{kept:?}");
    assert_eq!(kept.last(), Some(&1999));
    fs::remove_dir_all(dir).unwrap();
}

/// One that reads while another writes as fast as it can: no line twice, none missing but where
/// that is told.
#[test]
fn a_reader_beside_a_writer_sees_each_line_once() {
    let dir = scratch("race");
    let mut log = Log::open(&dir, SMALL, 0).unwrap();
    let (mut reader, is_over) = (Reader::open(&dir, Start::Oldest), AtomicBool::new(false));
    const LINES: u32 = 20_000;
    std::thread::scope(|scope| {
        let is_over = &is_over;
        scope.spawn(move || {
            for number in 0..LINES {
                say(&mut log, number..number + 1);
                if number % 50 == 0 {
                    std::thread::yield_now();
                }
            }
            is_over.store(true, Ordering::SeqCst);
        });
        let mut expected = 0;
        let mut seen = 0;
        while expected < i64::from(LINES) {
            let ended = is_over.load(Ordering::SeqCst);
            let mut is_gap = false;
            let lines = read(&mut reader);
            assert!(!ended || !lines.is_empty(), "the last is {expected}");
            for number in lines {
                match number {
                    -1 => is_gap = true,
                    number => {
                        assert!(number == expected || (is_gap && number > expected), "{number}");
                        (expected, is_gap, seen) = (number + 1, false, seen + 1);
                    }
                }
            }
        }
        assert!(seen > 100, "{seen}");
    });
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_moment_is_found_in_the_file_that_has_it() {
    let dir = scratch("moment");
    let put = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    put("log.2", "1 o line 1\n3 o line 3\n");
    put("log.1", "3 o line 4\n5 o line 5\n");
    put(LOG, "7 o line 7\n");
    for (time, first) in [(0, 1), (1, 1), (2, 1), (3, 1), (4, 4), (7, 4), (8, 7), (9, 7)] {
        let all = read(&mut Reader::open(&dir, Start::Time(time)));
        assert_eq!((all[0], *all.last().unwrap()), (first, 7), "{time}");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn half_lines_wait_and_what_is_no_line_is_nothing() {
    let dir = scratch("half");
    let mut file = File::create(dir.join(LOG)).unwrap();
    let mut reader = Reader::open(&dir, Start::Oldest);
    file.write_all(b"7 o ab").unwrap();
    assert_eq!(reader.next_line().unwrap(), Next::End);
    file.write_all(b"c\n\nx o y\n8 q z\n8\n9 e+ \xff \x1b[2J\n").unwrap();
    let line = |unix_ms, voice, more, text: &[u8]| {
        Next::Line(Line { unix_ms, voice, more, text: text.to_vec() })
    };
    assert_eq!(reader.next_line().unwrap(), line(7, Voice::Out, false, b"abc"));
    assert_eq!(reader.next_line().unwrap(), line(9, Voice::Err, true, b"\xff \x1b[2J"));
    // Torn by the end of a keeper, whose next one begins another file.
    file.write_all(b"10 k torn").unwrap();
    assert_eq!(reader.next_line().unwrap(), Next::End);
    fs::rename(dir.join(LOG), dir.join("log.1")).unwrap();
    fs::write(dir.join(LOG), b"11 o new\n").unwrap();
    assert_eq!(reader.next_line().unwrap(), line(10, Voice::Keeper, false, b"torn"));
    assert_eq!(reader.next_line().unwrap(), line(11, Voice::Out, false, b"new"));
    assert_eq!(reader.next_line().unwrap(), Next::End);
    // Without an end of a line it takes no more memory than one.
    file = OpenOptions::new().append(true).open(dir.join(LOG)).unwrap();
    file.write_all(&vec![b'x'; 1 << 20]).unwrap();
    assert_eq!(reader.next_line().unwrap(), Next::End);
    assert!(reader.bytes.len() <= 2 * PIECE, "{}", reader.bytes.len());
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn a_long_line_counts_as_one() {
    let dir = scratch("long");
    let mut log = Log::open(&dir, LogBounds { bytes: 1 << 20, files: 2 }, 0).unwrap();
    say(&mut log, 0..3);
    let (mut half, mut other) = (Half::default(), Half::default());
    log.hear(Voice::Out, &mut half, &[b'x'; 3 * LINE_BYTES]);
    log.hear(Voice::Err, &mut other, b"between\n");
    log.hear(Voice::Out, &mut half, b"end\n");
    log.hear(Voice::Out, &mut half, b"last\n");
    let seen = |last| {
        let mut reader = Reader::open(&dir, Start::Last(last));
        let mut lengths = Vec::new();
        while let Next::Line(line) = reader.next_line().unwrap() {
            lengths.push(line.text.len());
        }
        lengths
    };
    assert!(seen(0).is_empty());
    assert_eq!(seen(1), [4]);
    assert_eq!(seen(2), [3, 4]);
    assert_eq!(seen(3), [LINE_BYTES, LINE_BYTES, LINE_BYTES, 7, 3, 4]);
    assert_eq!(seen(4), [6, LINE_BYTES, LINE_BYTES, LINE_BYTES, 7, 3, 4]);
    assert_eq!(seen(100).len(), 9);
    fs::remove_dir_all(dir).unwrap();
}
