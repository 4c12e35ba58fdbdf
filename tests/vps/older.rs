//! `hop upgrade` and `hop setup` over an agent of an older release, which has its files in
//! `/etc/hopbox`: they move with the new one, and back where the older one is put back.

use super::helpers::{hop, patched};
use super::lab;
use super::machine::Machine;
use super::site::Site;

const LIB: &str = "/usr/libexec/hopbox";
const DEAF: &str = "/opt/deaf";

/// Looks for its files where older releases did, and says so in its unit.
const OLDER: &str = r#"#!/bin/sh
# ReadWritePaths=/etc/hopbox
case $1 in
version) echo hop-agent 0.0.9 ;;
start)
    unit=/etc/systemd/system/hop-agent.service
    grep -q ^ReadWrite $unit || sed -i 's,^UMask=,ReadWritePaths=/etc/hopbox\n&,' $unit
    systemctl daemon-reload && systemctl enable hop-agent && systemctl restart hop-agent
    for i in $(seq 100); do
        /usr/libexec/hopbox/older status --json --config /etc/hopbox/agent.json && exit
        sleep 0.1
    done
    exit 1
    ;;
setup)
    # A release that finds no file begins anew.
    [ -f /etc/hopbox/agent.json ] || { echo '{"error":{"code":"failed","what":"anew","why":"","fix":""}}'; exit 1; }
    exec /usr/libexec/hopbox/older setup --config /etc/hopbox/agent.json
    ;;
*) exec /usr/libexec/hopbox/older "$@" --config /etc/hopbox/agent.json ;;
esac
"#;

/// The server as that release left it, with the files that it has. The helper is of this release,
/// and would not bear the directory as it was.
fn make_older(vps: &Machine) {
    vps.ok(&format!(
        "systemctl stop hop-agent; cp {LIB}/hop-agent {LIB}/older; cd /var/lib/hopbox-agent && \
         rm -f /etc/systemd/system/hop-agent-work.service && \
         mv agent.json agent.key* /etc/hopbox/ && cat >{LIB}/new <<'END'\n{OLDER}END\n\
         chmod 755 {LIB}/new && mv {LIB}/new {LIB}/hop-agent && rm -f {LIB}/hop-agent.previous && \
         sed -i -e 's,^UMask=,ReadWritePaths=/etc/hopbox\\n&,' \
             -e 's, hop-agent-work.service,,' /etc/systemd/system/hop-agent.service && \
         systemctl daemon-reload && systemctl start hop-agent"
    ));
}

fn serves(site: &Site) {
    site.hop_ok("down");
    site.hop_ok("up");
    assert_eq!(hop(site, "status").code, 0);
}

/// Whether the process is there that older releases have not, and its unit.
fn works(vps: &Machine) -> (bool, bool) {
    let unit = "test -e /etc/systemd/system/hop-agent-work.service";
    let soon = "for i in $(seq 30); do systemctl is-active -q hop-agent-work && exit; sleep 0.1; \
                done; exit 1";
    let is_there = vps.sh(unit).code == 0;
    (
        is_there,
        vps.sh(if is_there { soon } else { "systemctl is-active -q hop-agent-work" }).code == 0,
    )
}

fn places(vps: &Machine) -> String {
    vps.ok("stat -c '%U %G %a' /etc/hopbox /var/lib/hopbox-agent; ls -A -I invited -I nginx /etc/hopbox; \
            cd /var/lib/hopbox-agent && ls -A -I agent.sock -I agent.work.sock -I agent.stamp -I agent.endpoints -I agent.names")
}

const NEW: &str = "root root 755\ndev dev 700\nhelper.json\nagent.json\nagent.key\n";
const OLD: &str = "root root 755\ndev dev 700\nagent.json\nagent.key\nhelper.json\n";

#[test]
fn files_of_an_older_agent_move_with_the_new_one_and_back_with_it() {
    lab::inside("older::files_of_an_older_agent_move_with_the_new_one_and_back_with_it", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        patched(laptop, "hop-agent", DEAF, "v1 zx2c4 Jason@zx2c4.com", "v0 zx2c4 Jason@zx2c4.com");
        laptop.ok(&format!("cd /usr/local/libexec/hopbox && cp hop-helper hop-install {DEAF}"));
        site.hop_ok("setup mybox -a 198.51.100.2");
        site.hop_ok("up");
        assert_eq!(places(vps), NEW);
        make_older(vps);
        serves(&site);
        assert_eq!(places(vps), OLD);

        let undone = hop(&site, &format!("upgrade --agent-dir {DEAF}"));
        assert!(undone.err.contains("was undone"), "{undone}");
        assert_eq!(places(vps), OLD, "back with the older one: {undone}");
        assert_eq!(works(vps), (false, false), "{undone}");
        serves(&site);
        // By hand.
        site.hop_ok("upgrade");
        assert_eq!(places(vps), NEW);
        assert_eq!(works(vps), (true, true));
        serves(&site);
        vps.ok(&format!("{LIB}/hop-agent rollback"));
        assert_eq!(places(vps), OLD);
        assert_eq!(works(vps), (false, false));
        serves(&site);

        // The laptop dies before it has asked; whoever comes then finds the same server.
        laptop.ok_as(
            "dev",
            "rm -f log; (hop upgrade 2>log & p=$!; \
             while ! grep -q 'asking through' log && kill -0 $p; do sleep 0.01; done; \
             kill -9 $p; wait $p; true) 2>/dev/null",
        );
        vps.ok(&format!("test -d {LIB}/unverified; rm -rf /home/dev/.hopbox-setup"));
        site.hop_ok("setup mybox -a 198.51.100.2");
        assert_eq!(places(vps), NEW);
        assert_eq!(works(vps), (true, true));
        assert_eq!(vps.sh(&format!("test -d {LIB}/unverified")).code, 1);
        serves(&site);
        site.hop_ok("-y uninstall --remote --purge");
        assert_eq!(vps.ok("ls -d /etc/hopbox /var/lib/hopbox-agent 2>/dev/null; true"), "");
    });
}
