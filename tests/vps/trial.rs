//! A port that is closed stays closed once that was confirmed through the tunnel, and is open again
//! else: whoever was cut off, or died, on either side.

use std::time::{Duration, Instant};

use super::lab;
use super::site::Site;

const VPS: &str = "198.51.100.2";
const IS_OPEN: &str = "nft list table inet hopbox 2>/dev/null | grep -q 'tcp dport 8080 accept'";
/// The promise, and some more for two busy cores.
const PROMISED: Duration = Duration::from_secs(60 + 15);
const MANIFEST: &str = "name: app\nservices:\n  web: {type: native, command: 'sleep 10000', \
                        ports: [8080], public: true}\n";
/// Each connection is made two seconds late: there is time in between, in which something happens.
const SLOWLY: &str =
    "strace -f -o /dev/null -e trace=connect -e inject=connect:delay_enter=2000000";

fn is_open(site: &Site) -> bool {
    site.vps.sh(IS_OPEN).code == 0
}

fn until(what: &str, limit: Duration, is_so: impl Fn() -> bool) {
    let end = Instant::now() + limit;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Somebody who begins to close the port: returns when it is closed, before it is confirmed.
fn begin_to_close(site: &Site) {
    let close = format!("{SLOWLY} hop -y firewall close tcp/8080");
    let script = format!("setsid sh -c 'echo $$ >closes; exec {close}' >said 2>&1");
    let waits = "until [ -s closes ]; do :; done";
    site.laptop.ok_as("dev", &format!("rm -f closes; {script} & {waits}"));
    until("it is closed", Duration::from_secs(60), || !is_open(site));
}

fn end_of_laptop(site: &Site) {
    site.laptop.ok_as("dev", "kill -9 -$(cat closes)");
}

fn said(site: &Site, what: &str) -> usize {
    let log = site.vps.ok("cat /var/log/hopbox-server/audit.log");
    log.lines().filter(|line| line.contains(what)).count()
}

#[test]
fn what_is_not_confirmed_through_the_tunnel_is_open_again() {
    lab::inside("trial::what_is_not_confirmed_through_the_tunnel_is_open_again", || {
        let mut site = Site::boot();
        site.hop_ok(&format!("-y setup mybox -a {VPS} -k .ssh/id_ed25519"));
        let file = site.laptop.path("/home/dev/hopbox.yaml");
        std::fs::write(file, MANIFEST).unwrap();
        site.hop_ok("-y up");
        assert!(is_open(&site));

        // Cut off by it, or by whatever happens with it.
        site.vps.ok(&format!(
            "(while {IS_OPEN}; do :; done; nft 'table inet own {{ chain in {{ type filter hook \
             input priority 0; udp dport 51820 drop; }}; }}') >/dev/null 2>&1 &"
        ));
        let began = Instant::now();
        let cut = site.laptop.sh_as("dev", &format!("{SLOWLY} hop -y firewall close tcp/8080"));
        assert_eq!((cut.code, cut.fix()), (6, "hop doctor mybox"), "{cut}");
        assert!(cut.err.contains("it opens tcp/8080 again within 30 s"), "{cut}");
        until("it is open again", PROMISED.saturating_sub(began.elapsed()), || is_open(&site));
        assert_eq!(said(&site, "undone: not confirmed"), 1);
        site.vps.ok("nft delete table inet own");

        // The laptop has died, and the agent with it.
        until("it is up again", PROMISED, || site.hop("status").code == 0);
        begin_to_close(&site);
        let began = Instant::now();
        end_of_laptop(&site);
        site.vps.ok("systemctl kill -s KILL hop-agent hop-agent-work; systemctl stop hop-agent");
        assert!(!is_open(&site));
        until("it is open again", PROMISED, || is_open(&site));
        eprintln!("NOTE unconfirmed, it was open again after {:?}", began.elapsed());

        // Confirmed it stays closed, whatever happens then.
        site.vps.ok("systemctl start hop-agent hop-agent-work");
        until("it is up again", PROMISED, || site.hop("status").code == 0);
        site.hop_ok("-y firewall close tcp/8080");
        assert!(!is_open(&site) && said(&site, "confirmed") > said(&site, "until confirmed"));
        site.vps.ok("systemctl kill -s KILL hop-helper-server; sleep 1; \
                     systemctl start hop-helper-server");
        assert!(!is_open(&site));

        // The server is started anew meanwhile.
        site.hop_ok("-y up");
        begin_to_close(&site);
        end_of_laptop(&site);
        site.vps.reboot();
        until("it is open again", PROMISED, || is_open(&site));
    });
}
