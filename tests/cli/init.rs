//! `hop init` on real files: what lies beside a file of docker compose is read, and no more.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::Home;

/// Puts something where `.env` should be, and what is said of that.
type Odd = (fn(&Path), &'static str);

const COMPOSE: &str = "services: {a: {image: \"x:${V:-usual}\"}}\n";

/// The manifest that is made, and what is said.
fn made(home: &Home, file: &str) -> (String, String) {
    let manifest = home.0.join("work/hopbox.yaml");
    let _ = fs::remove_file(&manifest);
    let output = home.run(&["init", "--from-compose", file]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    (fs::read_to_string(manifest).unwrap(), said)
}

#[test]
fn the_env_file_beside_is_read_wherever_the_first_file_lies_and_whatever_it_is() {
    let home = Home::new();
    let work = home.0.join("work");
    fs::create_dir(work.join("sub")).unwrap();
    for (dir, value) in [("", "here"), ("sub", "there")] {
        fs::write(work.join(dir).join("compose.yaml"), COMPOSE).unwrap();
        fs::write(work.join(dir).join(".env"), format!("V={value} # c\n")).unwrap();
    }
    let whole = fs::canonicalize(&work).unwrap();
    let whole = |file: &str| whole.join(file).display().to_string();
    for (file, image) in [
        ("compose.yaml".to_owned(), "image: x:here"),
        ("./compose.yaml".to_owned(), "image: x:here"),
        ("sub/compose.yaml".to_owned(), "image: x:there"),
        (whole("compose.yaml"), "image: x:here"),
        (whole("sub/compose.yaml"), "image: x:there"),
    ] {
        let (text, said) = made(&home, &file);
        assert!(text.contains(image), "{file}: {text}{said}");
        assert!(said.contains("has the value in .env of V"), "{file}: {said}");
    }
    // What is no file, or not of this project.
    let env = work.join(".env");
    fs::write(home.0.join("other"), "V=hunter2\n").unwrap();
    let odd: [Odd; 4] = [
        (|env| fs::create_dir(env).unwrap(), ""),
        (|env| mkfifo(env, Mode::S_IRUSR).unwrap(), "it is no regular file"),
        (|env| symlink("../other", env).unwrap(), "leads out of the project's directory"),
        (|env| fs::write(env, b"V=\xff\n").unwrap(), "is not UTF-8"),
    ];
    for (make, why) in odd {
        let _ = fs::remove_file(&env).or_else(|_| fs::remove_dir(&env));
        make(&env);
        let (text, said) = made(&home, "compose.yaml");
        assert!(text.contains("image: x:usual") && said.contains(why), "{why}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
        assert_eq!(said.contains(".env: line 1"), !why.is_empty(), "{why}: {said}");
    }
}
