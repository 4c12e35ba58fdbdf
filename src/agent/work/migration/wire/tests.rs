use super::*;
use std::io::Cursor;

fn said() -> Vec<Said> {
    let mark = Some(Mark { ino: 7, changed: (-3, 999_999_999), bytes: u64::MAX });
    let all = vec![(CString::new("user.a").unwrap(), vec![0, 255])];
    let attributes = Attributes { mode: 0o4751, uid: 1, gid: 2, changed: (i64::MIN, 0), all };
    let entry = |depth: u16, name: &[u8], what: What| {
        let (name, attributes) = (name.to_vec(), attributes.clone());
        Said::Entry(Box::new(Entry { depth, name, what, attributes }))
    };
    vec![
        Said::Hello { version: VERSION, is_root: true },
        Said::Place("~/data".to_owned()),
        entry(0, b"", What::Dir),
        entry(1, b"a\n\xff", What::File { bytes: 5, mark, number: Some(3) }),
        entry(256, &[b'x'; 255], What::File { bytes: 0, mark: None, number: None }),
        entry(2, b"l", What::Symlink { to: b"/\xfe".to_vec(), number: None }),
        entry(2, b"p", What::Fifo { number: Some(9) }),
        entry(2, b"s", What::Same { number: 9 }),
        Said::Data { offset: 1 << 40, bytes: vec![1; 300] },
        Said::Zero { offset: 0, bytes: 131_072 },
        Said::Digests { first: 64, all: vec![[9; 32]; BLOCKS] },
        Said::End { is_whole: false },
        Said::Finished,
        Said::Failed("so".to_owned()),
        Said::Beat,
    ]
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Welcome { version: 1, is_root: false },
        Answer::Have,
        Answer::Whole,
        Answer::Blocks,
        Answer::Wanted(u64::MAX),
        Answer::Finished,
        Answer::Failed("so".to_owned()),
        Answer::Beat,
    ]
}

/// A byte at a time.
struct Single<R>(R);

impl<R: Read> Read for Single<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let one = into.len().min(1);
        self.0.read(&mut into[..one])
    }
}

fn bytes(said: &Said) -> Vec<u8> {
    let mut bytes = Vec::new();
    said.put(&mut bytes).unwrap();
    bytes
}

#[test]
fn what_is_said_is_heard_also_byte_by_byte() {
    let mut all = Vec::new();
    said().iter().for_each(|said| said.put(&mut all).unwrap());
    let mut from = Single(Cursor::new(all));
    said().iter().for_each(|said| assert_eq!(&Said::read(&mut from).unwrap(), said));
    let mut all = Vec::new();
    answers().iter().for_each(|answer| answer.put(&mut all).unwrap());
    let mut from = Single(Cursor::new(all));
    answers().iter().for_each(|answer| assert_eq!(&Answer::read(&mut from).unwrap(), answer));
    // The bytes themselves, which an agent of another version has to know.
    assert_eq!(bytes(&Said::End { is_whole: true }), [7, 0, 0, 0, 1, 1]);
    let zero = [5, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2];
    assert_eq!(bytes(&Said::Zero { offset: 1, bytes: 2 }), zero);
    assert_eq!(bytes(&Said::Place("~".to_owned())), [2, 0, 0, 0, 5, 0, 0, 0, 1, b'~']);
}

/// Cut anywhere, with any byte another one, and longer than it says: an error or something else,
/// and nothing is reserved that a frame may not have.
#[test]
fn nonsense_is_no_more_than_an_error() {
    for said in said() {
        let whole = bytes(&said);
        for cut in 0..whole.len() {
            assert!(Said::read(&mut &whole[..cut]).is_err());
        }
        for at in 0..whole.len() {
            for flip in [1, 0x80, 0xff] {
                let mut broken = whole.clone();
                broken[at] ^= flip;
                let _ = Said::read(&mut broken.as_slice());
                let _ = Answer::read(&mut broken.as_slice());
            }
        }
    }
    for kind in 0..=255 {
        assert!(Said::read(&mut [kind, 255, 255, 255, 255].as_slice()).is_err());
        let mut long = vec![kind, 0, 0, 0, 9];
        long.extend([255; 9]);
        let _ = (Said::read(&mut long.as_slice()), Answer::read(&mut long.as_slice()));
    }
    // More than there should be.
    assert!(Answer::read(&mut [2, 0, 0, 0, 1, 0].as_slice()).is_err());
}

#[test]
fn no_name_leads_anywhere() {
    let entry = |depth: u16, name: &[u8], all: Vec<(CString, Vec<u8>)>, mode: u32| {
        let attributes = Attributes { mode, all, ..Attributes::default() };
        let what = What::Dir;
        let entry = Entry { depth, name: name.to_vec(), what, attributes };
        Said::read(&mut bytes(&Said::Entry(Box::new(entry))).as_slice())
    };
    for name in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0", b".hopbox-snap", &[b'x'; 256]] {
        assert!(entry(1, name, Vec::new(), 0).is_err(), "{name:?}");
    }
    assert!(entry(1, b"...", Vec::new(), 0).is_ok());
    assert!(entry(0, b"x", Vec::new(), 0).is_err());
    assert!(entry(257, b"x", Vec::new(), 0).is_err());
    assert!(entry(1, b"x", Vec::new(), 0o10000).is_err());
    for name in ["security.capability", "trusted.x", "system.posix", "user"] {
        let all = vec![(CString::new(name).unwrap(), vec![1])];
        assert!(entry(1, b"x", all, 0).is_err(), "{name}");
    }
}
