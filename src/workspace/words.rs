//! A command as words, by the quoting of a shell and nothing else of it: no variables, no patterns,
//! no operators. So a container's command is read, which no shell sees.

use super::wrong::Refusal;

/// More than any command line has.
pub const WORDS: usize = 256;

pub fn split(line: &str) -> Result<Vec<String>, Refusal> {
    let mut words: Vec<String> = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => quoted(&mut rest, '\'', word.get_or_insert_default())?,
            '"' => quoted(&mut rest, '"', word.get_or_insert_default())?,
            '\\' => match rest.next() {
                // A line that goes on.
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(open("\\")),
            },
            c => word.get_or_insert_default().push(c),
        }
        if words.len() > WORDS {
            return Err(Refusal::new(format!("has more than {WORDS} words"), ""));
        }
    }
    words.extend(word);
    match words.first().is_some_and(|first| !first.is_empty()) {
        true => Ok(words),
        false => Err(Refusal::new("names no program", "write a program and its arguments")),
    }
}

fn quoted(rest: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> Result<(), Refusal> {
    while let Some(c) = rest.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => match rest.next() {
                Some('\n') => {}
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(open(if quote == '"' { "\"" } else { "'" }))
}

fn open(what: &str) -> Refusal {
    Refusal::new(format!("ends within {what}"), "close it, or write a list of words")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real shell splits the same texts into the same words.
    #[test]
    fn words_are_a_shells() {
        for line in [
            "postgres -c max_connections=200",
            "  a\t'b c'  \"d e\" f\\ g",
            "a '' \"\" b''c",
            r#"a "b\"c\\d\$e\`f\ng" 'h\i'"#,
            "a \\\n  b 'c\nd' \"e\\\nf\"",
            "ü 'ß'",
        ] {
            let script = format!("for word in {line}; do printf '%s\\0' \"$word\"; done");
            let run = std::process::Command::new("sh").arg("-c").arg(&script).output().unwrap();
            let said = String::from_utf8(run.stdout).unwrap();
            let shells: Vec<&str> = said.split_terminator('\0').collect();
            assert_eq!(split(line).unwrap(), shells, "{line}");
        }
        for line in ["a *", "$HOME `x` $(x)", "a;b", "a && b", "a > b", "a #b", "~"] {
            assert_eq!(split(line).unwrap().concat(), line.replace(' ', ""), "{line}");
        }
    }

    #[test]
    fn what_does_not_end_and_what_is_nothing_are_refused() {
        for line in ["a 'b", "a \"b", "a \\", "a \"b\\", "", "  ", "''", "\\\n"] {
            assert!(split(line).is_err(), "{line:?}");
        }
        assert!(split(&"a ".repeat(WORDS + 1)).is_err());
        assert_eq!(split(&"a ".repeat(WORDS)).unwrap().len(), WORDS);
    }
}
