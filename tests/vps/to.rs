//! `hop to` between two servers and a laptop: a PostgreSQL that is written to moves, comes back,
//! and moves with hop killed at every line of its journal.

use std::path::Path;

use serde_json::Value;

use super::lab;
use super::machine::{CTRL_C, Machine, Said};
use super::site::{admit, equip};

const MANIFEST: &str = r#"
name: app
services:
  db:
    type: native
    command: "exec /usr/lib/postgresql/*/bin/postgres -D $HOME/data/pg -k /tmp -p 5433 -c listen_addresses="
    data: [{host: ~/data}]
    health: {exec: "psql -h /tmp -p 5433 -Atc 'select 1' postgres"}
  load:
    type: native
    depends_on: [db]
    command: 'while :; do psql -h /tmp -p 5433 -qAtc "insert into t values (default) returning id" postgres >>$HOME/acked; sleep 0.02; done'
"#;
const PSQL: &str = "psql -h /tmp -p 5433 -Atc";
/// Where a journal is written: on entering, so what it says is not there.
const JOURNAL: &str = "/home/dev/.local/state/hopbox/migrations/app.json";

struct Two {
    laptop: Machine,
    old: Machine,
    new: Machine,
}

impl Two {
    fn boot() -> Two {
        let [laptop, old, new] = Machine::boot(["laptop", "old", "new"]);
        laptop.cable("198.51.100.1/24", &old, "198.51.100.2/24");
        laptop.cable("203.0.113.1/24", &new, "203.0.113.2/24");
        equip(&laptop);
        admit(&laptop);
        Two { laptop, old, new }
    }

    fn hop(&self, line: &str) -> Said {
        self.laptop.sh_as("dev", &format!("cd app && hop {line}"))
    }

    fn hop_ok(&self, line: &str) -> String {
        let said = self.hop(line);
        assert_eq!(said.code, 0, "hop {line}: {said}");
        said.out
    }

    /// What the laptop's journal says.
    fn step(&self) -> String {
        let text = self.laptop.ok(&format!("cat {JOURNAL}"));
        let it: Value = serde_json::from_str(&text).unwrap();
        format!("{} {}", it["state"], it["step"]).replace('"', "").trim().to_owned()
    }

    fn runs(machine: &Machine) -> bool {
        machine.sh("pgrep -u dev -f 'postgres -D' >/dev/null").code == 0
    }

    /// Killed when it has written its journal for the `when`th time from now on, and nothing else.
    fn killed(&self, line: &str, when: usize) {
        let dir = Path::new(JOURNAL).parent().unwrap().display();
        let inject = format!("inject=fsync:signal=KILL:when={when}");
        let trace = format!("strace -f -qq -o /dev/null -P {dir} -e {inject}");
        let said = self.laptop.sh_as("dev", &format!("cd app && {trace} hop {line}"));
        assert_eq!(said.code, 137, "{when} at {}: {said}", self.step());
        assert!(!(Two::runs(&self.old) && Two::runs(&self.new)), "both run at {}", self.step());
    }
}

/// Everything that was acknowledged to the client is there, and the last of it.
fn has_all(machine: &Machine, acked: &str) -> u64 {
    let last: u64 = acked.trim().lines().last().unwrap().parse().unwrap();
    let query = format!("{PSQL} 'select count(*) from t where id <= {last}' postgres");
    assert_eq!(machine.ok_as("dev", &query).trim(), last.to_string(), "rows are lost");
    last
}

fn acked(machine: &Machine) -> String {
    machine.ok_as("dev", "cat acked")
}

const FILES: &str = "cd data/files && find . | LC_ALL=C sort | cpio -o -H newc --quiet --device-\
                     independent 2>/dev/null | sha256sum; stat -c '%n %a %Y %h %b' sparse linked";

#[test]
fn a_workspace_moves_and_comes_back() {
    lab::inside("to::a_workspace_moves_and_comes_back", || {
        let two = Two::boot();
        let (laptop, old, new) = (&two.laptop, &two.old, &two.new);
        prepare(&two);
        what_stands_in_the_way_is_said(&two);
        let before = old.ok_as("dev", FILES);

        // It moves under load.
        let said = two.hop("--json -y to new -a 203.0.113.2");
        assert_eq!(said.code, 0, "{said}");
        let told: Value = serde_json::from_str(&said.out).unwrap();
        eprintln!("NOTE without service: {} ms", told["data"]["without_service_ms"]);
        assert!(told["data"]["without_service_ms"].as_u64().unwrap() < 60_000, "{said}");
        assert!(said.err.contains("the same, "), "{said}");
        assert!(!Two::runs(old) && Two::runs(new), "{said}");
        has_all(new, &acked(old));
        assert_eq!(new.ok_as("dev", FILES), before);
        assert_eq!(laptop.ok_as("dev", "hop host default"), "new\n");
        two.hop_ok("wait service:db service:load -H new --timeout 20s");
        // The old one is kept from starting, and says where it has gone.
        for line in ["services start db -H old", "up old -y"] {
            let said = two.hop(line);
            assert!(said.code == 9 && said.err.contains("new"), "{line}: {said}");
            assert!(said.err.contains("fix: hop to --status"), "{line}: {said}");
        }
        assert!(!Two::runs(old));

        // And back: what the old one had, and what the new one wrote stays there. The new host is
        // down and no UDP gets there, so it is asked over SSH.
        let rows = old.ok_as("dev", "wc -l <acked");
        new.ok("nft 'table inet quiet { chain in { type filter hook input priority -10; \
                iifname != lo udp dport 51820 counter drop; }; }'");
        let said = two.hop("to --rollback --confirm=new");
        assert_eq!(said.code, 0, "{said}");
        new.ok("! nft list table inet quiet | grep 'packets 0 ' && nft delete table inet quiet");
        assert!(Two::runs(old) && !Two::runs(new), "{said}");
        two.hop_ok("wait service:db service:load -H old --timeout 20s");
        assert!(has_all(old, &acked(old)) >= rows.trim().parse().unwrap());
        assert_eq!(laptop.ok_as("dev", "hop host default"), "old\n");
        assert!(laptop.ok_as("dev", "hop to --status").contains("taken back"));

        goes_on_wherever_it_is_killed(&two);
        assert!(!Two::runs(old) && Two::runs(new));
        has_all(new, &acked(old));
        assert_eq!(new.ok_as("dev", FILES), before);
        assert_eq!(laptop.ok_as("dev", "hop host default"), "new\n");

        // A new host that cannot be asked to stop holds nobody back who knows what that means.
        new.ok("systemctl stop hop-agent");
        let said = two.hop("to --rollback --confirm=new");
        assert!(said.code != 0 && !Two::runs(old), "{said}");
        assert_eq!(said.fix(), "hop to new --rollback --force");
        let forced = two.hop("to new --rollback --force --confirm=new");
        assert!(forced.code == 0 && forced.err.contains("was not asked to stop"), "{forced}");
        assert!(Two::runs(old), "{forced}");
    });
}

fn prepare(two: &Two) {
    let (laptop, old) = (&two.laptop, &two.old);
    laptop.ok_as("dev", "hop setup old -a 198.51.100.2 && hop host default old");
    old.ok_as(
        "dev",
        "mkdir -p data/files && cd data/files && for i in $(seq 2000); do echo $i >f$i; done && \
         truncate -s 64M sparse && echo end >>sparse && ln f1 linked && ln -s f2 soft && \
         printf x >$(printf 'odd\\nname') && touch -d @1000000000 f3 && chmod 600 f4 && cd .. && \
         /usr/lib/postgresql/*/bin/initdb -D pg -A trust >/dev/null",
    );
    laptop.ok_as("dev", &format!("mkdir app && cat >app/hopbox.yaml <<'END'\n{MANIFEST}END"));
    // The table is there before whoever fills it.
    let first = MANIFEST.split("  load:").next().unwrap();
    laptop.ok_as("dev", &format!("mkdir first && cat >first/hopbox.yaml <<'END'\n{first}END"));
    laptop.ok_as("dev", "cd first && hop up -y --wait");
    old.ok_as("dev", &format!("{PSQL} 'create table t (id serial primary key)' postgres"));
    two.hop_ok("up -y --wait");
}

fn what_stands_in_the_way_is_said(two: &Two) {
    let said = two.hop("to new -a 203.0.113.2 --dry-run");
    assert!(said.code == 0 && said.out.contains("nothing has been changed"), "{said}");
    assert!(said.out.contains("app moves from old to new"), "{said}");
    let said = two.hop("to new -a 203.0.113.2");
    assert!(said.code == 13 && said.err.contains("--yes"), "{said}");
    // Ctrl-C ends whatever is at the terminal, so that its own word counts.
    for (answer, ended) in [("n", "declined: "), (CTRL_C, "stopped; `hop to new --address ")] {
        let line = "cd app && hop to new -a 203.0.113.2";
        let said = two.laptop.dialogue("dev", line, &[("from old to new? [y/N]", answer)]);
        assert!(said.out.contains(ended), "{said}");
    }
    assert!(!two.new.path("/var/lib/hopbox-agent").exists(), "nothing was done there");
    another_processor_has_to_be_agreed_to(two);
    // Something has its place there already.
    two.new.ok_as("dev", "mkdir data && touch data/theirs");
    let said = two.hop("-y to new -a 203.0.113.2");
    assert!(said.code == 3 && said.err.contains("~/data holds something there"), "{said}");
    assert_eq!(two.step(), "at prepare");
    let said = two.hop("status old");
    assert!(said.out.contains("hop to new goes on"), "{said}");
    let said = two.hop("doctor old");
    assert!(said.code == 3 && said.out.contains("fix: hop to new"), "{said}");
    two.new.ok_as("dev", "rm -r data");
    assert!(Two::runs(&two.old) && two.new.sh("pgrep -u dev postgres").code != 0);
}

/// By its own word; and with programs that say they are for it.
fn another_processor_has_to_be_agreed_to(two: &Two) {
    let (other, header) = match cfg!(target_arch = "aarch64") {
        true => ("x86_64", "\\076"),
        false => ("aarch64", "\\267"),
    };
    two.new.ok(&format!(
        "printf '#!/bin/sh\\n[ \"$*\" = -m ] && echo {other} || exec /usr/bin/uname \"$@\"\\n' \
         >/usr/local/bin/uname; chmod +x /usr/local/bin/uname"
    ));
    two.laptop.ok(&format!(
        "cd /usr/local/libexec/hopbox; dir=agents/{other}-unknown-linux-musl; mkdir -p $dir; \
         for file in hop-*; do cp $file $dir; \
         printf '{header}' | dd of=$dir/$file bs=1 seek=18 conv=notrunc status=none; done"
    ));
    let line = "-y to new -a 203.0.113.2";
    let said = two.hop(line);
    assert!(said.code == 3 && said.err.contains(&format!("it is {other} and the old")), "{said}");
    assert!(said.err.contains("--other-architecture"), "{said}");
    let said = two.hop(&format!("{line} --other-architecture --dry-run"));
    assert!(said.code == 0 && said.out.contains("nothing has been changed"), "{said}");
    // What cannot run there is found out there, and nothing stays of it.
    let said = two.hop(&format!("{line} --other-architecture"));
    assert!(said.code != 0 && said.err.contains("does not run on the server"), "{said}");
    assert!(!two.new.path("/var/lib/hopbox-agent").exists() && Two::runs(&two.old), "{said}");
    two.new.ok("rm /usr/local/bin/uname");
}

fn goes_on_wherever_it_is_killed(two: &Two) {
    let line = "-y to new";
    for (when, now) in [
        (1, "at set_up"),
        (2, "at prepare"),
        (2, "at copy"),
        (2, "at pause"),
        (3, "at copy_rest"),
        (4, "at verify"),
        (5, "at leave"),
        (6, "at place"),
        (2, "at start"),
        (2, "at switch"),
    ] {
        two.killed(line, when);
        assert_eq!(two.step(), now);
        let told = two.hop("to --status");
        assert_eq!(told.code, 3, "{told}");
    }
    let said = two.hop(line);
    assert_eq!(said.code, 0, "{said}");
    assert!(said.err.contains("goes on at switch"), "{said}");
    assert_eq!(two.step(), "moved");
}
