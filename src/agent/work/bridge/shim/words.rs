//! Options as getopt_long(3) and GOption read them: long ones shortened as far as they stay one,
//! short ones in one word, values beside or after, anywhere before `--`.

/// An option, by its letter and its long name, and whether a value belongs to it.
pub struct Known(pub Option<char>, pub &'static str, pub bool);

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Words {
    /// By the long name.
    pub options: Vec<(&'static str, String)>,
    pub rest: Vec<String>,
}

impl Words {
    pub fn has(&self, name: &str) -> bool {
        self.options.iter().any(|(known, _)| *known == name)
    }

    pub fn value(&self, name: &str) -> Option<&str> {
        let found = self.options.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// Nothing if there is an option that is not known.
pub fn read(line: &[String], known: &'static [Known]) -> Option<Words> {
    let (mut words, mut line) = (Words::default(), line.iter());
    while let Some(word) = line.next() {
        if word == "--" {
            words.rest.extend(line.cloned());
            break;
        }
        if let Some(long) = word.strip_prefix("--") {
            let (name, beside) = match long.split_once('=') {
                Some((name, value)) => (name, Some(value.to_owned())),
                None => (long, None),
            };
            let Known(_, name, takes) = by_name(name, known)?;
            let value = match (takes, beside) {
                (true, Some(value)) => value,
                (true, None) => line.next()?.clone(),
                (false, None) => String::new(),
                (false, Some(_)) => return None,
            };
            words.options.push((name, value));
            continue;
        }
        match word.strip_prefix('-') {
            None | Some("") => words.rest.push(word.clone()),
            Some(letters) => short(letters, &mut line, known, &mut words)?,
        }
    }
    Some(words)
}

fn short<'a>(
    letters: &str,
    line: &mut impl Iterator<Item = &'a String>,
    known: &'static [Known],
    words: &mut Words,
) -> Option<()> {
    let mut letters = letters.chars();
    while let Some(letter) = letters.next() {
        let Known(_, name, takes) = known.iter().find(|known| known.0 == Some(letter))?;
        let mut value = String::new();
        if *takes {
            value = letters.by_ref().collect();
            if value.is_empty() {
                value.clone_from(line.next()?);
            }
        }
        words.options.push((name, value));
    }
    Some(())
}

/// As it is, or the only one that begins so.
pub fn by_name<'a>(name: &str, known: &'a [Known]) -> Option<&'a Known> {
    if let Some(found) = known.iter().find(|known| known.1 == name) {
        return Some(found);
    }
    let mut all = known.iter().filter(|known| !name.is_empty() && known.1.starts_with(name));
    let found = all.next()?;
    all.next().is_none().then_some(found)
}
