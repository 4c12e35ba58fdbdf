//! ufw and firewalld on a server: what they make of a port that hopbox has opened is told with the
//! chain that drops it, what is advised lets it in, and no rule of theirs is changed for it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::lab;
use super::machine::Said;
use super::proof::typed;
use super::site::Site;

const SOON: Duration = Duration::from_secs(30);
const SETUP: &str = "--no-input setup mybox -a 198.51.100.2";

#[test]
fn a_firewall_of_the_servers_own_is_opened_by_what_is_advised() {
    lab::inside("firewalls::a_firewall_of_the_servers_own_is_opened_by_what_is_advised", || {
        let site = Site::boot().with_helper();
        let vps = &site.vps;
        if vps.sh("command -v ufw && command -v iptables && command -v firewall-cmd").code != 0 {
            return eprintln!("NOTE ufw and firewalld: not installed here, no advice is tried");
        }
        // First the port of the tunnel, then what comes out of it, then what is public.
        vps.ok("ufw allow 22/tcp && ufw --force enable");
        let ufw = Writes { site: &site, chain: "ip filter INPUT", opened: "accepted" };
        ufw.drops_the_tunnel("sudo ufw allow 51820/udp");
        typed(&site, SETUP, 6, "sudo ufw allow in on wg0");
        works(&site);
        ufw.drops_what_is_public("sudo ufw allow 8080/tcp");
        vps.ok("ufw --force disable && nft flush ruleset");

        // The cable is in a zone that is not the default one: by another it would not be let in.
        vps.ok("systemctl start firewalld && firewall-cmd -q --permanent --zone=work \
                --add-interface=to-laptop && firewall-cmd -q --reload");
        let advised =
            |port| format!("--zone=work --add-port={port} && sudo firewall-cmd --reload'");
        let chain = "inet firewalld filter_INPUT";
        let firewalld = Writes { site: &site, chain, opened: "unknown" };
        firewalld.drops_the_tunnel(&advised("51820/udp"));
        typed(&site, SETUP, 6, "--add-interface=wg0 && sudo firewall-cmd --reload'");
        works(&site);
        firewalld.drops_what_is_public(&advised("8080/tcp"));
        vps.ok("systemctl restart firewalld");
        works(&site);
    });
}

/// All rules on the server that are not of a table of hopbox's, without their counters.
fn foreign(site: &Site) -> String {
    let all = site.vps.ok("nft -s list ruleset");
    let mut ours = false;
    let theirs = all.lines().filter(|line| {
        if line.starts_with("table ") {
            ours = line.contains(" hopbox");
        }
        !ours
    });
    theirs.collect::<Vec<_>>().join("\n")
}

/// A firewall of the server's own, whose chain drops what it does not know, and what is said of a
/// port that is let in there.
struct Writes<'a> {
    site: &'a Site,
    chain: &'a str,
    opened: &'a str,
}

impl Writes<'_> {
    fn effect(&self) -> Value {
        let chain = (self.opened == "unknown").then_some(self.chain);
        json!({"effective": self.opened, "chain": chain})
    }

    /// The tunnel's port: what drops it is told, and what is advised lets it in.
    fn drops_the_tunnel(&self, advised: &str) {
        let Writes { site, chain, .. } = self;
        let before = foreign(site);
        let told = format!("the chain {chain} of its own firewall drops what comes to UDP 51820");
        site.fails(SETUP, 6, &[&told]);
        assert_eq!(foreign(site), before);
        tunnel_is(site, json!({"effective": "shadowed", "chain": chain}));
        typed(site, SETUP, 6, advised);
        tunnel_is(site, self.effect());
    }

    /// A service's port: the same. What others have is as it was, also when that is closed again.
    fn drops_what_is_public(&self, advised: &str) {
        let Writes { site, chain, .. } = self;
        let want = |manifest: &str| {
            std::fs::write(site.laptop.path("/home/dev/app/hopbox.yaml"), manifest).unwrap();
            site.laptop.sh_as("dev", "cd app && hop -y up")
        };
        let before = foreign(site);
        site.laptop.ok_as("dev", "mkdir -p app");
        let said = want(PUBLIC);
        let told = format!("the chain {chain} of the server's firewall drops what comes to it");
        assert!(said.code == 0 && said.err.contains(&told), "{said}");
        let shadowed = public(site);
        let is_told = |of: &Value| json!({"effective": of["effective"], "chain": of["chain"]});
        assert_eq!(is_told(&shadowed), json!({"effective": "shadowed", "chain": chain}));
        let get = || site.laptop.sh("curl -s -m 2 -o /dev/null http://198.51.100.2:8080/").code;
        assert_ne!(get(), 0);
        assert_eq!(foreign(site), before);
        let page = Said { code: 0, out: site.hop_ok("firewall ls"), err: String::new() };
        let fix = page.fix();
        assert!(fix.ends_with(advised) && shadowed["fix"] == fix, "{page} {shadowed}");
        site.laptop.ok_as("dev", &fix.replacen("ssh -t", "ssh", 1));
        let opened = public(site);
        assert_eq!((is_told(&opened), &opened["fix"]), (self.effect(), &Value::Null));
        assert_eq!(get(), 0);
        let before = foreign(site);
        let said = want("name: app\nhost: mybox\n");
        assert_eq!((said.code, foreign(site)), (0, before), "{said}");
        site.hop_ok("down");
    }
}

/// The rule of the service that is public.
fn public(site: &Site) -> Value {
    let told: Value = serde_json::from_str(&site.hop_ok("--json firewall ls")).unwrap();
    let rules = told["data"]["rules"].as_array().unwrap();
    rules.iter().find(|rule| rule["spec"]["port"] == 8080).unwrap().clone()
}

/// What the agent says of its port, which it looks at whenever it is asked, for the next one.
fn tunnel_is(site: &Site, expected: Value) {
    let end = Instant::now() + SOON;
    loop {
        let said = site.vps.sh("/usr/libexec/hopbox/hop-agent status --json").out;
        let status: Value = serde_json::from_str(&said).unwrap_or_default();
        if status["firewall"] == expected {
            return;
        }
        assert!(Instant::now() < end, "{expected}: {said}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

const PUBLIC: &str = "name: app
host: mybox
services:
  web:
    type: native
    command: 'exec python3 -m http.server --bind 0.0.0.0 8080'
    ports: [8080]
    public: true
";

fn works(site: &Site) {
    site.hop_ok(SETUP);
    site.hop_ok("up");
    site.hop_ok("status");
    site.hop_ok("down");
}
