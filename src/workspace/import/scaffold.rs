//! The `hopbox.yaml` that a project begins with: its name, and an example of everything else.

use super::names::label;

const TEXT: &str = include_str!("scaffold.yaml");

/// For a workspace that is called as near to `name` as may be.
pub fn scaffold(name: &str) -> String {
    TEXT.replace("NAME", &label(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::read::{self, keys};

    #[test]
    fn it_is_valid_as_it_is_and_with_every_example() {
        for name in ["My Project", "a", "", "007", "../..", "localhost", "ü", &"x".repeat(300)] {
            let text = scaffold(name);
            let manifest = read::manifest(&text).unwrap_or_else(|wrongs| panic!("{wrongs:#?}"));
            assert!(manifest.desired.services.is_empty() && manifest.host.is_none(), "{name}");
        }
        // An explanation has one space behind its #.
        let example = |line: &str| {
            let rest = line
                .strip_prefix('#')
                .filter(|rest| !rest.starts_with(' ') || rest.starts_with("  "));
            format!("{}\n", rest.unwrap_or(line))
        };
        let all: String = scaffold("my-app").lines().map(example).collect();
        let manifest = read::manifest(&all).unwrap_or_else(|wrongs| panic!("{all}\n{wrongs:#?}"));
        assert_eq!(manifest.desired.services.len(), 2);
        for key in keys::MANIFEST {
            assert!(all.contains(&format!("\n{key}:")), "{key}");
        }
    }
}
