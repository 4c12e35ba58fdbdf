//! Variables in a file of docker compose: `$X`, `${X}`, `${X:-y}`, `${X-y}`, `${X:?y}`, `${X:+y}`,
//! and `$$` for a dollar. In a `hopbox.yaml` nothing is replaced, so that it is done here once.

use crate::base::yaml::TEXT_BYTES;
use crate::workspace::env::Env;

/// Defaults within defaults.
const DEPTH: usize = 8;

/// A text whose variables are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    pub text: String,
    /// Of which it is made.
    pub given: Vec<String>,
    /// For which the default of the file stands.
    pub usual: Vec<String>,
    /// Without a default: nothing stands for them.
    pub missing: Vec<String>,
}

/// `Err` is why it cannot be read.
pub fn replace(text: &str, env: &Env) -> Result<Replaced, &'static str> {
    let mut replaced = Replaced::default();
    part(text, env, DEPTH, &mut replaced)?;
    Ok(replaced)
}

impl Replaced {
    /// No longer than what a manifest may be.
    fn put(&mut self, text: &str) -> Result<(), &'static str> {
        self.text += text;
        if self.text.len() <= TEXT_BYTES { Ok(()) } else { Err("it becomes too long") }
    }

    fn variable(&mut self, name: &str, value: Option<&str>) -> Result<(), &'static str> {
        let names = if value.is_some() { &mut self.given } else { &mut self.missing };
        names.push(name.to_owned());
        self.put(value.unwrap_or_default())
    }
}

/// The one variable that the text is, whatever stands for it where it is not set.
pub fn alone(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('$')?;
    let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner);
    let name = inner.split([':', '-', '?', '+']).next().unwrap_or_default();
    let whole = name.len() == inner.len() || text.starts_with("${");
    let other = inner.get(name.len()..).unwrap_or_default();
    let is_own = !other.starts_with('+') && !other.starts_with(":+");
    (whole && is_own && is_name(name) && !inner.contains('}')).then_some(name)
}

fn is_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(plain) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn part(text: &str, env: &Env, deeper: usize, out: &mut Replaced) -> Result<(), &'static str> {
    let deeper = deeper.checked_sub(1).ok_or("variables within variables")?;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        out.put(before)?;
        if let Some(after) = after.strip_prefix('$') {
            out.put("$")?;
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let end = closing(inner).ok_or("${ is never closed")?;
            let (inner, after) = inner.split_at_checked(end).ok_or("${ is never closed")?;
            braced(inner, env, deeper, out)?;
            rest = after.strip_prefix('}').unwrap_or(after);
        } else {
            let plain = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
            let end = after.find(plain).unwrap_or(after.len());
            let (name, after) = after.split_at_checked(end).unwrap_or((after, ""));
            match is_name(name) {
                true => out.variable(name, env.get(name))?,
                // A dollar that stands for itself.
                false => out.put(&format!("${name}"))?,
            }
            rest = after;
        }
    }
    out.put(rest)
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

fn braced(inner: &str, env: &Env, deeper: usize, out: &mut Replaced) -> Result<(), &'static str> {
    let end = inner.find([':', '-', '?', '+']).unwrap_or(inner.len());
    let (name, how) = inner.split_at_checked(end).unwrap_or((inner, ""));
    if !is_name(name) {
        return Err("${ names no variable");
    }
    let (how, empty_counts) = how.strip_prefix(':').map_or((how, true), |how| (how, false));
    let value = env.get(name).filter(|value| empty_counts || !value.is_empty());
    let other = how.get(1..).unwrap_or_default();
    match (how.chars().next(), value) {
        (Some('-'), None) => {
            out.usual.push(name.to_owned());
            part(other, env, deeper, out)
        }
        // Only where it is set.
        (Some('+'), None) => {
            out.usual.push(name.to_owned());
            Ok(())
        }
        (Some('+'), Some(_)) => {
            out.given.push(name.to_owned());
            part(other, env, deeper, out)
        }
        (Some('-' | '?') | None, value) => out.variable(name, value),
        (Some(_), _) => Err("${ has a form that is not known"),
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
            let replaced =
                replace(text, &Env::default()).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(replaced.text, expected, "{text}");
            assert_eq!((replaced.usual.len(), replaced.missing.len()), (usual, missing), "{text}");
        }
        for bad in ["${", "${A", "${}", "${A:x}", "${1A}", "${A:-${B}", &"${A:-".repeat(50_000)] {
            assert!(replace(bad, &Env::default()).is_err(), "{bad:.40}");
        }
        let nested = format!("{}x{}", "${A:-".repeat(20), "}".repeat(20));
        assert!(replace(&nested, &Env::default()).is_err());
        for (text, name) in [
            ("$A", Some("A")),
            ("${A}", Some("A")),
            ("${A:-x}", Some("A")),
            ("${A:+x}", None),
            ("$A-b", None),
            ("a$A", None),
            ("${A}${B}", None),
            ("$", None),
            ("${A}b", None),
        ] {
            assert_eq!(alone(text), name, "{text}");
        }
    }

    #[test]
    fn what_is_given_stands_for_its_variable_and_has_a_bound() {
        let mut env = Env::default();
        env.set("A", "a");
        env.set("E", "");
        env.set("D", "$A");
        for (text, expected, given, usual, missing) in [
            ("$A${A}", "aa", 2, 0, 0),
            ("${A:-x}${A-x}${A:?x}${A?x}", "aaaa", 4, 0, 0),
            ("${E:-x}${E-x}|${E}", "x|", 2, 1, 0),
            ("${E:?x}${E?x}", "", 1, 0, 1),
            ("${A:+${B:-y}}${E:+z}${E+z}${B+z}", "yz", 2, 3, 0),
            ("${B:-${A}}", "a", 1, 1, 0),
            // What is put in is not looked at again.
            ("$D", "$A", 1, 0, 0),
            ("$$A", "$A", 0, 0, 0),
        ] {
            let replaced = replace(text, &env).unwrap_or_else(|why| panic!("{text}: {why}"));
            assert_eq!(replaced.text, expected, "{text}");
            let counts = (replaced.given.len(), replaced.usual.len(), replaced.missing.len());
            assert_eq!(counts, (given, usual, missing), "{text}");
        }
        env.set("L", "x".repeat(1000));
        assert!(replace(&"$L".repeat(1000), &env).is_err());
    }
}
