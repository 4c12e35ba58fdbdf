//! What commands of today need from a workspace's `hopbox.yaml`: the host it lives on and the
//! editor. The whole file must parse; keys that are not read here are left to their readers.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::yaml::{self, YamlError};
use crate::base::failure::{Failure, Fault};
use crate::base::field::check_name;
use crate::fix;

pub const FILE: &str = "hopbox.yaml";

/// Longest path or word that is taken from the file.
const TEXT_BYTES: usize = 4096;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workspace {
    /// `host:`
    pub host: Option<String>,
    /// `editor.type`
    pub editor_type: Option<String>,
    /// `editor.path`
    pub editor_path: Option<String>,
}

/// Reads `hopbox.yaml` in `dir`; `None` when there is none. A file that cannot be read or does
/// not parse is an error: to skip it would choose another host in silence.
pub fn load(dir: &Path) -> Result<Option<Workspace>, Failure> {
    let path = dir.join(FILE);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        // A directory that this user may not enter is not where they work: su(1) leaves one there.
        Err(_)
            if fs::symlink_metadata(&path)
                .is_err_and(|e| e.kind() == ErrorKind::PermissionDenied) =>
        {
            return Ok(None);
        }
        Err(error) => return Err(Failure::io("read", &path, &error)),
    };
    let mut bytes = Vec::new();
    let most = yaml::TEXT_BYTES as u64 + 1;
    file.take(most).read_to_end(&mut bytes).map_err(|e| Failure::io("read", &path, &e))?;
    let text = String::from_utf8(bytes).map_err(|_| fault(&path, "it is not UTF-8".to_owned()))?;
    parse(&text).map(Some).map_err(|error| fault(&path, error.to_string()))
}

/// Reads the text of a `hopbox.yaml`.
pub fn parse(text: &str) -> Result<Workspace, YamlError> {
    let root = yaml::parse(text)?;
    let editor = root.get("editor")?;
    let of_editor = |key| editor.map_or(Ok(None), |editor| field(editor, key, plain));
    Ok(Workspace {
        host: field(&root, "host", check_name)?,
        editor_type: of_editor("type")?,
        editor_path: of_editor("path")?,
    })
}

fn field(
    node: &yaml::Node,
    key: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Result<Option<String>, YamlError> {
    let Some(node) = node.get(key)? else { return Ok(None) };
    let text = node.text()?;
    let wrong = |why: String| YamlError { at: node.at, why: format!("{key}: {why}") };
    check(text).map_err(wrong)?;
    Ok(Some(text.to_owned()))
}

fn plain(text: &str) -> Result<(), String> {
    if text.len() > TEXT_BYTES || text.contains(char::is_control) {
        return Err("must be one line of text".to_owned());
    }
    Ok(())
}

fn fault(path: &Path, why: String) -> Failure {
    let shown: PathBuf = path.strip_prefix(".").unwrap_or(path).to_owned();
    let what = format!("{} is not valid", shown.display());
    Failure::new(Fault::Config, what, why, fix!("$EDITOR {}", shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_host_and_editor_and_leaves_the_rest() {
        let text = "name: myapp\nhost: mybox\nservices:\n  web: {type: native, command: x}\n\
                    editor:\n  type: vscode-remote\n  path: /home/dev/app\n";
        let workspace = parse(text).unwrap();
        assert_eq!(workspace.host.as_deref(), Some("mybox"));
        assert_eq!(workspace.editor_type.as_deref(), Some("vscode-remote"));
        assert_eq!(workspace.editor_path.as_deref(), Some("/home/dev/app"));
        assert_eq!(parse("name: myapp\n").unwrap(), Workspace::default());
        assert_eq!(parse("").unwrap(), Workspace::default());
    }

    #[test]
    fn wrong_types_and_names_are_errors_with_their_place() {
        let cases = [
            ("host: 7\n", "line 1, column 7: must be text: write \"7\" with quotes"),
            ("host: [a]\n", "line 1, column 7: must be text"),
            ("host: ../x\n", "line 1, column 7: host: "),
            ("a: 1\neditor: vim\n", "line 2, column 9: must be a map"),
            ("editor:\n  path: {}\n", "line 2, column 9: must be text"),
            ("- host: a\n", "line 1, column 1: must be a map"),
        ];
        for (text, expected) in cases {
            let said = parse(text).unwrap_err().to_string();
            assert!(said.starts_with(expected), "{text:?}: {said}");
        }
    }
}
