//! Where on this machine our programs are that nobody calls by hand: beside the one that asks where
//! all were built, and in libexec where `make install` puts them. Knows none of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::failure::{Failure, Fault};
use crate::fix;
use crate::sys::process;

/// Beside the directory of `hop`.
const LIBEXEC: &str = "libexec/hopbox";

/// Where a release's list of its programs' digests is, beside the directory of `hop`.
const DIGESTS: &str = "share/hopbox/B2SUMS";

/// The file of the program that runs.
pub fn own() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| {
        let what = "cannot find this program's file";
        Failure::new(Fault::Failed, what, error.to_string(), "ls /proc")
    })
}

/// Where `make install` puts programs beside the directory of `hop`.
pub fn libexec(beside: &Path) -> PathBuf {
    beside.parent().unwrap_or(beside).join(LIBEXEC)
}

/// The list of digests of the release that `hop` in this directory is of; a build of one's own has
/// none.
pub fn digests(beside: &Path) -> PathBuf {
    beside.parent().unwrap_or(beside).join(DIGESTS)
}

/// The program of this name that belongs to the one that runs.
pub fn find(name: &str) -> Result<PathBuf, Failure> {
    find_for(&own()?, name)
}

/// The same for a program whose file is `own`. In a directory where everybody may add files it
/// could be anybody's, and root may be about to run it: it has to be of whom `own` is.
pub fn find_for(own: &Path, name: &str) -> Result<PathBuf, Failure> {
    let program = locate(own, name)?;
    if is_as_trusted(&program, own) {
        return Ok(program);
    }
    let what = format!("{} is not run", program.display());
    let why = format!("it belongs to another than {}, or others may write it", own.display());
    Err(Failure::new(Fault::Failed, what, why, fix!("ls -l {}", program)))
}

/// The same for who knows already that it may be run.
pub fn locate(own: &Path, name: &str) -> Result<PathBuf, Failure> {
    let beside = own.parent().unwrap_or(Path::new("/"));
    let dirs = [beside.to_owned(), libexec(beside)];
    let mut found = dirs.iter().filter_map(|dir| dir.join(name).canonicalize().ok());
    found.find(|path| path.is_file()).ok_or_else(|| {
        let why = format!("it is neither in {} nor in {LIBEXEC} beside it", beside.display());
        let next = "make && sudo make install";
        Failure::new(Fault::NotFound, format!("{name} is not installed"), why, next)
    })
}

fn is_as_trusted(program: &Path, own: &Path) -> bool {
    let Ok(meta) = fs::metadata(program) else { return false };
    // A program that was replaced while it runs has no file any more.
    let own = fs::metadata(own).map(|own| (own.uid(), own.mode()));
    let (owner, mode) = own.unwrap_or((process::uid(), 0));
    (meta.uid() == 0 || meta.uid() == owner) && meta.mode() & 0o022 & !mode == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};

    fn scratch(name: &str) -> PathBuf {
        let root = std::env::temp_dir().join(format!("hopbox-{name}-{}", std::process::id()));
        fs::create_dir_all(root.join("bin")).unwrap();
        root.canonicalize().unwrap()
    }

    #[test]
    fn a_program_is_beside_its_caller_or_in_libexec() {
        let root = scratch("programs");
        let (bin, libexec) = (root.join("bin"), root.join("libexec/hopbox"));
        fs::create_dir_all(libexec.join("hop-folder")).unwrap();
        let find = |name| find_for(&bin.join("hop"), name);
        let lost = find("hop-x").err().unwrap();
        assert_eq!((lost.fault, &*lost.next), (Fault::NotFound, "make && sudo make install"));
        assert!(lost.what.contains("hop-x") && lost.why.contains(&*bin.to_string_lossy()));
        assert!(find("hop-folder").is_err(), "a directory is no program");
        fs::write(libexec.join("hop-x"), "").unwrap();
        assert_eq!(find("hop-x").unwrap(), root.join("libexec/hopbox/hop-x"));
        fs::write(bin.join("hop-x"), "").unwrap();
        assert_eq!(find("hop-x").unwrap(), root.join("bin/hop-x"), "just built");
        fs::remove_dir_all(&root).unwrap();
    }
    #[test]
    fn a_program_of_another_user_is_not_run() {
        let root = scratch("planted");
        let (own, program) = (root.join("bin/hop"), root.join("bin/hop-x"));
        let find = || find_for(&own, "hop-x");
        for (path, mode) in [(&own, 0o755), (&program, 0o755)] {
            fs::write(path, "").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }
        assert!(find().is_ok());
        fs::set_permissions(&program, fs::Permissions::from_mode(0o775)).unwrap();
        let refused = find().err().unwrap();
        assert_eq!(refused.fault, Fault::Failed);
        assert!(refused.why.contains("others may write it") && refused.next.starts_with("ls -l "));
        fs::set_permissions(&own, fs::Permissions::from_mode(0o775)).unwrap();
        assert!(find().is_ok(), "a group that may write both");
        if process::is_root() {
            chown(&program, Some(4242), None).unwrap();
            assert!(find().is_err());
            chown(&own, Some(4242), None).unwrap();
            assert!(find().is_ok(), "built by the same user");
        }
        fs::remove_dir_all(&root).unwrap();
    }
}
