//! The checkout that a process works in, and its branch, as git's own files say. git is not asked:
//! it would run what a checkout's configuration says.
//!
//! Bounds: 64 directories upwards, files of 4 KiB, a branch of 256 bytes.

use std::fs;
use std::path::{Path, PathBuf};

use crate::sys::bounded;

const UPWARDS: usize = 64;
const FILE_BYTES: u64 = 4096;
const BRANCH_BYTES: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkout {
    /// Its uppermost directory.
    pub root: PathBuf,
    /// Nothing where the checkout is at a commit of no branch.
    pub branch: Option<String>,
}

/// `dir` is where the process is, by its name; `way` leads there, whatever this process itself sees
/// under that name.
pub fn of(dir: &Path, way: &Path) -> Option<Checkout> {
    let mut way = way.to_owned();
    for root in dir.ancestors().take(UPWARDS) {
        if let Some(git) = git_dir(&way) {
            if let Some(branch) = branch(&git.join("HEAD")) {
                return Some(Checkout { root: root.to_owned(), branch: branch.name() });
            }
        }
        way.push("..");
    }
    None
}

/// A directory, or a file that says where it is: of a second worktree, or of a submodule.
fn git_dir(way: &Path) -> Option<PathBuf> {
    let git = way.join(".git");
    if fs::metadata(&git).ok()?.is_dir() {
        return Some(git);
    }
    let text = String::from_utf8(bounded::read(&git, FILE_BYTES).ok()?).ok()?;
    let path = text.strip_prefix("gitdir:")?.trim();
    (!path.is_empty()).then(|| way.join(path))
}

enum Head {
    Branch(String),
    Commit,
}

impl Head {
    fn name(self) -> Option<String> {
        match self {
            Head::Branch(name) => Some(name),
            Head::Commit => None,
        }
    }
}

/// Nothing where there is no such file: then it is no checkout.
fn branch(head: &Path) -> Option<Head> {
    let text = bounded::read(head, FILE_BYTES).ok().map(String::from_utf8);
    // As git made it once.
    let link = || Some(format!("ref: {}", fs::read_link(head).ok()?.to_str()?));
    let text = match text {
        Some(Ok(text)) if text.starts_with("ref:") => text,
        Some(_) => link().unwrap_or_default(),
        None => link()?,
    };
    let name = text.strip_prefix("ref:").and_then(|name| name.trim().strip_prefix("refs/heads/"));
    // What a checkout says whose branches are kept in another form.
    let name = name.filter(|name| (1..=BRANCH_BYTES).contains(&name.len()) && *name != ".invalid");
    Some(name.map_or(Head::Commit, |name| Head::Branch(name.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_checkout_is_known_by_its_files_whatever_they_are() {
        let dir = std::env::temp_dir().join(format!("hopbox-checkout-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        let put = |file: &str, text: &str| {
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let at = |inside: &str| {
            let path = dir.join(inside);
            fs::create_dir_all(&path).unwrap();
            let found = of(&path, &path).filter(|found| found.root.starts_with(&dir));
            found.map(|found| {
                let root = found.root.strip_prefix(&dir).unwrap().display().to_string();
                (root, found.branch.unwrap_or_default())
            })
        };
        let is = |root: &str, branch: &str| Some((root.to_owned(), branch.to_owned()));
        put("a/.git/HEAD", "ref: refs/heads/feature/x\n");
        assert_eq!(at("a/web/src"), is("a", "feature/x"));
        // A second worktree, by either kind of path, and a submodule within the first.
        put("a/.git/worktrees/b/HEAD", "ref: refs/heads/b\n");
        put("b/.git", &format!("gitdir: {}\n", dir.join("a/.git/worktrees/b").display()));
        put("c/.git", "gitdir: ../a/.git/worktrees/b\n");
        put("a/.git/modules/sub/HEAD", &"a".repeat(40));
        put("a/sub/.git", "gitdir: ../.git/modules/sub");
        assert_eq!(at("b/x"), is("b", "b"));
        assert_eq!(at("c"), is("c", "b"));
        assert_eq!(at("a/sub/deep"), is("a/sub", ""), "at a commit");
        fs::create_dir_all(dir.join("old/.git")).unwrap();
        symlink("refs/heads/old", dir.join("old/.git/HEAD")).unwrap();
        assert_eq!(at("old"), is("old", "old"));
        // What is none does not hide one above.
        for (n, text) in
            ["", "gitdir:", "gitdir: nowhere", "x", &"g".repeat(5000)].iter().enumerate()
        {
            put(&format!("a/none{n}/.git"), text);
            assert_eq!(at(&format!("a/none{n}")), is("a", "feature/x"), "{text:?}");
        }
        fs::create_dir_all(dir.join("a/empty/.git")).unwrap();
        assert_eq!(at("a/empty"), is("a", "feature/x"));
        let pipe = dir.join("a/pipe");
        fs::create_dir_all(&pipe).unwrap();
        nix::unistd::mkfifo(&pipe.join(".git"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(at("a/pipe"), is("a", "feature/x"));
        for head in ["ref: refs/heads/", "ref: refs/heads/.invalid", "ref: x", "\u{0}", ""] {
            put("odd/.git/HEAD", head);
            assert_eq!(at("odd"), is("odd", ""), "{head:?}");
        }
        put("odd/.git/HEAD", &format!("ref: refs/heads/{}", "x".repeat(257)));
        assert_eq!(at("odd"), is("odd", ""));
        assert_eq!(at("none"), None);
        fs::remove_dir_all(dir).unwrap();
    }
}
