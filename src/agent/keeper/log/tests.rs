use super::*;

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hopbox-log-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir(&dir).unwrap();
    dir
}

/// Each line without its time.
fn lines(path: &Path) -> Vec<Vec<u8>> {
    let bytes = fs::read(path).unwrap();
    assert!(bytes.is_empty() || bytes.ends_with(b"\n"));
    let whole = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    whole.map(|line| line.splitn(2, |byte| *byte == b' ').nth(1).unwrap().to_vec()).collect()
}

/// What a stream said, put together again from all files.
fn said(dir: &Path, voice: Voice) -> Vec<u8> {
    let mut all = Vec::new();
    let files = (0..1000).rev().map(|n| older(&dir.join(LOG), n)).filter(|path| path.exists());
    for line in files.flat_map(|path| lines(&path)) {
        let (head, text) = line.split_at(line.iter().position(|byte| *byte == b' ').unwrap());
        if head[0] == voice.letter() as u8 {
            all.extend_from_slice(&text[1..]);
            if head.get(1) != Some(&b'+') {
                all.push(b'\n');
            }
        }
    }
    all
}

const SMALL: LogBounds = LogBounds { bytes: 16 * 1024, files: 3 };

#[test]
fn whatever_is_said_is_kept_byte_for_byte() {
    let dir = scratch("bytes");
    let roomy = LogBounds { bytes: 1 << 30, files: 3 };
    let mut log = Log::open(&dir, roomy, 0).unwrap();
    let mut text = b"plain\n\nno text: \xff\xfe\x00\x1b[2J\r\n o fake\n".to_vec();
    text.extend(vec![b'x'; 3 * LINE_BYTES]);
    text.extend(b"\nexactly: ");
    text.extend(vec![b'y'; LINE_BYTES - 9]);
    text.extend(b"\nlast\n");
    for size in [1, 7, 4096, LINE_BYTES, text.len()] {
        let mut half = Half::default();
        text.chunks(size).for_each(|piece| log.hear(Voice::Out, &mut half, piece));
        assert!(Log::is_due(&half).is_none());
    }
    assert_eq!(said(&dir, Voice::Out), text.repeat(5));
    let longest = lines(&dir.join(LOG)).iter().map(Vec::len).max().unwrap();
    assert!(longest <= LINE_BYTES + 3, "{longest}");
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn half_a_line_is_written_when_nothing_follows_and_the_streams_stay_apart() {
    let dir = scratch("half");
    let mut log = Log::open(&dir, SMALL, 0).unwrap();
    let (mut out, mut err) = (Half::default(), Half::default());
    log.hear(Voice::Out, &mut out, b"name? ");
    log.hear(Voice::Err, &mut err, b"warn");
    assert_eq!(lines(&dir.join(LOG)).len(), 0);
    assert!(Log::is_due(&out).is_some());
    log.pause(Voice::Out, &mut out, false);
    log.pause(Voice::Out, &mut out, false);
    log.hear(Voice::Out, &mut out, b"bob\n");
    log.pause(Voice::Err, &mut err, true);
    let text = ["o+ name? ", "o bob", "e warn"].map(|line| line.as_bytes().to_vec());
    assert_eq!(lines(&dir.join(LOG)), text);
    // Torn by the end of a keeper: the next begins a line of its own.
    (&log.file).write_all(b"1 o to").unwrap();
    let mut log = Log::open(&dir, SMALL, 0).unwrap();
    log.note("again");
    let last = lines(&dir.join(LOG));
    assert_eq!(&last[3..], [b"o to".to_vec(), b"k again".to_vec()]);
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn files_have_a_bound_and_no_line_falls_between_them() {
    let dir = scratch("rotate");
    let mut log = Log::open(&dir, SMALL, 0).unwrap();
    let mut half = Half::default();
    let mut n = 0;
    let mut first = 0;
    for _ in 0..100 {
        let mut text = Vec::new();
        for _ in 0..50 {
            let _ = writeln!(text, "line {n}");
            n += 1;
        }
        log.hear(Voice::Out, &mut half, &text);
        let all = said(&dir, Voice::Out);
        let all = String::from_utf8(all).unwrap();
        let seen: Vec<u32> = all.lines().map(|line| line[5..].parse().unwrap()).collect();
        assert_eq!((seen.last(), seen.len() as u32), (Some(&(n - 1)), n - seen[0]), "a gap");
        first = seen[0];
    }
    assert!(first > 0, "it never rotated");
    let sizes: Vec<u64> =
        fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).collect();
    assert_eq!(sizes.len(), 4);
    assert!(sizes.iter().all(|size| *size <= SMALL.bytes), "{sizes:?}");
    fs::remove_dir_all(dir).unwrap();
}
