use std::convert::Infallible;

use super::*;

/// What goes on, and what was found, with the whole of it.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    other: Vec<u8>,
    found: Vec<(String, Vec<u8>)>,
}

fn heard(pieces: &[&[u8]]) -> Heard {
    let (mut sieve, mut heard) = (Osc52::default(), Heard::default());
    let mut say = |said: Said<'_>| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match said {
            Said::Other(bytes) => heard.other.extend_from_slice(bytes),
            Said::Copies { base64, whole } => heard.found.push((text(base64), whole.to_vec())),
            Said::Asks { whole } => heard.found.push(("?".to_owned(), whole.to_vec())),
            Said::TooMuch => heard.found.push(("much".to_owned(), Vec::new())),
        }
        Ok::<(), Infallible>(())
    };
    pieces.iter().for_each(|piece| sieve.hear(piece, &mut say).unwrap());
    sieve.end(&mut say).unwrap();
    heard
}

/// Whole, by single bytes, and cut in two anywhere: it is the same.
fn everywhere(bytes: &[u8]) -> Heard {
    let whole = heard(&[bytes]);
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(heard(&single), whole, "{bytes:?} by single bytes");
    for at in 0..bytes.len() {
        let (a, b) = bytes.split_at(at);
        assert_eq!(heard(&[a, b]), whole, "{bytes:?} cut at {at}");
    }
    whole
}

const ONE: &[u8] = b"\x1b]52;c;aGk=\x07";

#[test]
fn what_programs_write_is_found() {
    for (written, who) in [
        (&b"\x1b]52;c;aGk=\x07"[..], "vim, neovim, most"),
        (b"\x1b]52;c;aGk=\x1b\\", "neovim's own"),
        (b"\x1b]52;;aGk=\x07", "tmux, by Ms of terminfo"),
        (b"\x1b]52;pc;aGk=\x9c", "C1 ST"),
        (b"\xc2\x9d52;c;aGk=\xc2\x9c", "C1, in UTF-8"),
        (b"\x9d52;c;aGk=\x07", "C1"),
        (b"\x1b\0]\x0052\x00;c;aG\r\nk=\x07", "control characters between"),
        (b"\x1b]00052;c;aGk=\x07", "zeros in front"),
    ] {
        let found = everywhere(&[b"a", written, b"b"].concat());
        assert_eq!(found.other, b"ab", "{who}");
        let texts: Vec<&str> = found.found.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts, ["aGk="], "{who}");
    }
    assert_eq!(everywhere(ONE).found, [("aGk=".to_owned(), ONE.to_vec())]);
}

#[test]
fn what_is_wrapped_is_found_and_its_wrapping_stays_whole() {
    let tmux = everywhere(b"\x1bPtmux;\x1b\x1b]52;c;aGk=\x07\x1b\\after");
    assert_eq!(tmux.other, b"\x1bPtmux;\x1b\\after");
    assert_eq!(tmux.found, [("aGk=".to_owned(), b"\x1b\x1b]52;c;aGk=\x07".to_vec())]);
    let st = everywhere(b"\x1bPtmux;\x1b\x1b]52;c;?\x1b\x1b\\\x1b\\after");
    assert_eq!((st.other.as_slice(), st.found.len()), (&b"\x1bPtmux;\x1b\\after"[..], 1));
    let screen = everywhere(b"\x1bP\x1b]52;c;aG\x1b\\\x1bPk=\x07\x1b\\after");
    assert_eq!(screen.other, b"\x1bP\x1b\\after");
    assert_eq!(screen.found[0].0, "aGk=");
    let open = everywhere(b"\x1bP\x1b]52;c;aGk=\x1b\\\x1b[mafter");
    assert_eq!(open.other, b"\x1bP\x1b\\\x1b[mafter");
    assert_eq!(open.found[0].0, "aGk=");
}

#[test]
fn what_asks_is_found_however_it_is_hidden() {
    for hidden in [
        &b"\x1b]52;c;?\x07"[..],
        b"\x1b]52;;?\x1b\\",
        b"\x1b]0\x1b]52;c;?\x07",
        b"\x1b]8;;http://x\x1b]52;c;?\x07",
        b"\x1b]5\x1b]52;c;?\x07",
        b"\x1b\x1b\x1b\x1b]52;c;?\x07",
        b"\xc2\xc2\x9d52;c;?\x07",
        b"\xe2\x82\x1b]52;c;?\x07",
        b"\x1b\x07]52;c;?\x07",
        b"\x1b]52;c;\x1b]52;c;?\x07",
        b"\x1b]52;c;AAAA\x1b\x1b]52;c;?\x07",
        b"\x1b]52;0123456789;?;\x07",
        b"\x1b]52;c;?\x00\x07",
        b"\xc2\x9d\xc2\x9d52;c;?\x07",
    ] {
        let found = everywhere(hidden);
        assert_eq!(found.found.len(), 1, "{:?}", String::from_utf8_lossy(hidden));
        assert_eq!(found.found[0].0, "?");
        assert!(!found.other.windows(3).any(|three| three == b"52;"), "{:?}", found.other);
    }
    // More between than is held back.
    for between in [&b"\0"[..], b"\x1b", b"\x7f"] {
        let found = heard(&[b"\x1b", &between.repeat(1000), b"]52;c;?\x07"]);
        assert_eq!(found.found.len(), 1, "{between:?}");
    }
    assert_eq!(heard(&[b"\x1b]", &b"0".repeat(1000), b"52;c;?\x07"]).found.len(), 1);
    assert_eq!(heard(&[b"\x1b]52", &b"\0".repeat(1000), b";c;?\x07"]).found.len(), 1);
}

#[test]
fn everything_else_goes_on_byte_for_byte() {
    for other in [
        &b"plain \x1b[31mred\x1b[0m \x1b]0;title\x07 \x1b]8;;x\x1b\\y\x1b]8;;\x1b\\"[..],
        b"\x1b]521;c;aGk=\x07\x1b]5;2\x07\x1b]5\x1b]152;c;x\x07",
        "\u{201d}52;c;x \u{dd}52; \u{2764}\u{fe0f} \u{10ffff} \u{c2}\u{a9}".as_bytes(),
        b"\xff\xfe\x80\xc2",
        b"\x1bP+q544e\x1b\\\x1b_Gi=1;AAAA\x1b\\\x1bPq#0\x1b\\",
        b"\x1b",
        b"\x1b]52",
        b"\x1b\x18\x1b\x1a\x1b]\x18",
    ] {
        let found = everywhere(other);
        assert_eq!(found.other, other, "{:?}", String::from_utf8_lossy(other));
        assert!(found.found.is_empty());
    }
}

#[test]
fn what_has_no_end_or_no_sense_changes_nothing_and_costs_no_more_than_its_bound() {
    for nothing in [
        &b"\x1b]52;c;\x07"[..],
        b"\x1b]52;\x07",
        b"\x1b]52;c;aGk=\x18",
        b"\x1b]52;c;aGk=",
        b"\x1b]52;c;aGk=\x1b",
    ] {
        assert_eq!(everywhere(nothing), Heard::default(), "{nothing:?}");
    }
    let cut = everywhere(b"\x1b]52;c;aGk=\x1b[31mred");
    assert_eq!((cut.other.as_slice(), cut.found.len()), (&b"\x1b[31mred"[..], 0));
    let (mut sieve, mut count) = (Osc52::default(), 0);
    let mut say = |said: Said<'_>| {
        count += usize::from(said == Said::TooMuch);
        Ok::<(), Infallible>(())
    };
    sieve.hear(b"\x1b]52;c;", &mut say).unwrap();
    for _ in 0..100 {
        sieve.hear(&[b'A'; 64 * 1024], &mut say).unwrap();
    }
    assert!(sieve.text.capacity() <= 2 * MOST && sieve.held.len() <= HELD);
    sieve.hear(b"\x07", &mut say).unwrap();
    assert_eq!((count, sieve.text.capacity()), (1, 0));
    let most = [b"\x1b]52;c;", &b"A".repeat(MOST - 64)[..], b"\x07"].concat();
    assert_eq!(heard(&[&most]).found[0].0.len(), MOST - 64);
}
