//! A host behind the firewall of a provider: setup opens the tunnel's port there, up the services
//! that are public, and what was opened is closed with them. It is the provider of tests/cloud, on
//! the laptop's own loopback.

use serde_json::{Value, json};

use super::lab;
use super::machine::Said;
use super::site::Site;

const VPS: &str = "198.51.100.2";
const IS_OPEN: &str = "nft list table inet hopbox 2>/dev/null | grep -q 'tcp dport 8080 accept'";
const MANIFEST: &str = "name: app\nservices:\n  web: {type: native, command: 'sleep 10000', \
                        ports: [8080], public: true}\n";
const URL: &str = "https://localhost:4443/v1";
const CERTIFICATES: &str = "
    mkdir -p /srv/provider && cd /srv/provider &&
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem \
        -addext subjectAltName=DNS:localhost -out cert.pem 2>/dev/null && chmod 644 *.pem";

struct Provider<'a>(&'a Site);

impl Provider<'_> {
    fn start(site: &Site) -> Provider<'_> {
        let laptop = &site.laptop;
        laptop.ok(CERTIFICATES);
        let script = include_str!("../cloud/provider.py");
        let script = script.replace("(\"127.0.0.1\", 0)", "(\"127.0.0.1\", 4443)");
        std::fs::write(laptop.path("/srv/provider/provider.py"), script).unwrap();
        laptop.ok("cd /srv/provider; mkfifo asks; \
                   (exec 3<>asks; exec python3 provider.py cert.pem key.pem <asks >says 2>&1) & \
                   for i in $(seq 100); do grep -q 4443 says && exit; sleep 0.1; done; exit 1");
        laptop.ok_as("dev", &format!("umask 077; echo {} >token", "t".repeat(64)));
        Provider(site)
    }

    /// Makes it anew; what it was before.
    fn reset(&self, state: &Value) -> Value {
        let script = "cd /srv/provider; before=$(wc -l <says); cat state >asks; \
                      until [ $(wc -l <says) -gt $before ]; do sleep 0.05; done; tail -n 1 says";
        std::fs::write(self.0.laptop.path("/srv/provider/state"), format!("{state}\n")).unwrap();
        serde_json::from_str(&self.0.laptop.ok(script)).unwrap()
    }

    /// Its rules stay, and its faults are these.
    fn fails(&self, faults: Value) {
        let was = self.reset(&json!({}));
        self.reset(&json!({"rules": was["rules"], "faults": faults}));
    }

    /// What is said of each rule.
    fn rules(&self) -> Vec<String> {
        let get = format!(
            "curl -sS --cacert /srv/provider/cert.pem -H 'Authorization: Bearer {}' {URL}/firewalls/7",
            "t".repeat(64)
        );
        let told: Value = serde_json::from_str(&self.0.laptop.ok(&get)).unwrap();
        let rules = told["firewall"]["rules"].as_array().unwrap().clone();
        let said =
            |rule: Value| format!("{} {}", rule["port"], rule["description"]).replace('"', "");
        rules.into_iter().map(said).collect()
    }
}

const FOREIGN: &str = "22 of the office";
const TUNNEL: &str = "51820 hopbox 10.10.0.2 hopbox the tunnel of hopbox";
const WEB: &str = "8080 hopbox 10.10.0.2 hopbox-app web";

#[test]
fn a_provider_is_asked_for_what_the_server_opens() {
    lab::inside("provider::a_provider_is_asked_for_what_the_server_opens", || {
        let site = Site::boot();
        site.hop_ok(&format!("-y setup mybox -a {VPS} -k .ssh/id_ed25519"));
        let provider = Provider::start(&site);
        let foreign = json!({"direction": "in", "protocol": "tcp", "port": "22",
                             "source_ips": ["192.0.2.0/24"], "description": "of the office"});
        provider.reset(&json!({"rules": [foreign]}));
        let is_open = || site.vps.sh(IS_OPEN).code == 0;
        site.hop_ok(&format!(
            "firewall backend mybox hetzner-cloud --firewall 7 --token-file token --endpoint {URL} \
             --ca-file /srv/provider/cert.pem"
        ));
        assert_eq!(provider.rules(), [FOREIGN]);

        // A tunnel that does not work takes with it what was opened for it.
        site.vps.ok("nft 'table inet own { chain in { type filter hook input priority 0; \
                     udp dport 51820 drop; }; }'");
        let cut = site.hop("-y setup mybox");
        assert!(
            cut.code != 0 && cut.err.contains("is not open at hetzner-cloud any more"),
            "{cut}"
        );
        assert_eq!(provider.rules(), [FOREIGN]);
        site.vps.ok("nft delete table inet own");
        site.hop_ok("-y setup mybox");
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL]);

        std::fs::write(site.laptop.path("/home/dev/hopbox.yaml"), MANIFEST).unwrap();
        let asked = site.hop("--no-input up");
        assert_eq!(asked.code, 13, "{asked}");
        let line = "  + open tcp/8080 at hetzner-cloud, for web";
        assert!(asked.err.contains(line), "{asked}");
        assert!(!is_open() && provider.rules().len() == 2);
        site.hop_ok("-y up");
        assert!(is_open());
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL, WEB]);
        let again = site.hop("--no-input up");
        assert_eq!(again.code, 0, "what is open is not asked for again: {again}");
        listed(&site);

        needed_where_it_is_used_alone(&site);
        let half = site.hop("-y firewall close tcp/8080");
        assert!(half.code == 11 && half.err.contains("hetzner-cloud: cannot read"), "{half}");
        assert!(!is_open());
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL, WEB]);
        site.laptop.ok_as("dev", "mv away token");
        looked_at(&site);
        site.hop_ok("-y firewall close tcp/8080");
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL]);
        let kept = site.hop("-y firewall close udp/51820");
        assert_eq!(kept.code, 8, "{kept}");

        // Not there, not here either: and the service ends.
        provider.fails(json!([{"step": "set", "times": 100, "do": 403}]));
        let failed = site.hop("-y up");
        assert_eq!((failed.code, failed.fix()), (9, "hop firewall ls mybox"), "{failed}");
        assert!(failed.err.contains("web is stopped, since it is not open"), "{failed}");
        assert!(!is_open() && state(&site) == "stopped");
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL]);
        provider.fails(json!([]));
        site.hop_ok("-y up");
        assert!(is_open() && state(&site) == "running");
        // Closed as far as that goes, and the rest is said; then the rest.
        provider.fails(json!([{"step": "set", "times": 100, "do": 403}]));
        let half = site.hop("-y firewall close tcp/8080");
        assert!(
            half.code == 11 && half.err.contains("hetzner-cloud: 403 token_readonly"),
            "{half}"
        );
        assert!(!is_open());
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL, WEB]);
        let unread = json!([{"step": "rules", "times": 100, "do": "garbage"}]);
        provider.fails(unread);
        assert_eq!(site.hop("firewall ls").code, 11);
        provider.fails(json!([]));
        site.hop_ok("-y firewall close tcp/8080");
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL]);
        site.hop_ok("-y up");

        // Not wanted any more; and at the end nothing of ours is there.
        let file = site.laptop.path("/home/dev/hopbox.yaml");
        std::fs::write(file, MANIFEST.replace(", public: true", "")).unwrap();
        let less = site.hop("-y up");
        assert!(less.err.contains("  - close tcp/8080 at hetzner-cloud, for web"), "{less}");
        assert!(!is_open());
        assert_eq!(provider.rules(), [FOREIGN, TUNNEL]);
        let gone = site.hop("-y uninstall --purge --remote");
        assert!(gone.code == 0 && gone.err.contains("1 port at hetzner-cloud closed"), "{gone}");
        assert_eq!(provider.rules(), [FOREIGN]);
    });
}

/// The token is away: what needs no answer of the provider's goes on, and what does begins nothing.
fn needed_where_it_is_used_alone(site: &Site) {
    site.laptop.ok_as("dev", "mv token away");
    let same = site.hop("--no-input up");
    assert!(same.code == 0 && same.err.contains("/home/dev/token"), "{same}");
    let file = site.laptop.path("/home/dev/hopbox.yaml");
    std::fs::write(&file, MANIFEST.replace("[8080]", "[8080, 8081]")).unwrap();
    let more = site.hop("-y up");
    assert!(more.code == 4 && more.err.contains("/home/dev/token"), "{more}");
    assert_ne!(site.vps.sh("nft list table inet hopbox | grep 8081").code, 0);
    std::fs::write(file, MANIFEST).unwrap();
    let history = site.hop("firewall history");
    assert!(history.code == 11 && history.out.contains("tcp/8080"), "{history}");
    let status = site.hop_ok("status mybox");
    assert!(status.contains("hetzner-cloud, firewall 7"), "{status}");
    assert_eq!(provider_check(site, "")["fault"], "token_missing");
}

/// By `hop doctor`: the token's file, and what is let in where that is asked for.
fn looked_at(site: &Site) {
    site.laptop.ok_as("dev", "chmod 644 token");
    let open = provider_check(site, "");
    assert_eq!(
        (&open["fault"], &open["fix"]),
        (&json!("token_open"), &json!("chmod 600 /home/dev/token"))
    );
    site.laptop.ok_as("dev", "chmod 600 token");
    assert_eq!(provider_check(site, "")["ok"], true);
    let asked = provider_check(site, "--deep");
    let found = asked["found"].to_string();
    assert!(found.contains("udp/51820") && found.contains("tcp/8080"), "{asked}");
    site.laptop.ok_as("dev", &format!("cp token kept; echo {} >token", "u".repeat(64)));
    let refused = provider_check(site, "--deep");
    assert!(refused["fault"] == "provider_not_read", "{refused}");
    assert!(refused["evidence"].to_string().contains("401"), "{refused}");
    site.laptop.ok_as("dev", "cat kept >token");
}

fn provider_check(site: &Site, flag: &str) -> Value {
    let said = site.hop(&format!("--json doctor mybox {flag}"));
    let told: Value = serde_json::from_str(&said.out).unwrap();
    let mut checks = told["data"]["checks"].as_array().into_iter().flatten();
    checks.find(|check| check["check"] == "provider").unwrap_or_else(|| panic!("{told}")).clone()
}

fn state(site: &Site) -> String {
    let told: Value = serde_json::from_str(&site.hop_ok("--json services ls")).unwrap();
    told["data"]["services"][0]["state"].as_str().unwrap_or_default().to_owned()
}

fn listed(site: &Site) {
    let Said { out, .. } = site.hop("firewall ls mybox");
    let (here, there) = out.split_once("At hetzner-cloud, in its firewall 7:").unwrap();
    for part in [here, there] {
        assert!(part.contains("tcp/8080") && part.contains("udp/51820"), "{out}");
    }
    let told: Value = serde_json::from_str(&site.hop_ok("--json firewall ls")).unwrap();
    assert_eq!(told["data"]["provider"]["rules"].as_array().unwrap().len(), 2, "{told}");
    let history = site.hop_ok("firewall history");
    assert!(history.contains("set_firewall_rules"), "{history}");
}
