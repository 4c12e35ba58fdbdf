//! `hop to` while its last pass goes on, with services stopped for it: an agent is killed, a
//! machine loses its power, the network goes, a disk is full, the user presses Ctrl-C. Each time
//! the old host runs again by itself, never do both, and typed once more it goes on. On one pair.

use std::fs;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::containers;
use super::lab;
use super::machine::{Machine, Said};
use super::site::{admit, equip};

/// What it writes it says in `acked`, once it is written; and as it ends it leaves what the last
/// pass has to carry.
const MANIFEST: &str = r#"
name: app
services:
  writer:
    type: native
    stop_timeout: 20s
    command: 'cd /srv/app/data; n=$(tail -n 1 log);
      trap "rm -f big-*; head -c 8M /dev/urandom >big-$n; exit" TERM;
      while :; do n=$((n + 1)); echo $n >>log; echo $n >>$HOME/acked; sleep 0.05; done'
    data: [{host: /srv/app/data}]
"#;
const JOURNAL: &str = "/home/dev/.local/state/hopbox/migrations/app.json";
pub const LINE: &str = "-y to new";
pub const SOON: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(10);

pub struct Two {
    pub laptop: Machine,
    pub old: Machine,
    pub new: Machine,
}

pub fn runs(machine: &Machine) -> bool {
    machine.sh("pgrep -u dev -f '^/?[a-z/]*sh .*cd /srv/app/data' >/dev/null").code == 0
}

pub fn until(what: &str, within: Duration, is_so: impl Fn() -> bool) {
    let end = Instant::now() + within;
    while !is_so() {
        assert!(Instant::now() < end, "not {what} within {within:?}");
        thread::sleep(LOOK_EVERY);
    }
}

pub fn hop(laptop: &Machine, line: &str) -> Said {
    laptop.sh_as("dev", &format!("cd app && hop {line}"))
}

pub fn kill(machine: &Machine, units: &str) {
    machine.ok(&format!("kill -9 $(systemctl show -P MainPID {units} | grep -v '^$')"));
}

impl Two {
    /// The old one runs, both are set up, and what goes to the new one goes at 3 MB/s.
    pub fn new() -> Two {
        Two::prepared(|_| {})
    }

    /// Servers with something done before they are set up.
    pub fn prepared(done: impl Fn(&Machine)) -> Two {
        let [laptop, old, new] = Machine::boot(["laptop", "old", "new"]);
        equip(&laptop);
        admit(&laptop);
        let two = Two { laptop, old, new };
        two.cable_old();
        two.cable_new();
        for machine in [&two.old, &two.new] {
            machine.ok("install -d -o dev -g dev /srv/app");
            done(machine);
        }
        let Two { laptop, old, .. } = &two;
        old.ok_as(
            "dev",
            "mkdir /srv/app/data && cd /srv/app/data && echo 0 >log && seq 500 | xargs touch",
        );
        laptop.ok_as("dev", &format!("mkdir app && cat >app/hopbox.yaml <<'END'\n{MANIFEST}END"));
        laptop.ok_as("dev", "hop setup old -a 198.51.100.2 && hop host default old");
        laptop.ok_as("dev", "hop setup new -a 203.0.113.2 && cd app && hop up old -y --wait");
        two
    }

    /// The end of a cable goes with the machine, in a moment.
    pub fn cable_old(&self) {
        self.laptop.sh("ip link del to-old");
        self.laptop.cable("198.51.100.1/24", &self.old, "198.51.100.2/24");
    }

    pub fn cable_new(&self) {
        self.laptop.sh("ip link del to-new");
        self.laptop.cable("203.0.113.1/24", &self.new, "203.0.113.2/24");
        self.laptop.ok("tc qdisc add dev to-new root tbf rate 24mbit burst 64k latency 200ms");
    }

    pub fn link(&self, device: &str, state: &str) {
        self.laptop.ok(&format!("ip link set {device} {state}"));
    }

    /// Is at this step, and in the middle of it, by what is written after `since`.
    pub fn until_at(&self, step: &str, since: Option<SystemTime>) {
        let (file, at) = (self.laptop.path(JOURNAL), format!("\"step\":\"{step}\""));
        let is_there = || fs::read_to_string(&file).is_ok_and(|text| text.contains(&at));
        // With as much as is copied there.
        let within = if lab::is_long() { 6 * SOON } else { SOON };
        until(step, within, || self.written() != since && is_there());
        thread::sleep(Duration::from_millis(500));
    }

    /// The step that the journal has.
    pub fn step(&self) -> Option<String> {
        let text = fs::read_to_string(self.laptop.path(JOURNAL)).ok()?;
        Some(text.split("\"step\":\"").nth(1)?.split('"').next()?.to_owned())
    }

    /// When the journal was.
    pub fn written(&self) -> Option<SystemTime> {
        fs::metadata(self.laptop.path(JOURNAL)).and_then(|found| found.modified()).ok()
    }

    /// What happens at a step of `hop to new`, and what that said.
    pub fn at(&mut self, step: &str, act: impl FnOnce(&mut Two)) -> Said {
        let since = self.written();
        let command = self.laptop.begun("dev", &format!("cd app && hop {LINE}"));
        self.until_at(step, since);
        act(self);
        let said = command.end(|| self.never_both());
        self.never_both();
        said
    }

    pub fn never_both(&self) {
        assert!(!(runs(&self.old) && runs(&self.new)), "both run");
    }

    /// Whatever was acknowledged on the old one is on the new one.
    pub fn has_all(&self) {
        let (old, new) = (&self.old, &self.new);
        assert!(!runs(old) && runs(new));
        let acked = old.ok_as("dev", "tail -n 1 acked");
        let line = 1 + acked.trim().parse::<u64>().unwrap();
        let there = format!("sed -n {line}p /srv/app/data/log");
        assert_eq!(new.ok_as("dev", &there), acked, "something is lost");
        let count = "ls /srv/app/data | wc -l";
        assert_eq!(new.ok_as("dev", count), old.ok_as("dev", count));
    }

    /// It failed, said what and what helps, and the old one runs again.
    pub fn goes_back(&self, said: &Said, words: &[&str]) {
        assert!(![0, 101, 130].contains(&said.code), "{said}");
        words.iter().for_each(|word| assert!(said.err.contains(word), "{word}: {said}"));
        assert!(said.err.contains("fix: hop to new"), "{said}");
        until("running on old", SOON, || runs(&self.old));
        assert!(!runs(&self.new), "{said}");
    }
}

#[test]
fn whatever_breaks_in_the_pause_the_old_host_runs_again() {
    lab::inside("to_broken::whatever_breaks_in_the_pause_the_old_host_runs_again", || {
        let mut two = Two::new();
        agents_are_killed(&mut two);
        power_is_lost(&mut two);
        a_disk_is_full(&mut two);
        the_user_stops_it(&mut two);
        the_network_goes(&mut two);
        it_is_stopped_as_it_starts(&mut two);
        two.has_all();
    });
}

#[test]
fn a_container_moves() {
    lab::inside("to_broken::a_container_moves", || {
        // The device is everybody's, as udev makes it elsewhere.
        lab::sh("mknod -m 0666 /run/tun c 10 200; mount --bind /run/tun /dev/net/tun");
        what_cannot_be_kept_is_agreed_to(&Two::new());
    });
}

fn agents_are_killed(two: &mut Two) {
    let said = two.at("copy_rest", |two| kill(&two.old, "hop-agent-work"));
    two.goes_back(&said, &["not all of it got to new", "app runs on old again"]);
    let said = two.at("copy_rest", |two| kill(&two.new, "hop-agent-work hop-agent"));
    two.goes_back(&said, &["not all of it got to new", "app runs on old again"]);
}

fn power_is_lost(two: &mut Two) {
    let said = two.at("copy_rest", |two| {
        two.old.power_cut();
        two.cable_old();
    });
    two.goes_back(&said, &["not all of it got to new"]);
}

fn a_disk_is_full(two: &mut Two) {
    two.new.ok("mount -t tmpfs -o size=64M,uid=2001,gid=2001,mode=755 tmpfs /srv/app");
    let said = two.at("copy_rest", |two| {
        two.new.ok("cat /dev/zero >/srv/app/filler 2>/dev/null; true");
    });
    two.goes_back(&said, &["new: No space left on device", "app runs on old again"]);
    two.new.ok("rm /srv/app/filler");
}

/// Once it has seen how far it is.
fn the_user_stops_it(two: &mut Two) {
    let since = two.written();
    let line = "cd app && TERM=xterm script -qec 'hop -y to new' /dev/null";
    let command = two.laptop.begun("dev", line);
    two.until_at("copy_rest", since);
    thread::sleep(Duration::from_secs(1));
    interrupt(&two.laptop);
    let said = command.end(|| two.never_both());
    assert!(said.code == 130 && said.out.contains("app runs on old again"), "{said}");
    let counts = said.out.rsplit("copying what changed last: ").find(|text| text.contains("/s"));
    assert!(counts.is_some_and(|text| text.contains(" of 502 files, ")), "{said}");
    until("running on old", SOON, || runs(&two.old));
    assert!(!runs(&two.new));
}

fn interrupt(laptop: &Machine) {
    laptop.ok("kill -INT $(pgrep -u dev -f '^hop -y to new$')");
}

/// For longer than the user waits, who comes again before the old host knows; then for a moment,
/// of which nobody needs to know.
fn the_network_goes(two: &mut Two) {
    let said = two.at("copy_rest", |two| {
        two.link("to-old", "down");
        interrupt(&two.laptop);
    });
    assert!(said.code == 130 && said.err.contains("old does not say whether app runs"), "{said}");
    two.link("to-old", "up");
    let began = Instant::now();
    let said = two.at("copy_rest", |two| {
        for device in ["to-new", "to-old"] {
            two.link(device, "down");
            thread::sleep(Duration::from_secs(3));
            two.link(device, "up");
        }
        two.until_at("start", None);
        interrupt(&two.laptop);
    });
    assert_eq!(said.code, 130, "{said}");
    eprintln!("NOTE the network went and came: {:?}", began.elapsed());
}

fn it_is_stopped_as_it_starts(two: &mut Two) {
    let told = hop(&two.laptop, "to --status");
    assert!(told.code == 3 && told.out.contains("at start"), "{told}");
    let said = hop(&two.laptop, LINE);
    assert!(said.code == 0 && said.err.contains("goes on at start"), "{said}");
}

const OTHER: &str = if cfg!(target_arch = "aarch64") { "amd64" } else { "arm64" };
const PODMAN: &str = "XDG_RUNTIME_DIR=/run/user/2001 podman";
const BOXED: &str = r#"
name: boxed
services:
  web:
    type: container
    image: "box:1"
    command:
    - sh
    - -c
    - 'trap exit TERM; cd /data; echo mine >mine; [ -e theirs ] || {
      echo x >hidden; echo y >theirs; busybox chown 100 hidden theirs; busybox chmod 600 hidden; };
      while :; do sleep 0.05; done'
    data: [{host: "~/boxed", container: /data}]
  idle:
    type: native
    command: exec sleep 1000
    data: [{host: "~/nothing"}]
"#;

/// What it has written as another user the login cannot read, or give away: that is said, and has
/// to be agreed to, as is a place where nothing is.
fn what_cannot_be_kept_is_agreed_to(two: &Two) {
    let Two { laptop, old, new } = two;
    let hop = |line: &str| laptop.sh_as("dev", &format!("cd boxed && hop {line}"));
    for machine in [old, new] {
        containers::prepare(machine);
        if machine.name == "new" {
            // As one that is for the old host's processor alone comes to another.
            containers::image(machine, &format!("{PODMAN} import -q --arch {OTHER}"));
        }
        machine.ok_as("dev", "rm -rf data; mkdir boxed");
    }
    new.ok_as("dev", "rmdir boxed");
    laptop.ok_as("dev", &format!("mkdir boxed && cat >boxed/hopbox.yaml <<'END'\n{BOXED}END"));
    let up = hop("up old -y --wait");
    assert_eq!(up.code, 0, "{up}");
    until("theirs", SOON, || old.path("/home/dev/boxed/theirs").exists());
    let refused = hop("-y to new -H old");
    assert!(refused.code == 3 && refused.err.contains("hidden: it cannot be read"), "{refused}");
    assert!(refused.err.contains("~/nothing is empty on the old host"), "{refused}");
    let said = hop("-y to new -H old --leave-out --empty");
    assert_eq!(said.code, 0, "{said}");
    assert!(said.err.contains("1 of them are others' (uid "), "{said}");
    assert!(said.err.contains("hidden: it cannot be read"), "{said}");
    assert_eq!(new.ok_as("dev", "cat boxed/mine; stat -c %U boxed/theirs"), "mine\ndev\n");
    assert!(said.err.contains(&format!("box:1 is for {OTHER}, and this server is ")), "{said}");
    let count = format!("{PODMAN} ps -q | wc -l");
    assert_eq!([old, new].map(|machine| machine.ok_as("dev", &count)), ["0\n", "1\n"]);
}
