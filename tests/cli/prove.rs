//! `make prove`, by the real scripts and compiler on a source of six small programs: those of a
//! release take minutes, which tests/dist.sh takes.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SCRIPTS: [&str; 4] = ["Makefile", "agents.sh", "prove.sh", "toolchain.sh"];
const PROGRAMS: [&str; 6] = [
    "src/bin/hop.rs",
    "src/bin/hop-agent.rs",
    "src/bin/hop-selftest.rs",
    "helper/src/bin/hop-helper.rs",
    "helper/src/bin/hop-helper-server.rs",
    "helper/src/bin/hop-install.rs",
];
const WORKSPACE: &str = "[workspace]\nmembers = [\"helper\"]\nresolver = \"3\"\n\
    [package]\nname = \"hopbox\"\nversion = \"0.2.0\"\nedition = \"2024\"\nrust-version = \"1.85\"\n\
    [features]\navx512 = []\n";
const HELPER: &str = "[package]\nname = \"hop-helper\"\nversion = \"0.2.0\"\nedition = \"2024\"\n";
const LOCK: &str = "version = 4\n\n[[package]]\nname = \"hop-helper\"\nversion = \"0.2.0\"\n\n\
    [[package]]\nname = \"hopbox\"\nversion = \"0.2.0\"\n";

/// An unpacked release.
struct Release(PathBuf);

impl Release {
    fn unpacked(name: &str) -> Release {
        let dir = std::env::temp_dir().join(format!("hopbox {name} {}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (path, text) in
            [("Cargo.toml", WORKSPACE), ("helper/Cargo.toml", HELPER), ("Cargo.lock", LOCK)]
        {
            write(path, text);
        }
        PROGRAMS.iter().for_each(|path| write(path, "fn main() { println!(\"0.2.0\") }\n"));
        fs::create_dir(dir.join("vendor")).unwrap();
        for script in SCRIPTS {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
            fs::copy(from, dir.join(script)).unwrap();
        }
        Release(dir)
    }

    fn run(&self, program: &str, words: &[&str]) -> Output {
        let mut command = Command::new(program);
        for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CARGO_TARGET_DIR"] {
            command.env_remove(name);
        }
        // What changes every program, if it counts.
        command.env("RUSTFLAGS", "-Copt-level=3 -Cdebug-assertions=on");
        command.current_dir(&self.0).args(words).output().unwrap()
    }

    /// The code of prove.sh, which make has not, and what it says.
    fn prove(&self) -> (Option<i32>, String) {
        let out = self.run("sh", &["prove.sh", "cargo"]);
        let text = [out.stdout, out.stderr].concat();
        (out.status.code(), String::from_utf8_lossy(&text).into_owned())
    }
}

impl Drop for Release {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn what_sources_make_is_proven_and_what_they_do_not_is_found() {
    let (maker, user) = (Release::unpacked("maker"), Release::unpacked("user"));
    let listed = maker.run("make", &["-s", "manifest", "PROFILE=dev"]);
    assert!(listed.status.success(), "{listed:?}");
    let list = String::from_utf8(listed.stdout).unwrap();
    let programs = list.lines().filter(|line| !line.starts_with('#')).count();
    assert!(programs >= PROGRAMS.len() && list.contains("\n# profile: dev\n"), "{list}");
    assert_eq!(user.prove().0, Some(77), "there is nothing to compare with");

    let sums = user.0.join("B2SUMS");
    fs::write(&sums, &list).unwrap();
    let (code, said) = user.prove();
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.matches("same  ").count(), programs, "{said}");

    for (line, word) in [("# rustc: ", "theirs: rustc 1.0.0 ("), ("# linker of ", "theirs: ")] {
        let other = list.lines().map(|it| match it.strip_prefix(line) {
            Some(_) if line == "# rustc: " => format!("{line}1.0.0 (older)\n"),
            Some(rest) => format!("{line}{}: another\n", rest.split(':').next().unwrap()),
            None => format!("{it}\n"),
        });
        fs::write(&sums, other.collect::<String>()).unwrap();
        let (code, said) = user.prove();
        assert!(code == Some(77) && said.contains(word), "{code:?} {said}");
        assert!(!said.contains("same  ") && !said.contains("differs  "), "{said}");
    }

    // As old as it was: whoever changes a source can set its time, too.
    fs::write(&sums, &list).unwrap();
    let source = user.0.join(PROGRAMS[1]);
    let old = fs::metadata(&source).unwrap().modified().unwrap();
    fs::write(&source, "fn main() { println!(\"0.2.1\") }\n").unwrap();
    File::options().write(true).open(&source).unwrap().set_modified(old).unwrap();
    let (code, said) = user.prove();
    assert_eq!(code, Some(1), "{said}");
    let changed: Vec<&str> = said.lines().filter(|line| line.starts_with("differs  ")).collect();
    assert!(!changed.is_empty(), "{said}");
    assert!(changed.iter().all(|line| line.contains("/hop-agent: ")), "{said}");
}
