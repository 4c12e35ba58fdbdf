//! Disks that are full or may not be written: the tunnel works all the same.

use std::fs;
use std::time::Duration;

use hopbox::host::paths::Paths;
use hopbox::session::log;
use hopbox_selftest::files::HOST;

use super::shared;
use super::world::*;

#[test]
fn a_full_disk_does_not_end_a_tunnel() {
    let Some(world) = World::start("a_full_disk_does_not_end_a_tunnel") else { return };
    let _machine = shared();
    let home = world.home.join("laptop");
    let (config, state) = (home.join("config/hopbox"), home.join("state"));
    for dir in [config.join("tunnels"), state.clone()] {
        let dir = dir.display();
        world.sh(&format!(
            "mkdir -p {dir} && mount -t tmpfs -o size=4k,mode=700,uid=4243,gid=4243 full {dir}
             mkdir -p {dir}/hopbox && chown 4243:4243 {dir}/hopbox && chmod 700 {dir}/hopbox
             cat /dev/zero >{dir}/filler 2>/dev/null; test -s {dir}/filler"
        ));
    }
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(world.traces(), 3);
    world.until("whole", Duration::from_secs(10), |status| status["broken"].is_null());
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert_eq!(world.traces(), 0);
}

#[test]
fn a_home_that_may_not_be_written_is_enough() {
    let Some(world) = World::start("a_home_that_may_not_be_written") else { return };
    let _machine = shared();
    let home = world.home.join("laptop");
    world.sh(&format!("mkdir -p {0}/run && chown 4243:4243 {0}/run", home.display()));
    for dir in ["config", "state"] {
        let dir = home.join(dir);
        let dir = dir.display();
        world.sh(&format!(
            "mkdir -p {dir} && mount --bind {dir} {dir} && mount -o remount,ro,bind {dir}"
        ));
    }
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("the log is "), "{}", said(&output));
    world.until("whole", Duration::from_secs(10), |status| status["broken"].is_null());
    let log = fs::read_to_string(world.paths.runtime_log_file(HOST)).unwrap();
    assert!(log.contains("cannot write") && log.contains("the tunnel is not affected"), "{log}");
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    assert_eq!(world.traces(), 0);
}

/// In a process of its own, because it takes standard error away.
#[test]
fn a_log_is_kept_short() {
    const INSIDE: &str = "HOP_SESSION_LOG";
    if let Some(root) = std::env::var_os(INSIDE) {
        let paths = Paths::below(root.as_ref());
        log::keep(&paths, "mybox").unwrap();
        for n in 0..40_000 {
            log::log(&format!("line {n} {}", "x".repeat(60)));
        }
        return;
    }
    let root = scratch();
    let own = std::env::current_exe().unwrap();
    let words = ["--exact", "disk::a_log_is_kept_short", "--nocapture"];
    let done = std::process::Command::new(own).args(words).env(INSIDE, &root).output().unwrap();
    assert!(done.status.success(), "{}", said(&done));
    let log = Paths::below(&root).log_file("mybox");
    let sizes = [log.clone(), log.with_extension("log.1")].map(|p| fs::metadata(p).unwrap().len());
    assert!(sizes.iter().all(|size| *size > 0 && *size < 1024 * 1024 + 200), "{sizes:?}");
    let text = fs::read_to_string(&log).unwrap();
    assert!(text.contains("line 39999 "), "the newest is there");
    assert_eq!(fs::read_dir(log.parent().unwrap()).unwrap().count(), 2);
    fs::remove_dir_all(root).unwrap();
}
