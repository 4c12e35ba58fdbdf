//! Variables in a file of docker compose: `$X`, `${X}`, `${X:-y}`, `${X-y}`, `${X:?y}`, `${X:+y}`,
//! and `$$` for a dollar. In a `hopbox.yaml` nothing is replaced, so that it is done here once.

/// Defaults within defaults.
const DEPTH: usize = 8;

/// A text whose variables are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    pub text: String,
    /// For which the default of the file stands.
    pub usual: Vec<String>,
    /// Without a default: nothing stands for them.
    pub missing: Vec<String>,
}

/// `Err` is why it cannot be read.
pub fn replace(text: &str) -> Result<Replaced, &'static str> {
    let mut replaced = Replaced::default();
    part(text, DEPTH, &mut replaced)?;
    Ok(replaced)
}

/// The one variable that the text is.
pub fn alone(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner);
    let name = inner.split([':', '-', '?', '+']).next().unwrap_or_default();
    let whole = name.len() == inner.len() || text.starts_with("${");
    (whole && is_name(name) && !inner.contains('}')).then_some(name)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn part(text: &str, deeper: usize, out: &mut Replaced) -> Result<(), &'static str> {
    let deeper = deeper.checked_sub(1).ok_or("variables within variables")?;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.text += before;
        if let Some(after) = after.strip_prefix('$') {
            out.text.push('$');
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner).ok_or("${ is never closed")?;
            let (inner, after) = inner.split_at_checked(end).ok_or("${ is never closed")?;
            braced(inner, deeper, out)?;
            rest = after.strip_prefix('}').unwrap_or(after);
        } else {
            let plain = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let end = after.find(plain).unwrap_or(after.len());
            let (name, after) = after.split_at_checked(end).unwrap_or((after, ""));
            match is_name(name) {
                true => out.missing.push(name.to_owned()),
                // A dollar that stands for itself.
                false => out.text += &format!("${name}"),
            }
            rest = after;
        }
    }
    out.text += rest;
    Ok(())
}

fn closing(text: &str) -> Option<usize> {
    let mut open = 1_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return Some(at);
        }
    }
    None
}

fn braced(inner: &str, deeper: usize, out: &mut Replaced) -> Result<(), &'static str> {
    let end = inner.find([':', '-', '?', '+']).unwrap_or(inner.len());
    let (name, how) = inner.split_at_checked(end).unwrap_or((inner, ""));
    if !is_name(name) {
        return Err("${ names no variable");
    }
    let how = how.strip_prefix(':').unwrap_or(how);
    match how.chars().next() {
        Some('-') => {
            out.usual.push(name.to_owned());
            part(how.get(1..).unwrap_or_default(), deeper, out)
        }
        // Only where it is set.
        Some('+') => {
            out.usual.push(name.to_owned());
            Ok(())
        }
        Some('?') | None => {
            out.missing.push(name.to_owned());
            Ok(())
        }
        Some(_) => Err("${ has a form that is not known"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_stand_for_their_variables() {
        for (text, expected, usual, missing) in [
            ("a", "a", 0, 0),
            ("$A", "", 0, 1),
            ("${A}b", "b", 0, 1),
            ("${A:-x}-${B-y}", "x-y", 2, 0),
            ("${A:-${B:-x}}", "x", 2, 0),
            ("${A:-{\"a\": 1}}", "{\"a\": 1}", 1, 0),
            ("${A:-}", "", 1, 0),
            ("${A:?must be set}", "", 0, 1),
            ("${A:+x}", "", 1, 0),
            ("$$A $${B}", "$A ${B}", 0, 0),
            ("a$", "a$", 0, 0),
            ("$1 $.", "$1 $.", 0, 0),
            ("p$Aq.r", "p.r", 0, 1),
            ("ü${A:-ß}ü", "üßü", 1, 0),
        ] {
            let replaced = replace(text).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(replaced.text, expected, "{text}");
            assert_eq!((replaced.usual.len(), replaced.missing.len()), (usual, missing), "{text}");
        }
        for bad in ["${", "${A", "${}", "${A:x}", "${1A}", "${A:-${B}", &"${A:-".repeat(50_000)] {
            assert!(replace(bad).is_err(), "{bad:.40}");
        }
        let nested = format!("{}x{}", "${A:-".repeat(20), "}".repeat(20));
        assert!(replace(&nested).is_err());
        for (text, name) in [
            ("$A", Some("A")),
            ("${A}", Some("A")),
            ("${A:-x}", Some("A")),
            ("$A-b", None),
            ("a$A", None),
            ("${A}${B}", None),
            ("$", None),
            ("${A}b", None),
        ] {
            assert_eq!(alone(text), name, "{text}");
        }
    }
}
