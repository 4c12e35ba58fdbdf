//! The life of a host after setup: new keys over SSH, an upgrade that holds and one that is undone,
//! a second laptop, and the end of it all, on both machines.

use std::collections::BTreeSet;

use serde_json::Value;

use super::helpers::TO_OLDER;
use super::lab;
use super::machine::{self, Machine};
use super::site::{Site, equip};

const VPS: &str = "198.51.100.2";

const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
/// Where setup, a session and their removal could leave something.
const LIST: &str = "cd / && find etc home root/.config root/.ssh root/.local usr/libexec \
                    usr/lib/systemd usr/lib/sysusers.d var/lib/hopbox* var/spool -printf \
                    '%p %m %u %g\\n' 2>/dev/null | grep -v /.cache | LC_ALL=C sort; ls -A / /var/lib /srv";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What is on a machine, by name, mode and owner, and the tables that setup touches.
fn state(machine: &Machine) -> (String, String) {
    let tables = "cat /etc/group /etc/gshadow /etc/passwd /etc/hosts; ls -A /run | grep hopbox; nft list tables";
    (machine.ok(LIST), machine.ok(tables))
}

fn same(machine: &str, before: &(String, String), after: &(String, String)) {
    let (old, new): (BTreeSet<&str>, BTreeSet<&str>) =
        (before.0.lines().collect(), after.0.lines().collect());
    let more: Vec<_> = new.difference(&old).collect();
    let less: Vec<_> = old.difference(&new).collect();
    assert!(more.is_empty(), "left on the {machine}: {more:#?}");
    assert!(less.is_empty(), "changed on the {machine}: {less:#?}");
    assert_eq!(before.1, after.1, "tables of the {machine}");
}

/// An agent that calls itself older: the same program with another version in it. Four bytes are
/// replaced, because the compiler may write a short text as a number of four and one of one.
fn older_agent(laptop: &Machine) {
    laptop.ok(&format!(
        "mkdir -p /opt/old && cd /usr/local/libexec/hopbox && cp hop-helper hop-install /opt/old && \
         sed '{TO_OLDER}' hop-agent >/opt/old/hop-agent && chmod 755 /opt/old/hop-agent"
    ));
    assert_eq!(laptop.ok("/opt/old/hop-agent version"), "hop-agent 0.0.0\n");
}

#[test]
fn keys_are_renewed_programs_replaced_and_everything_removed() {
    lab::inside("life::keys_are_renewed_programs_replaced_and_everything_removed", || {
        let site = Site::boot();
        let (laptop, vps) = (&site.laptop, &site.vps);
        older_agent(laptop);
        laptop.ok_as("dev", &format!("ssh -o BatchMode=yes {VPS} true"));
        let before = (state(laptop), state(vps));
        site.hop_ok(&format!("--json -y setup mybox -a {VPS} -k .ssh/id_ed25519"));
        let hop = |line: &str| laptop.sh_as("dev", &format!("hop {line}"));
        let ok = |line: &str| {
            let said = hop(line);
            assert_eq!(said.code, 0, "hop {line}: {said}");
            said.out
        };

        // The agent, as its user, had the tunnel's port let in.
        vps.ok("for i in $(seq 300); do nft list table inet hopbox | \
                grep -q 'udp dport 51820 .*accept' && exit; sleep 0.1; done; exit 1");
        vps.ok("systemctl is-active hop-helper-server.socket");

        // New keys while the tunnel is down: over SSH, taken at the next up.
        let rotated = json(&ok("--json rotate"));
        assert_eq!(rotated["data"]["through"], "SSH", "{rotated}");
        assert_eq!(rotated["data"]["confirmed"], false, "{rotated}");
        ok("up");
        let peers = json(&ok("--json host peers"));
        assert_eq!(peers["data"]["peers"].as_array().unwrap().len(), 1, "{peers}");
        firewall(&hop);
        ok("-y setup mybox --second-port 53");
        let rotated = json(&ok("--json rotate"));
        assert_eq!(rotated["data"]["through"], "the tunnel", "{rotated}");
        eprintln!("NOTE rotation confirmed after {} us", rotated["data"]["confirmed_us"]);

        // A connection that must live through all that follows.
        vps.ok("apt-get --version >/dev/null; true");
        let talk = "import socket,time,sys\ns=socket.create_connection(('10.10.0.2',22))\n\
                    print(s.recv(64)[:4],flush=True)\nsys.stdin.readline()\n\
                    s.sendall(b'SSH-2.0-x\\r\\n')\ns.settimeout(60)\nprint(len(s.recv(64))>0)\n";
        laptop.ok(&format!(
            "cat >/root/talk.py <<'END'\n{talk}END\nmkfifo /run/go; \
                            sh -c 'exec 3<>/run/go; python3 /root/talk.py <&3 >/root/said 2>&1' \
                            >/dev/null 2>&1 & sleep 1; cat /root/said"
        ));
        upgrade(&site, &hop);
        vps.ok("ss -Hlunp sport = :53 | grep hop-agent");
        laptop.ok("echo >/run/go; for i in $(seq 100); do grep -q True /root/said && break; \
                   sleep 0.2; done");
        assert!(laptop.ok("cat /root/said").contains("True"), "{}", laptop.ok("cat /root/said"));
        laptop.ok("rm -f /run/go /root/said /root/talk.py");

        let refused = hop("-y host revoke ghost");
        assert_eq!(refused.code, 4, "{refused}");
        let refused = hop("-y host revoke laptop");
        assert_eq!(refused.code, 8, "a laptop cannot lock itself out: {refused}");
        assert_eq!(ok("host default mybox"), "mybox is the default host\n");
        assert_eq!(ok("host default"), "mybox\n");
        ok("run --detach -- sh -c 'echo kept >of-a-run; sleep 300'");
        laptop.ok_as(
            "dev",
            &format!("until ssh -o BatchMode=yes {VPS} rm of-a-run; do sleep 0.1; done"),
        );

        let asked = hop("--no-input uninstall --purge --remote");
        assert_eq!(asked.code, 13, "{asked}");
        let gone = hop("--json -y uninstall --purge --remote");
        assert_eq!(gone.code, 0, "{gone}");
        // dev may sudo without a password, and is known to have logged in before.
        same("laptop", &before.0, &state(laptop));
        same("server", &before.1, &state(vps));
    });
}

/// The one port that is open, who opened it, and that nobody closes it from here.
fn firewall(hop: &dyn Fn(&str) -> machine::Said) {
    let listed = hop("--json firewall ls");
    let rules = json(&listed.out)["data"]["rules"].clone();
    assert_eq!(rules.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(
        (&rules[0]["spec"]["port"], &rules[0]["effective"]),
        (&51820.into(), &"accepted".into())
    );
    let table = hop("firewall ls mybox");
    assert!(table.out.contains("udp/51820") && table.out.contains("accepted"), "{table}");
    let history = hop("firewall history");
    assert!(history.out.contains("open udp/51820 from any for hopbox"), "{history}");
    let kept = hop("-y firewall close udp/51820");
    assert_eq!((kept.code, kept.fix()), (8, "hop firewall ls mybox"), "{kept}");
    assert_eq!(hop("-y firewall close tcp/1").code, 4);
    assert_eq!(hop("--no-input firewall close udp/51820").code, 13);
}

/// To an older agent by hand and back by `hop upgrade`; then one that is older than this hop.
fn upgrade(site: &Site, hop: &dyn Fn(&str) -> machine::Said) {
    let (laptop, vps) = (&site.laptop, &site.vps);
    let same = hop("upgrade");
    assert!(same.code == 0 && same.out.contains("already"), "{same}");
    let program = std::fs::read(laptop.path("/opt/old/hop-agent")).unwrap();
    std::fs::write(vps.path("/root/old-agent"), program).unwrap();
    vps.ok(&format!("chmod 755 /root/old-agent && /root/old-agent install && {AGENT} start"));
    let told = hop("up");
    assert!(told.code == 0, "{told}");
    let fault = hop("--json doctor");
    assert!(fault.out.contains("\"fix\":\"hop upgrade mybox\""), "{fault}");
    let up = hop("--json upgrade mybox");
    assert_eq!(up.code, 0, "{up}");
    let data = json(&up.out)["data"].clone();
    let now = env!("CARGO_PKG_VERSION");
    assert_eq!((&data["before"], &data["version"]), (&"0.0.0".into(), &now.into()), "{data}");
    assert!(vps.ok(&format!("{AGENT} version")).contains(now));

    let stale = hop("upgrade --agent-dir /opt/old");
    assert_eq!(stale.code, 2, "{stale}");
    for word in [
        "of version 0.0.0",
        concat!("of ", env!("CARGO_PKG_VERSION")),
        "fix: make agents && sudo make install",
    ] {
        assert!(stale.err.contains(word), "{word}: {stale}");
    }
    assert!(vps.ok(&format!("{AGENT} version")).contains(now), "the one before stays");
    assert_eq!(hop("status").code, 0);
    vps.ok("rm /root/old-agent");
    laptop.ok("rm -r /opt/old");
}

#[test]
fn a_second_laptop_is_added_revoked_and_cleans_up_after_itself() {
    lab::inside("life::a_second_laptop_is_added_revoked_and_cleans_up_after_itself", || {
        let [first, second, vps] = Machine::boot(["laptop", "second", "vps"]);
        first.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
        second.cable("203.0.113.1/24", &vps, "203.0.113.2/24");
        let hop = |machine: &Machine, line: &str| machine.sh_as("dev", &format!("hop {line}"));
        for (machine, address) in [(&first, VPS), (&second, "203.0.113.2")] {
            equip(machine);
            let line = format!("hop -y setup mybox -a {address} -k .ssh/id_ed25519");
            let set = machine.sh_as("dev", &line);
            assert_eq!(set.code, 0, "{set}");
            let up = hop(machine, "up");
            assert_eq!(up.code, 0, "{up}");
        }
        assert_eq!(hop(&first, "status").code, 0, "the first is not disturbed");
        let peers = hop(&first, "host peers");
        assert!(peers.out.contains("10.10.0.1") && peers.out.contains("10.10.0.3"), "{peers}");

        // New keys for the first: the agent's key changes, the second goes on with the old one.
        let rotated = hop(&first, "--json rotate");
        assert_eq!(rotated.code, 0, "{rotated}");
        assert_eq!(json(&rotated.out)["data"]["agent_key_changed"], true, "{rotated}");
        for machine in [&first, &second] {
            assert_eq!(hop(machine, "status").code, 0);
            hop(machine, "down");
            let up = hop(machine, "up");
            assert_eq!(up.code, 0, "{up}");
        }
        let again = hop(&first, "--json rotate");
        assert_eq!(json(&again.out)["data"]["agent_key_changed"], false, "{again}");
        assert_eq!(hop(&second, "rotate").code, 0);

        // The second leaves; the server stays the first's.
        let own = hop(&second, "-y host revoke second");
        assert_eq!((own.code, own.fix()), (8, "hop uninstall --remote -H mybox"), "{own}");
        let gone = second.sh_as("dev", &format!("{} -y --purge", own.fix()));
        assert!(gone.code == 0 && gone.err.contains("other laptops use it"), "{gone}");
        assert_eq!(hop(&first, "status").code, 0);
        // And comes back, to be revoked.
        let line = "hop -y setup mybox -a 203.0.113.2 -k .ssh/id_ed25519";
        let back = second.sh_as("dev", line);
        assert_eq!(back.code, 0, "{back}");
        assert_eq!(hop(&second, "up").code, 0);
        let revoked = hop(&first, "-y host revoke second");
        assert_eq!(revoked.code, 0, "{revoked}");
        assert!(!hop(&first, "host peers").out.contains("10.10.0.3"));
        assert_ne!(second.sh_as("dev", "curl -s -m 3 http://10.10.0.2:4200/health").code, 0);
        // The server's word, as the laptop that it knows no more can type it.
        let unknown = hop(&second, "rotate");
        assert_eq!((unknown.code, unknown.fix()), (4, "hop setup mybox"), "{unknown}");
        second.ok_as("dev", unknown.fix());
        assert_eq!(hop(&second, "rotate").code, 0);
        assert_eq!(hop(&second, "up").code, 0);
    });
}
