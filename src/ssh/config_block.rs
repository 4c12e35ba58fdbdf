//! Our block of lines at the head of an ssh_config(5) text. Pure: bytes in, bytes out.
//!
//! ssh takes the first value it finds for an option, so the block stands first, where no `Host *`
//! shadows it. It ends with a `Host *` of its own: without it, options that stood before the first
//! `Host` of the file would from then on belong to the last host of ours. Bytes outside the block
//! are never changed; markers that are not one clear pair are refused.

use std::fmt;
use std::ops::Range;

pub const BEGIN: &str = "# --- hopbox managed ---";
pub const END: &str = "# --- end hopbox ---";
/// First line of a block in a file that was made for it, so that both can go together.
const MADE: &str = "# this file was made for it";

/// One host of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// The name that is typed, such as `mybox.hop`.
    pub name: String,
    /// Options without indentation.
    pub options: Vec<String>,
}

/// Markers that are not one begin and, after it, one end. Holds their line numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub begins: Vec<usize>,
    pub ends: Vec<usize>,
}

impl fmt::Display for Damaged {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = |numbers: &[usize]| match numbers {
            [] => "on no line".to_owned(),
            [one] => format!("on line {one}"),
            several => {
                let several: Vec<String> = several.iter().map(usize::to_string).collect();
                format!("on lines {}", several.join(", "))
            }
        };
        let (begins, ends) = (lines(&self.begins), lines(&self.ends));
        write!(
            out,
            "\"{BEGIN}\" is {begins} and \"{END}\" {ends}; there must be one pair, in order"
        )
    }
}

/// What a text holds of ours.
struct Found {
    /// The block with the end of its last line.
    at: Range<usize>,
    stanzas: Vec<Stanza>,
    made: bool,
}

/// The text with `stanza` in the block, instead of the one of that name if there is one. `made`:
/// there was no file, so the block says that it can go with the block.
pub fn with(text: &[u8], stanza: &Stanza, made: bool) -> Result<Vec<u8>, Damaged> {
    let found = find(text)?;
    let (mut stanzas, made) = (found.stanzas, made || found.made);
    stanzas.retain(|old| old.name != stanza.name);
    stanzas.push(stanza.clone());
    stanzas.sort_by(|a, b| a.name.cmp(&b.name));
    Ok([render(&stanzas, made).as_bytes(), &text[..found.at.start], &text[found.at.end..]].concat())
}

/// Whether the block has a stanza of this name.
pub fn has(text: &[u8], name: &str) -> Result<bool, Damaged> {
    Ok(find(text)?.stanzas.iter().any(|stanza| stanza.name == name))
}

/// The text without the stanza `name`, or without any block. `None`: nothing is left of a file
/// that was made for the block.
pub fn without(text: &[u8], name: Option<&str>) -> Result<Option<Vec<u8>>, Damaged> {
    let mut found = find(text)?;
    found.stanzas.retain(|stanza| name.is_some_and(|name| stanza.name != name));
    let (before, after) = (&text[..found.at.start], &text[found.at.end..]);
    if !found.stanzas.is_empty() {
        let block = render(&found.stanzas, found.made);
        return Ok(Some([before, block.as_bytes(), after].concat()));
    }
    let rest = [before, after].concat();
    Ok(if rest.is_empty() && found.made { None } else { Some(rest) })
}

fn render(stanzas: &[Stanza], made: bool) -> String {
    let mut block = format!("{BEGIN}\n");
    if made {
        block += &format!("{MADE}\n");
    }
    for Stanza { name, options } in stanzas {
        block += &format!("Host {name}\n");
        options.iter().for_each(|option| block += &format!("  {option}\n"));
    }
    block + &format!("Host *\n{END}\n")
}

/// Finds the block; an empty place at the beginning where there is none.
fn find(text: &[u8]) -> Result<Found, Damaged> {
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    let mut at = 0..0;
    let mut offset = 0;
    for (place, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let end = offset + line.len();
        // As ssh reads it: blanks around a line, and the CR of another system, mean nothing.
        let bare = line.trim_ascii();
        if bare == BEGIN.as_bytes() {
            begins.push(place + 1);
            at.start = offset;
        } else if bare == END.as_bytes() {
            ends.push(place + 1);
            at.end = end;
        }
        offset = end;
    }
    match (&begins[..], &ends[..]) {
        ([], []) => Ok(Found { at: 0..0, stanzas: Vec::new(), made: false }),
        ([begin], [end]) if begin < end => {
            let inner = String::from_utf8_lossy(&text[at.clone()]).into_owned();
            let made = inner.lines().any(|line| line.trim() == MADE);
            Ok(Found { at, stanzas: stanzas(&inner), made })
        }
        _ => Err(Damaged { begins, ends }),
    }
}

/// The hosts of a block, without its last `Host *`.
fn stanzas(block: &str) -> Vec<Stanza> {
    let mut found: Vec<Stanza> = Vec::new();
    for line in block.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
        match line.strip_prefix("Host ") {
            Some(name) => {
                found.push(Stanza { name: name.trim().to_owned(), options: Vec::new() });
            }
            None => found.last_mut().into_iter().for_each(|last| last.options.push(line.into())),
        }
    }
    found.retain(|stanza| stanza.name != "*");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stanza(name: &str, user: &str) -> Stanza {
        Stanza { name: name.to_owned(), options: vec![format!("User {user}")] }
    }

    #[test]
    fn the_block_stands_first_and_ends_open_for_the_rest() {
        let text = with(b"Compression yes\n", &stanza("b.hop", "x"), false).unwrap();
        let text = with(&text, &stanza("a.hop", "y"), false).unwrap();
        let expected = "# --- hopbox managed ---\nHost a.hop\n  User y\nHost b.hop\n  User x\n\
                        Host *\n# --- end hopbox ---\nCompression yes\n";
        assert_eq!(String::from_utf8(text.clone()).unwrap(), expected);
        assert!(has(&text, "a.hop").unwrap() && !has(&text, "c.hop").unwrap());
        let one = without(&text, Some("a.hop")).unwrap().unwrap();
        assert!(!has(&one, "a.hop").unwrap() && has(&one, "b.hop").unwrap());
        assert_eq!(without(&one, Some("b.hop")).unwrap().unwrap(), b"Compression yes\n");
        assert_eq!(without(&text, None).unwrap().unwrap(), b"Compression yes\n");
    }

    #[test]
    fn a_block_that_was_moved_comes_back_to_the_top() {
        let block = with(b"", &stanza("a.hop", "x"), false).unwrap();
        let moved = [b"Host *\n User root\n", &block[..], b"Host z\n"].concat();
        let text = with(&moved, &stanza("a.hop", "x"), false).unwrap();
        assert_eq!(text, [&block[..], b"Host *\n User root\nHost z\n"].concat());
    }

    #[test]
    fn a_file_made_for_the_block_goes_with_it() {
        let text = with(b"", &stanza("a.hop", "x"), true).unwrap();
        let text = with(&text, &stanza("b.hop", "x"), false).unwrap();
        assert!(without(&text, Some("a.hop")).unwrap().is_some());
        assert_eq!(without(&text, None).unwrap(), None);
        let more = [&text[..], b"Host mine\n"].concat();
        assert_eq!(without(&more, None).unwrap().unwrap(), b"Host mine\n");
    }

    #[test]
    fn damaged_markers_are_refused_by_line() {
        let texts = [
            (format!("{BEGIN}\n"), vec![1], vec![]),
            (format!("x\n{END}\n"), vec![], vec![2]),
            (format!("{END}\n{BEGIN}\n"), vec![2], vec![1]),
            (format!("{BEGIN}\n{BEGIN}\n{END}\n"), vec![1, 2], vec![3]),
            (format!("  {BEGIN}\r\n{END}\n{END}"), vec![1], vec![2, 3]),
        ];
        for (text, begins, ends) in texts {
            let expected = Damaged { begins, ends };
            let all = [
                with(text.as_bytes(), &stanza("a.hop", "x"), false).err(),
                without(text.as_bytes(), None).err(),
                has(text.as_bytes(), "a.hop").err(),
            ];
            assert!(all.iter().all(|error| error.as_ref() == Some(&expected)), "{text:?}");
        }
        let said = Damaged { begins: vec![1, 2], ends: vec![] }.to_string();
        assert!(said.contains("on lines 1, 2") && said.contains("on no line"), "{said}");
        let quoted = format!("Host x # {BEGIN}\n");
        assert!(with(quoted.as_bytes(), &stanza("a.hop", "x"), false).is_ok());
    }

    /// Any text keeps its bytes, whatever is done to the block, and doing it twice changes nothing.
    #[test]
    fn random_texts_keep_their_bytes() {
        let parts: [&[u8]; 16] = [
            b"\n",
            b"\r\n",
            b"Host *\n",
            b"  User root\n",
            b"Include conf.d/*\n",
            b"\xff\xfe\0",
            b"# --- hopbox managed --- not\n",
            b"#--- end hopbox ---\n",
            b"Match exec \"true\"\n",
            b"\tHostName 1.2.3.4",
            b" ",
            b"Host mybox.hop\n",
            b"\xef\xbb\xbf",
            b"\x0c",
            b"=",
            b"#",
        ];
        let mut state = 1u64;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 33) as usize % below
        };
        for _ in 0..20_000 {
            let count = random(12);
            let text: Vec<u8> = (0..count).flat_map(|_| parts[random(16)].to_vec()).collect();
            let names = ["mybox.hop", "a.hop", "z.hop"];
            let mut now = text.clone();
            for _ in 0..=random(4) {
                let made = stanza(names[random(3)], ["x", "y"][random(2)]);
                let next = with(&now, &made, false).unwrap();
                assert_eq!(with(&next, &made, false).unwrap(), next, "{text:?}");
                assert!(next.starts_with(BEGIN.as_bytes()));
                assert_eq!(without(&next, None).unwrap().unwrap(), text, "{text:?}");
                now = without(&next, Some(names[random(3)])).unwrap().unwrap();
            }
            assert_eq!(without(&now, None).unwrap().unwrap(), text, "{text:?}");
        }
    }
}
