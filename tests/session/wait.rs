//! `hop wait` through a tunnel: what works, what never will, what does at last, and an agent that
//! is killed meanwhile.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use hopbox_selftest::machine::SOON;
use serde_json::Value;

use super::real_services::postgres_and_node;
use super::services::{ask, start_work, until_served, write_desired};
use super::shared;
use super::world::*;

#[test]
fn services_are_waited_for() {
    if Path::new("/run/systemd/system").exists() {
        return println!("SKIP services_are_waited_for: this machine has systemd");
    }
    let _machine = shared();
    let Some(world) = World::start("services_are_waited_for") else { return };
    let dir = scratch().join(format!("wait-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let at = dir.display();
    let manifest = format!(
        "name: app
services:
  db: {{type: native, command: exec sleep 1000, health: {{exec: test -e {at}/db}}}}
  once: {{type: native, command: sleep 0.2, restart: never}}
  again:
    type: native
    command: 'test -e {at}/again || {{ touch {at}/again; exit 1; }}; exec sleep 1000'
    health: {{exec: test -e {at}/again}}
  bad: {{type: native, command: echo why; exit 3, restart: never}}
  ill:
    type: native
    command: exec sleep 1000
    restart: never
    health: {{exec: 'echo broken; exit 1', interval: 100ms, timeout: 200ms}}
"
    );
    write_desired(&world, &manifest);
    world.up();
    let mut work = start_work(&world);
    let hop = |words: &[&str]| ask(&world, words);
    until_served(&world);

    // One that nobody has started never comes; what is advised starts it.
    let (code, _, err) = hop(&["wait", "service:db"]);
    assert_eq!((code, err.contains("nobody has started it")), (Some(1), true), "{err}");
    let advice = err.lines().find_map(|line| line.trim().strip_prefix("fix: ")).unwrap().to_owned();
    assert!(advice.starts_with("hop services start app.db -H "), "{err}");
    let words: Vec<&str> = advice.split(' ').skip(1).collect();
    assert_eq!(hop(&words).0, Some(0));
    let (code, _, err) = hop(&["wait", "service:db", "--timeout", "1s"]);
    assert_eq!((code, err.contains("db: starting")), (Some(7), true), "{err}");

    for service in ["once", "again", "bad", "ill"] {
        hop(&["services", "start", service]);
    }
    let (code, out, err) = hop(&["wait", "service:once", "service:app.again", "--json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["schema"]), (Some(0), &"hopbox.wait/1".into()), "{err}");
    let views = answer["data"]["services"].as_array().unwrap();
    let told = |n: usize, key: &str| views[n][key].clone();
    assert_eq!((told(0, "state"), told(1, "restarts")), ("done".into(), 1.into()), "{out}");
    assert_eq!(views[1]["health"]["state"], "healthy", "{out}");
    for (service, why) in [("bad", "it ended with 3"), ("ill", "its check ended with 1: broken")] {
        let (code, _, err) = hop(&["wait", &format!("service:{service}")]);
        assert_eq!((code, err.contains(why)), (Some(1), true), "{err}");
        assert!(err.contains(&format!("fix: hop logs app.{service} -H ")), "{err}");
    }
    let (code, _, err) = hop(&["wait", "db"]);
    // Which is told of above.
    assert_eq!(
        (code, err.trim_end().ends_with("fix: hop wait service:db")),
        (Some(2), true),
        "{err}"
    );
    for (words, code) in
        [(vec!["wait", "service:db", "--timeout", "soon"], 2), (vec!["wait", "service:nothing"], 4)]
    {
        assert_eq!(hop(&words).0, Some(code), "{words:?}");
    }

    // Whoever is interrupted has ended nothing, and an agent that is killed holds up nobody.
    let view = world.spawn(&["wait", "service:db"]);
    let waits = world.spawn(&["wait", "service:db"]);
    thread::sleep(Duration::from_millis(500));
    interrupt(&view);
    assert!(!finish(view, LIMIT).status.success());
    work.kill().unwrap();
    work.wait().unwrap();
    thread::sleep(Duration::from_millis(300));
    let mut work = start_work(&world);
    fs::write(dir.join("db"), "").unwrap();
    let waited = finish(waits, LIMIT);
    assert!(waited.status.success(), "{}", said(&waited));
    let (_, out, _) = hop(&["services", "ls"]);
    let row = out.lines().find(|line| line.starts_with("db ")).unwrap();
    assert!(row.contains("healthy"), "{out}");
    let names = ["db", "once", "again", "bad", "ill"];
    assert_eq!(hop(&[&["services", "stop"][..], &names].concat()).0, Some(0));
    brought_up(&world, &at.to_string());
    postgres_and_node(&world);
    let _ = work.kill();
    let _ = work.wait();
    let _ = fs::remove_dir_all(dir);
}

/// A project whose services are waited for as it is brought up.
fn brought_up(world: &World, at: &str) {
    let project = world.home.join("project");
    fs::create_dir(&project).unwrap();
    let up = |more: &str, words: &[&str], code: i32| {
        let text = format!(
            "name: site
services:
  job: {{type: native, command: sleep 0.1, restart: never}}
  fine: {{type: native, command: exec sleep 1000, health: {{exec: test -e {at}/again}}}}
  after: {{type: native, command: exec sleep 1000, depends_on: {{fine: healthy, job: completed}}}}
{more}"
        );
        fs::write(project.join("hopbox.yaml"), text).unwrap();
        let words = [&["up", "--wait", "-y"], words].concat();
        let mut command = world.command(&world.programs.hop, &words);
        command.current_dir(&project);
        let start = move || command.spawn().map_err(|error| error.to_string());
        let output = finish(world.laptop.run(SOON, start).unwrap(), LIMIT);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        said(&output)
    };
    let said = up("", &[], 0);
    assert!(said.contains("and its services work"), "{said}");
    up("", &["--json"], 0);
    let ill = "  ill:
    type: native
    command: exec sleep 1000
    restart: never
    health: {exec: exit 1, interval: 100ms, timeout: 200ms}
";
    let said = up(ill, &[], 1);
    assert!(said.contains("its check ended with 1"), "{said}");
    let said = up("", &["--timeout", "soon"], 2);
    assert!(said.contains("no duration"), "{said}");
    up(
        "  never: {type: native, command: exec sleep 9, health: {exec: exit 1}}\n",
        &["--timeout", "1s"],
        7,
    );
    let names = ["site.fine", "site.after", "site.never"];
    assert!(world.hop(&[&["services", "stop"][..], &names].concat()).status.success());
}
