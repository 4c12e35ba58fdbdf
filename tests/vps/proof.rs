//! Step 7 of `hop setup`: what it proves, and what it says when the tunnel does not work.

use super::lab;
use super::machine::PASSWORD;
use super::site::Site;

const AGAIN: &str = "--no-input setup mybox";

impl Site {
    /// The server drops what this rule matches, and nothing else.
    fn drops(&self, hook: &str, rule: &str) {
        self.vps.ok(&format!(
            "nft flush ruleset && nft add table ip f && \
             nft add chain ip f c '{{ type filter hook {hook} priority 0; }}' && \
             nft add rule ip f c {rule} drop"
        ));
    }
}

#[test]
fn a_tunnel_that_fails_is_blamed_on_the_right_side() {
    lab::inside("proof::a_tunnel_that_fails_is_blamed_on_the_right_side", || {
        let site = Site::boot().with_helper();
        let vps = &site.vps;
        site.hop_ok("setup mybox -a 198.51.100.2");
        // The agent runs on throughout: what it heard before is no sign of anything.
        let pid = vps.ok("systemctl show -P MainPID hop-agent");
        site.drops("input", "iifname != lo udp dport 51820");
        let fix = "fix: ssh -t dev@198.51.100.2 sudo nft insert rule ip f c udp dport 51820 accept";
        let closed = ["not one UDP packet reached 198.51.100.2: the chain ip f c of its own", fix];
        // `hop up` knows as much, and asks nobody for it; where it may, it goes over SSH.
        site.fails("up --transport udp", 6, &closed);
        let said = site.hop("up");
        assert!(said.code == 0 && said.out.contains(", over SSH"), "{said}");
        site.hop_ok("down");
        let said = site.hop(AGAIN);
        assert!(said.code == 6 && closed.iter().all(|w| said.err.contains(w)), "{said}");
        site.laptop.ok_as("dev", &said.fix().replacen("ssh -t", "ssh", 1));
        site.hop_ok("setup mybox");
        // What is dropped before it is there is the provider's.
        site.laptop.ok("nft 'table netdev way { chain out { \
                        type filter hook egress device to-vps priority 0; \
                        udp dport 51820 drop; }; }'");
        let theirs = ["whose own firewall lets them in", "open at your provider"];
        site.fails(AGAIN, 6, &theirs);
        site.laptop.ok("nft delete table netdev way");
        site.drops("output", "oifname != lo udp sport 51820");
        site.fails(AGAIN, 6, &["its answers do not arrive"]);
        site.fails("up --transport udp", 6, &["its answers do not arrive"]);
        // A firewall with a default to deny, after UDP was let in.
        site.drops("input", "iifname wg0 tcp dport 4200");
        let own = ["there was a handshake", "own firewall", "TCP 4200 in on wg0"];
        site.fails(AGAIN, 6, &own);
        site.fails("up", 6, &own);
        vps.ok("mkdir -p /etc/ufw && echo ENABLED=yes >/etc/ufw/ufw.conf");
        let fix = "fix: ssh -t dev@198.51.100.2 sudo ufw allow in on wg0";
        site.fails(AGAIN, 6, &[&own[..], &[fix]].concat());
        assert_eq!(vps.ok("systemctl show -P MainPID hop-agent"), pid);

        // Whoever may not ask the agent does not know whether it runs.
        site.drops("input", "udp dport 51820");
        let answers = [("password for pat", PASSWORD)];
        let line = "hop setup mybox -u pat";
        let said = site.laptop.dialogue("dev", line, &answers);
        assert_eq!(said.code, 6, "{said}");
        let words = ["could not be asked: pat is not", "fix: ssh -t pat@198.51.100.2 sudo"];
        assert!(words.iter().all(|word| said.out.contains(word)), "{said}");
        // And one that has ended is said to have.
        let unit = "/etc/systemd/system/hop-agent.service.d";
        vps.ok(&format!(
            "mkdir {unit} && printf '[Service]\nRuntimeMaxSec=3\nRestart=no\n' >{unit}/x.conf && \
             systemctl stop hop-agent"
        ));
        site.fails(&format!("{AGAIN} -u dev"), 6, &["agent on 198.51.100.2 is not running"]);
        vps.ok(&format!("rm -r {unit} && nft flush ruleset"));
        site.hop_ok("setup mybox");
    });
}

/// Answers as a healthy agent would, and knows nobody.
const IMPOSTOR: &str = r#"
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def say(self, status, text):
        self.send_response(status)
        self.send_header('Content-Length', str(len(text)))
        self.end_headers()
        self.wfile.write(text)
    def do_GET(self):
        self.say(200, b'{"status":"ok","tunnel":true,"local_ip":"10.10.0.2","version":"0.0.1"}')
    def do_POST(self):
        self.rfile.read(int(self.headers['Content-Length']))
        self.say(401, b'{"error":{"code":"unauthorized","message":"no such token"}}')
http.server.HTTPServer(('', 4201), Answer).serve_forever()
"#;

#[test]
fn what_is_proven_is_what_was_asked_for() {
    lab::inside("proof::what_is_proven_is_what_was_asked_for", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        vps.ok("ip address add 198.51.100.3/24 dev to-laptop");
        site.hop_ok("setup mybox -a 198.51.100.2");
        site.hop_ok("up");
        // Over the old address the tunnel works, over the new one UDP does not pass.
        site.drops("input", "ip daddr 198.51.100.3 udp dport 51820");
        site.fails(&format!("{AGAIN} -a 198.51.100.3"), 6, &["UDP packet reached 198.51.100.3"]);
        vps.ok("nft flush ruleset");
        site.hop_ok("up");
        site.hop_ok("setup mybox -a 198.51.100.2");
        let status = site.hop_ok("--json status");
        assert!(
            status.contains("\"endpoint\":\"198.51.100.2:51820\""),
            "up, another way: {status}"
        );

        // Health needs no token: it is asked for, too.
        std::fs::write(vps.path("/root/impostor.py"), IMPOSTOR).unwrap();
        vps.ok("systemd-run -q -u impostor python3 /root/impostor.py && \
             for i in $(seq 100); do grep -q ':1069 .* 0A ' /proc/net/tcp && exit; sleep 0.1; done");
        vps.ok("nft add table ip n && \
             nft add chain ip n c '{ type nat hook prerouting priority -100; }' && \
             nft add rule ip n c iifname wg0 tcp dport 4200 redirect to :4201");
        laptop.ok("curl -s http://10.10.0.2:4200/health | grep -q ok");
        site.fails(AGAIN, 9, &["does not know this laptop", "no such token"]);
        vps.ok("nft flush ruleset");
        site.hop_ok("setup mybox");
        site.hop_ok("down");
        // An agent that does not run is started by what `hop up` advises.
        vps.ok("systemctl stop hop-agent");
        site.fails("up", 6, &["is not running", "fix: hop setup mybox"]);
        site.hop_ok("setup mybox");
        site.hop_ok("up");
        a_session_is_begun_anew(&site);
        site.hop_ok("down");
        // The same server under another name.
        let same = ["is your host mybox already", "same host key", "fix: hop up mybox"];
        site.fails("--no-input setup other -a 198.51.100.3", 8, &same);
        let left = laptop.ok_as("dev", "cat .config/hopbox/known_hosts; ls .config/hopbox/keys");
        assert!(!left.contains("other"), "{left}");
    });
}

/// Types what a line that fails advises.
pub fn typed(site: &Site, line: &str, code: i32, advised: &str) {
    let said = site.hop(line);
    assert!(said.code == code && said.fix().ends_with(advised), "{line}: {said}");
    let typed = said.fix().replacen("ssh -t", "ssh", 1);
    let done = site.laptop.sh_as("dev", &typed);
    let why = "tail -n 40 .local/state/hopbox/mybox.log; sudo journalctl -n 20 -u hop-helper";
    assert!(done.code == 0, "{typed}: {done}{}", site.laptop.sh_as("dev", why));
}

/// Sessions that do not do what is asked of them, and are begun anew.
fn a_session_is_begun_anew(site: &Site) {
    let anew = "hop down mybox && hop up mybox";
    // One that is hung takes no new keys; the server has them already.
    site.laptop.ok("kill -STOP $(pgrep -u dev -f 'hop .*mybox')");
    typed(site, "--no-input rotate", 1, anew);
    site.hop_ok("status");
    // Its host file is of another day than the server.
    let change = "sed -i s/10.10.0.1/10.10.0.5/ /home/dev/.config/hopbox/hosts/mybox.json";
    site.hop_ok("down");
    site.laptop.ok(change);
    typed(site, "--no-input rotate", 1, "hop setup mybox");
    site.hop_ok("up");
    // The laptop got another address, and its session began with the one before.
    site.laptop.ok(change);
    site.vps.ok("sed -i s/10.10.0.1/10.10.0.5/ /var/lib/hopbox-agent/agent.json && \
                 systemctl restart hop-agent");
    typed(site, "--no-input upgrade", 8, anew);
    site.hop_ok("upgrade");
    site.hop_ok("status");
}
