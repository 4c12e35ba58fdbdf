//! Who called `--install`: admitted by number, in a file beside the configuration.
//!
//! A line is as one of /etc/passwd begins, `gandalf:*:1000`. A number counts while it is the same
//! user's. One of a directory service has no name here (`:*:70001`; looking it up could load
//! plug-ins and speak to the network) and counts while no user of this machine has it. Must not
//! know: how it gets there.

use crate::core::peer_cred::is_nobody;

pub const NAME: &str = "invited";
pub const USERS: &str = "/etc/passwd";

/// Number and name of each user. As bytes: what else stands there may be of any encoding.
pub fn users(text: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    text.split(|b| *b == b'\n').filter_map(user)
}

fn user(line: &[u8]) -> Option<(u32, &[u8])> {
    Some((number(line)?, line.split(|b| *b == b':').next()?))
}

/// The number in a line about a user or a group.
pub fn number(line: &[u8]) -> Option<u32> {
    let field = line.split(|b| *b == b':').nth(2)?;
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// The numbers that still are whose they were, of a file that every line of is understood.
pub fn still(text: &[u8], mut is: impl FnMut(u32, &[u8]) -> bool) -> Result<Vec<u32>, String> {
    let mut uids = Vec::new();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        match user(line) {
            Some((uid, _)) if uid == 0 || is_nobody(uid) => {
                return Err(format!("holds {uid}, which is nobody to invite"));
            }
            Some((uid, name)) if is(uid, name) => uids.push(uid),
            Some(_) => {}
            None => return Err("has a line that is not name:*:number".to_string()),
        }
    }
    Ok(uids)
}

/// Whether a number is the same user's as when it was written.
pub fn is_same(known: &[u8], uid: u32, name: &[u8]) -> bool {
    let mut own = users(known).filter(|user| user.0 == uid);
    if name.is_empty() { own.next().is_none() } else { own.any(|user| user.1 == name) }
}

/// The text with one more user, whose number is nobody else's in it.
pub fn with(text: &[u8], uid: u32, name: &[u8]) -> Vec<u8> {
    let others = text.split_inclusive(|b| *b == b'\n');
    let others = others.filter(|line| user(line.trim_ascii_end()).is_none_or(|user| user.0 != uid));
    let mut new = others.collect::<Vec<&[u8]>>().concat();
    if new.last().is_some_and(|b| *b != b'\n') {
        new.push(b'\n');
    }
    [&new, name, format!(":*:{uid}\n").as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[u8] = b"root:x:0:0::/:\nr\xe9mi:x:7:7::/:\ngandalf:x:1000:1000:\xe9:/:\n\
        grey:x:1000:1000::/:\n";

    fn counts(text: &[u8]) -> Result<Vec<u32>, String> {
        still(text, |uid, name| is_same(KNOWN, uid, name))
    }

    #[test]
    fn a_number_counts_while_it_is_the_same_users() {
        let text = [
            (1000, &b"gandalf"[..], true),
            (1000, b"grey", true),
            (1000, b"", false),
            (1000, b"sam", false),
            (1001, b"gandalf", false),
            (1001, b"", true),
            (7, b"r\xe9mi", true),
            (7, b"remi", false),
        ];
        for (uid, name, good) in text {
            let found = counts(&with(b"", uid, name)).unwrap();
            assert_eq!(found, if good { vec![uid] } else { vec![] }, "{uid} {name:?}");
        }
    }

    #[test]
    fn a_user_stands_there_once_and_a_doubtful_line_is_refused() {
        let one = with(b"", 1000, b"sam");
        assert_eq!(one, b"sam:*:1000\n");
        assert_eq!(with(&one, 1000, b"gandalf"), b"gandalf:*:1000\n", "the number has a new user");
        let two = with(&with(&one, 70001, b""), 1000, b"sam");
        assert_eq!(two, b":*:70001\nsam:*:1000\n");
        assert_eq!(with(b"sam:*:1", 2, b"pip"), b"sam:*:1\npip:*:2\n");
        assert_eq!(counts(b""), Ok(vec![]));
        for bad in ["sam", "sam:*:", "sam:*:-1", "sam:*:0", "a:*:65534", ":*:4294967295", "1000"] {
            assert!(counts(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
