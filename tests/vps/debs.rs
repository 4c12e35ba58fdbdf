//! Debian's packages on a laptop and on a server, by apt, from their first install to their purge.
//! `make debs` has built them and says where by HOP_DEBS; without it nothing is tested here.

use std::collections::BTreeSet;

use super::helpers::{SERIES, TO_OLDER, goes_on, open, running_helper};
use super::lab;
use super::machine::Machine;
use super::site::{FIRST, Site};

const DEBS: &str = "HOP_DEBS";
const ALL: &str = "hopbox hopbox-agent hopbox-server-helper";
/// All files, with what is in those of /etc; what of the kernel's and systemd's is ours. Left out
/// is what the system's own parts write at any time.
const THINGS: &str = r"
find /bin /boot /etc /lib* /opt /sbin /srv /usr /var \( -path /var/tmp -o -path /var/cache \
    -o -path /var/lib/dpkg -o -path /var/lib/apt -o -path /var/lib/systemd -o -path /var/log/apt \
    -o -path /var/lib/PackageKit -o -path /var/log/journal -o -path /var/log/dpkg.log \
    -o -path '/etc/*-' \) -prune -o -print
cd /etc && find . -type f ! -name '*-' ! -name ld.so.cache -exec b2sum -l 64 {} +
ls -d /run/hop*; ls /sys/class/net; nft list tables
systemctl list-units --all --no-legend --plain 'hop*'; pgrep -a hop";

fn has_debs(name: &str) -> bool {
    let has = std::env::var_os(DEBS).is_some();
    if !has {
        eprintln!("SKIP {name}: make debs");
    }
    has
}

/// Puts the packages there as they were built, and as of a release before: the same, with programs
/// that call themselves 0.0.0. Its apt may start services, which that of an image may not.
fn bring(machine: &Machine) {
    let (from, to) = (std::env::var(DEBS).unwrap(), machine.path("/root/new"));
    lab::sh(&format!("mkdir {0} && cp {from}/hopbox*.deb {0} && rm -f {0}/*dbgsym*", to.display()));
    machine.ok(&format!(
        "rm -f /usr/sbin/policy-rc.d; mkdir /root/old && cd /root/new && for deb in *.deb; do \
         x=/root/x version=$(dpkg-deb -f $deb Version) && dpkg-deb -R $deb $x && \
         sed -i s/$version/0.0.0-1/g $x/DEBIAN/control && \
         find $x/usr -type f -perm -1 -exec sed -i '{TO_OLDER}' {{}} + && \
         dpkg-deb -b --root-owner-group -Znone $x /root/old >/dev/null && rm -r $x || exit; done"
    ));
}

fn apt(machine: &Machine, words: &str) {
    machine.ok(&format!("DEBIAN_FRONTEND=noninteractive apt-get -y -qq {words} </dev/null"));
}

fn things(machine: &Machine) -> BTreeSet<String> {
    machine.sh(THINGS).out.lines().map(str::to_owned).collect()
}

/// Nothing is there that was not, and all that was.
fn same(before: &BTreeSet<String>, machine: &Machine) {
    let after = things(machine);
    let left: Vec<_> = after.difference(before).collect();
    let lost: Vec<_> = before.difference(&after).collect();
    let name = machine.name;
    assert!(left.is_empty() && lost.is_empty(), "{name}: left: {left:#?}\nlost: {lost:#?}");
}

fn health(site: &Site) -> String {
    site.laptop.ok("curl -sS -m 10 http://mybox.hop:4200/health")
}

#[test]
fn a_laptop_is_upgraded_under_a_live_tunnel_and_purged() {
    let name = "debs::a_laptop_is_upgraded_under_a_live_tunnel_and_purged";
    if !has_debs(name) {
        return;
    }
    lab::inside(name, || {
        let [laptop, vps] = Machine::boot(["laptop", "vps"]);
        laptop.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
        std::fs::write(laptop.path("/home/dev/.ssh/config"), FIRST).unwrap();
        laptop.ok("chown dev:dev /home/dev/.ssh/config");
        bring(&laptop);
        let site = Site { laptop, vps };
        let laptop = &site.laptop;
        let before = things(laptop);

        apt(laptop, "install /root/old/*.deb");
        assert_eq!(laptop.sh("systemctl is-active hop-helper.socket").out, "inactive\n");
        laptop.ok_as("dev", "sudo hop-helper --install");
        site.hop_ok("setup mybox -a 198.51.100.2");
        site.hop_ok("up");
        open(laptop);
        let session = laptop.ok("pgrep -x hop");

        // The session is the same one, of the release before, and so is its connection; its helper
        // is the new one.
        apt(laptop, "install /root/new/*.deb");
        let installed = laptop.ok("b2sum </usr/libexec/hopbox/hop-helper");
        assert_eq!(running_helper(laptop), installed, "the helper before still runs");
        goes_on(laptop);
        assert_eq!(laptop.ok("pgrep -x hop"), session);
        assert!(health(&site).contains("\"0.0.0\""), "{}", health(&site));
        site.hop_ok("status");

        // The user's next session, and the server, are of this release.
        site.hop_ok("down");
        site.hop_ok("up");
        site.hop_ok("-y upgrade");
        assert!(health(&site).contains(&format!("\"{SERIES}")), "{}", health(&site));
        site.hop_ok("status");

        // What goes takes the tunnel with it; what dpkg keeps for a next time are two files.
        apt(laptop, &format!("remove {ALL}"));
        let devices = laptop.ok("ls /sys/class/net; grep hop /etc/hosts || :");
        assert!(!devices.contains("hop"), "{devices}");
        let kept = laptop.ok("ls -d /etc/logrotate.d/hop*");
        assert_eq!(kept, "/etc/logrotate.d/hopbox\n/etc/logrotate.d/hopbox-server\n");
        apt(laptop, &format!("purge {ALL}"));
        same(&before, laptop);
    });
}

/// Asks for a port, as root.
const OPEN: &str = "from asker import Asker; print(Asker(0).ok('firewall.add_rule', port=9007, \
                    protocol='tcp', source='any', app_name='debs'))";

#[test]
fn a_servers_ports_stay_open_over_an_upgrade_and_close_with_a_purge() {
    let name = "debs::a_servers_ports_stay_open_over_an_upgrade_and_close_with_a_purge";
    if !has_debs(name) {
        return;
    }
    lab::inside(name, || {
        let [server] = Machine::boot(["server"]);
        bring(&server);
        let asker = concat!(env!("CARGO_MANIFEST_DIR"), "/helper/tests/asker.py");
        std::fs::copy(asker, server.path("/root/asker.py")).unwrap();
        let before = things(&server);
        let rule = "nft list table inet hopbox | grep 'tcp dport 9007'";
        let number = "systemctl show -P MainPID hop-helper-server";

        apt(&server, "install /root/old/*.deb");
        server.ok("hop-helper --install && hop-helper-server --install");
        server.ok(&format!("cd /root && python3 -B -c \"{OPEN}\""));
        let (opened, first) = (server.ok(rule), server.ok(number));
        apt(&server, "install /root/new/*.deb");
        assert_eq!(server.ok(rule), opened);
        assert_ne!(server.ok(number), first, "the helper before still runs");
        assert_eq!(server.ok("systemctl is-active hop-helper-server"), "active\n");

        // Of the three the one that only a server has.
        apt(&server, "remove hopbox-server-helper");
        assert_ne!(server.sh(rule).code, 0);
        assert_eq!(server.ok("systemctl is-active hop-helper.socket"), "active\n");
        apt(&server, &format!("purge {ALL}"));
        same(&before, &server);
    });
}

#[test]
fn the_packages_own_test_passes() {
    let name = "debs::the_packages_own_test_passes";
    if !has_debs(name) {
        return;
    }
    lab::inside(name, || {
        let [machine] = Machine::boot(["machine"]);
        let (from, to) = (std::env::var(DEBS).unwrap(), machine.path("/root/debs"));
        let to = to.display();
        lab::sh(&format!(
            "mkdir {to} && cd {from} && cp *.dsc *.tar.xz *.deb {to} && rm {to}/*dbg*"
        ));
        // `null` takes the machine that it runs on for one that may be changed, as this one may.
        let said = machine.sh("rm -f /usr/sbin/policy-rc.d; cd /root/debs && autopkgtest \
             --summary-file=/root/summary *.dsc *.deb -- null >/root/log 2>&1; echo $?; \
             cat /root/summary; tail -n 60 /root/log");
        assert!(said.out.starts_with("0\ndemo                 PASS"), "{said}");
    });
}
