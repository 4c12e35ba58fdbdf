//! `hop up` in a project's directory: nothing of it runs before somebody says yes to this content,
//! and what is as it should be is not touched.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox_selftest::files::HOST;
use hopbox_selftest::machine::SOON;

use super::shared;
use super::world::*;

const MANIFEST: &str = r#"name: app
env: {WHO: yaml}
hooks:
  setup: |
    echo set up for $WHO $ALSO
    echo bad >&2
    echo x >> MARKS/setup
  start: echo x >> MARKS/start
scripts: {show: "echo $WHO $ALSO $1; exit 7"}
services:
  one: {type: native, command: "echo $$ >> MARKS/one; exec sleep 1000"}
  two: {type: native, command: "echo $$ >> MARKS/two; exec sleep TWO"}
"#;

/// A project on the laptop, and a directory in which all that runs leaves a line.
struct Project<'a> {
    world: &'a World,
    dir: PathBuf,
    marks: PathBuf,
}

impl Project<'_> {
    fn new(world: &World) -> Project<'_> {
        let (dir, marks) = (world.home.join("project"), world.home.join("marks"));
        fs::create_dir(&dir).unwrap();
        fs::create_dir(&marks).unwrap();
        fs::set_permissions(&marks, Permissions::from_mode(0o777)).unwrap();
        Project { world, dir, marks }
    }

    /// `two` is started by other words each time.
    fn write(&self, two: &str) {
        let text = MANIFEST.replace("MARKS", self.marks.to_str().unwrap()).replace("TWO", two);
        fs::write(self.dir.join("hopbox.yaml"), text).unwrap();
    }

    /// The same with another script.
    fn write_script(&self, text: &str) {
        let path = self.dir.join("hopbox.yaml");
        let now = fs::read_to_string(&path).unwrap();
        fs::write(&path, now.replace("echo $WHO $ALSO $1; exit 7", text)).unwrap();
    }

    fn spawn(&self, words: &[&str]) -> Child {
        let mut command = self.world.command(&self.world.programs.hop, words);
        command.current_dir(&self.dir);
        let start = move || command.spawn().map_err(|error| error.to_string());
        self.world.laptop.run(SOON, start).unwrap()
    }

    fn hop(&self, words: &[&str]) -> Output {
        finish(self.spawn(words), LIMIT)
    }

    fn up(&self, words: &[&str], code: i32) -> String {
        let output = self.hop(&[&["up"], words].concat());
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        said(&output)
    }

    /// The lines that each of these has left.
    fn ran(&self) -> [usize; 4] {
        ["setup", "start", "one", "two"].map(|name| self.lines(name).len())
    }

    fn lines(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.marks.join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// At a terminal: each answer is given when the question is there, after `before` it.
    fn answered(&self, answers: &[(&dyn Fn(), &str)], code: i32) -> String {
        let lines = "$hop up; echo status $?";
        let mut command = self.world.command(Path::new("script"), &["-qec", lines, "/dev/null"]);
        command.env("TERM", "dumb").env("hop", &self.world.programs.hop).stdin(Stdio::piped());
        command.current_dir(&self.dir);
        let start = move || command.spawn().map_err(|error| error.to_string());
        let mut child = self.world.laptop.run(SOON, start).unwrap();
        let (mut typed, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (mut all, mut piece) = (String::new(), [0; 4096]);
        let mut answers = answers.iter();
        let mut from = 0;
        loop {
            let read = shown.read(&mut piece).unwrap();
            if read == 0 {
                break;
            }
            all += &String::from_utf8_lossy(&piece[..read]);
            if all[from..].contains("[y/N]") {
                from = all.len();
                let (before, answer) = answers.next().unwrap_or_else(|| panic!("asked: {all}"));
                before();
                writeln!(typed, "{answer}").unwrap();
            }
        }
        drop(typed);
        finish(child, LIMIT);
        assert!(all.contains(&format!("status {code}")), "{all}");
        assert!(answers.next().is_none(), "not asked: {all}");
        all
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "never: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_project_is_brought_up_after_a_yes_to_its_content() {
    let _machine = shared();
    if let Some(world) = World::start("a_project_is_brought_up_after_a_yes_to_its_content") {
        brought_up(&world);
    }
}

#[test]
fn a_project_is_brought_up_also_in_userspace() {
    let _machine = shared();
    let world = World::start_in_userspace("a_project_is_brought_up_also_in_userspace");
    if let Some(world) = world {
        brought_up(&world);
        assert_eq!(world.status()["tunnel_mode"], "userspace");
    }
}

fn brought_up(world: &World) {
    // A keeper needs no manager where there is none.
    sh(&world.vps[0].machine, "[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd");
    world.up();
    let work = world.start_work(0);
    let project = Project::new(world);
    let room = world.home.join("laptop/there/hopbox-agent/app");
    until("the agent's work answers", || {
        project.hop(&["run", "--", "true"]).status.code() == Some(0)
    });

    // Nobody can be asked, or says no.
    project.write("1000");
    let text = project.up(&["--no-input"], 13);
    let one = "start one\n    | echo $$ >> ";
    assert!(text.contains(one) && text.contains("| echo set up"), "{text}");
    assert!(text.contains("hop up --yes"), "{text}");
    project.answered(&[(&|| (), "n")], 10);
    assert_eq!((project.ran(), room.exists()), ([0; 4], false));

    fs::write(project.dir.join(".env"), "ALSO=env\nWHO=env\n").unwrap();
    let text = project.up(&["--yes"], 0);
    assert!(text.contains("setup | set up for yaml env\n"), "{text}");
    assert!(text.contains("setup | bad\n"), "{text}");
    assert_eq!(project.ran(), [1, 1, 1, 1]);
    let file = world.paths.consent_file(HOST);
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);

    // The same content is not asked for; what runs is not touched.
    project.up(&["--no-input"], 0);
    assert_eq!(project.ran(), [1, 2, 1, 1]);
    fs::write(project.dir.join(".env"), "ALSO=other\nWHO=env\n").unwrap();
    project.up(&["--no-input"], 13);
    fs::write(project.dir.join(".env"), "ALSO=env\nWHO=env\n").unwrap();

    // Another content is, and what differs alone is done.
    project.write("1001");
    project.up(&["--no-input"], 13);
    assert_eq!(project.ran(), [1, 2, 1, 1]);
    project.up(&["--yes"], 0);
    assert_eq!(project.ran(), [1, 3, 1, 2]);

    // Changed under the question: shown again, and done as it was shown last.
    project.write("1002");
    let (text, before) = {
        let change = || project.write("1003");
        let env = |also: &str| {
            fs::write(project.dir.join(".env"), format!("ALSO={also}\nWHO=env\n")).unwrap();
        };
        let look = || assert_eq!(project.ran(), [1, 3, 1, 2], "it ran");
        let (other, same) = (|| env("other"), || env("env"));
        let answers: [(&dyn Fn(), &str); 4] =
            [(&change, "y"), (&other, "y"), (&same, "y"), (&look, "y")];
        (project.answered(&answers, 0), project.lines("one"))
    };
    assert_eq!(text.matches("has changed since").count(), 3, "{text}");
    assert_eq!((project.ran(), project.lines("one")), ([1, 4, 1, 3], before));
    let cmdline =
        |pid: &str| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert_eq!(cmdline(&project.lines("two")[2]), "sleep\u{0}1003\u{0}");
    assert_eq!(cmdline(&project.lines("one")[0]), "sleep\u{0}1000\u{0}");

    // Scripts, as they were agreed to, and commands with the workspace's variables.
    let run = |words: &[&str], code: i32| {
        let output = project.hop(&[&["run"], words].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}: {}", said(&output));
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["--", "sh", "-c", "echo $WHO $ALSO"], 0).0, "yaml env\n");
    assert_eq!(run(&["show"], 7).0, "yaml env\n");
    assert_eq!(run(&["show", "--", "a b"], 7).0, "yaml env a b\n");
    let (out, err) = run(&["shwo"], 125);
    assert!(out.is_empty() && err.contains("has: show"), "{err}");
    assert!(err.ends_with("fix: hop run show\n"), "{err}");
    // A project of another host, which the advised line is for.
    let ours = fs::read(project.dir.join("hopbox.yaml")).unwrap();
    fs::write(project.dir.join("hopbox.yaml"), "name: app\nhost: other\nscripts: {show: b}\n")
        .unwrap();
    let foreign = run(&["-H", HOST, "show"], 125).1;
    assert!(foreign.ends_with("fix: hop run show\n"), "{foreign}");
    assert!(run(&["show"], 125).1.contains("no host \"other\""));
    fs::write(project.dir.join("hopbox.yaml"), ours).unwrap();
    project.write_script("echo other");
    assert!(run(&["show"], 125).1.contains("hop up mybox"), "another text");
    let elsewhere = project.world.hop(&["run", "show"]);
    assert_eq!(elsewhere.status.code(), Some(2), "{}", said(&elsewhere));

    // Nothing is left to do, which is one line; and what is not wanted any more ends.
    fs::write(project.dir.join("hopbox.yaml"), "name: app\nscripts: {a: b}\n").unwrap();
    project.up(&["--yes"], 0);
    assert!(
        ["one", "two"].iter().all(|name| cmdline(project.lines(name).last().unwrap()).is_empty())
    );
    let text = project.up(&["--no-input", "--json"], 0);
    assert!(text.contains(r#""steps":[]"#), "{text}");
    let text = project.up(&["--no-input"], 0);
    assert!(text.contains("app on mybox is as it should be\n"), "{text}");
    // An interrupt ends what runs there, and nothing of it is kept.
    let mark = format!("{}.25", 60_000 + std::process::id());
    let slow = project.marks.join("slow");
    let hook = format!("hooks: {{setup: 'echo > {}; sleep {mark}'}}", slow.display());
    fs::write(project.dir.join("hopbox.yaml"), format!("name: app\n{hook}\n")).unwrap();
    let child = project.spawn(&["up", "--yes"]);
    until("the hook runs", || slow.exists());
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(sent.unwrap().success());
    let output = finish(child, LIMIT);
    assert_eq!(output.status.code(), Some(130), "{}", said(&output));
    let sleeps = || {
        let mut found = Command::new("pgrep");
        found.args(["-fx", &format!("sleep {mark}")]).stdout(Stdio::null());
        found.status().unwrap().success()
    };
    until("it has ended", || !sleeps());
    // One that does not run is named, with where to look.
    let bad = "name: app\nservices: {bad: {type: native, command: x, limits: {pids: 9}}}\n";
    fs::write(project.dir.join("hopbox.yaml"), bad).unwrap();
    let text = project.up(&["--yes"], 9);
    assert!(text.contains("start bad: not done: it has limits"), "{text}");
    assert!(text.contains("bad does not run") && text.contains("hop logs app.bad -H"), "{text}");
    end(Some(work));
}
