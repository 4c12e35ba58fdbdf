//! What services say: all of it, as fast as they can, and where there is no room for it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::agent::keeper::log::Voice;
use hopbox::agent::keeper::spec::{LogBounds, Restart};
use hopbox::agent::keeper::state::Phase;
use hopbox::agent::keeper::{LOG, Order};

use super::kept::{Kept, SOON};

#[test]
fn a_service_that_prints_as_fast_as_it_can_loses_nothing() {
    let megabytes = if super::run::full() { 1000 } else { 32 };
    for (name, line) in [("brief", 7), ("usual", 79), ("long", 20_000)] {
        let lines = megabytes * 1_000_000 / (line + 1) / if line == 7 { 4 } else { 1 };
        let text = format!("i=0; exec seq -f '%0{line}.0f' {lines}");
        let mut kept = Kept::new("fast", &text);
        kept.spec.restart = Restart::Never;
        kept.spec.log = LogBounds { bytes: 1 << 34, files: 1 };
        let began = Instant::now();
        kept.start();
        assert_eq!(kept.over().phase, Phase::Done, "{}", kept.shown());
        let seconds = began.elapsed().as_secs_f64();
        let said = kept.said(Voice::Out);
        assert_eq!(said.len(), lines * (line + 1));
        let n = |text: &[u8]| String::from_utf8_lossy(text).parse::<usize>().unwrap();
        let each = said.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        assert!(each.map(n).eq(1..=lines), "a line is lost or out of order");
        let speed = said.len() as f64 / seconds / 1e6;
        eprintln!("NOTE a service's {name} lines are kept at {speed:.0} MB/s");
    }
}

#[test]
fn any_bytes_are_kept_and_both_outputs_apart() {
    let command = "head -c 300000 /dev/urandom | tee $D/out; head -c 300000 /dev/zero | tee $D/err >&2; \
                   printf 'half'; printf 'more\\n' >&2";
    let mut kept = Kept::new("bytes", command);
    kept.spec.restart = Restart::Never;
    kept.start();
    assert_eq!(kept.over().phase, Phase::Done);
    let read = |name: &str| fs::read(kept.dir.join(name)).unwrap();
    assert!(kept.said(Voice::Out) == [read("out"), b"half\n".to_vec()].concat());
    assert!(kept.said(Voice::Err) == [read("err"), b"more\n".to_vec()].concat());
}

#[test]
fn a_log_has_a_bound_while_it_is_written() {
    let mut kept = Kept::new("bound", "exec yes 'a line as any other'");
    kept.spec.log = LogBounds { bytes: 256 * 1024, files: 2 };
    kept.start();
    let end = Instant::now() + SOON;
    while !kept.dir.join(format!("{LOG}.2")).exists() {
        assert!(Instant::now() < end, "it never rotated");
        thread::sleep(Duration::from_millis(2));
    }
    let mut most = 0;
    for _ in 0..100 {
        let sizes = kept.logs().into_iter().filter_map(|path| Some(path.metadata().ok()?.len()));
        most = most.max(sizes.sum::<u64>());
        thread::sleep(Duration::from_millis(2));
    }
    assert!(most <= 3 * 256 * 1024, "{most}");
    assert!(kept.logs().len() <= 3);
    drop(kept.ask(Order::Stop));
    assert_eq!(kept.over().phase, Phase::Stopped);
}

/// The oldest goes first; what does not fit then is counted, told, and stops nobody.
#[test]
fn a_full_disk_stops_no_service_and_is_told() {
    if std::env::var_os("HOPBOX_FULL").is_none() {
        let inside = Command::new("unshare")
            .args(["-m", "--propagation=private"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "said::a_full_disk_stops_no_service_and_is_told", "--nocapture"])
            .env("HOPBOX_FULL", "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&inside.stdout);
        let error = String::from_utf8_lossy(&inside.stderr);
        if error.contains("Operation not permitted") {
            return eprintln!("SKIP a_full_disk_stops_no_service_and_is_told: needs root");
        }
        assert!(inside.status.success() && said.contains("1 passed"), "{said}{error}");
        return;
    }
    let command = "for i in $(seq 2000); do echo \"line $i ...............................\"; done; \
                   touch /tmp/$1.said; while [ ! -e $D/go ]; do sleep 0.05; done; echo after; exec sleep 1000";
    let mut kept = Kept::new("full", command);
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"])
        .arg(&kept.dir)
        .status()
        .unwrap();
    assert!(mounted.success());
    let mark = format!("{}", std::process::id());
    kept.spec.argv.extend(["sh".to_owned(), mark.clone()]);
    kept.spec.log = LogBounds { bytes: 1024 * 1024, files: 2 };
    kept.start();
    let said = Path::new("/tmp").join(format!("{mark}.said"));
    let end = Instant::now() + SOON;
    while !said.exists() {
        assert!(Instant::now() < end, "a full disk holds the service up");
        thread::sleep(Duration::from_millis(5));
    }
    fs::remove_file(&said).unwrap();
    let mut watch = kept.ask(Order::Watch);
    assert_eq!(watch.next(SOON).unwrap().phase, Phase::Running, "it is told all the same");
    fs::write(kept.dir.join(LOG), "").unwrap();
    fs::write(kept.dir.join("go"), "").unwrap();
    let end = Instant::now() + SOON;
    while !kept.text(Voice::Out).contains("after") {
        assert!(Instant::now() < end, "nothing is written any more: {}", kept.shown());
        thread::sleep(Duration::from_millis(5));
    }
    assert!(kept.shown().contains("bytes could not be written"), "{}", kept.shown());
    drop(kept.ask(Order::Stop));
    let state = kept.over();
    assert_eq!(state.phase, Phase::Stopped);
    assert!(state.log_lost > 10_000, "{state:?}");
    assert!(Command::new("umount").arg("-l").arg(&kept.dir).status().unwrap().success());
}
