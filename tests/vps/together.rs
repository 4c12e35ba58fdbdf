//! Several at once: laptops that use one login of a server, setups on one laptop, a lost
//! connection.

use serde_json::Value;

use super::lab;
use super::machine::{Machine, Said};
use super::site::{Site, admit, equip};

fn host(machine: &Machine, name: &str) -> Value {
    let text = machine.ok(&format!("cat /home/dev/.config/hopbox/hosts/{name}.json"));
    serde_json::from_str(&text).unwrap()
}

fn at_once(commands: [(&Machine, &str); 2]) -> [Said; 2] {
    std::thread::scope(|scope| {
        let threads = commands.map(|(machine, line)| {
            scope.spawn(move || machine.sh_as("dev", &format!("hop --json {line}")))
        });
        threads.map(|thread| thread.join().unwrap())
    })
}

#[test]
fn two_setups_at_once_do_not_meet() {
    lab::inside("together::two_setups_at_once_do_not_meet", || {
        let site = Site::boot().with_helper();
        let [second] = Machine::boot(["second"]);
        second.cable("203.0.113.1/24", &site.vps, "203.0.113.2/24");
        equip(&second);
        admit(&second);

        // Two laptops, one login there.
        let lines = ["setup mybox -a 198.51.100.2", "setup theirs -a 203.0.113.2"];
        for said in at_once([(&site.laptop, lines[0]), (&second, lines[1])]) {
            assert_eq!(said.code, 0, "{said}");
        }
        let (ours, theirs) = (host(&site.laptop, "mybox"), host(&second, "theirs"));
        for key in ["token", "preshared_key", "local_ip"] {
            assert!(ours[key].is_string() && ours[key] != theirs[key], "{key}");
        }
        site.hop_ok("up");
        second.ok_as("dev", "hop up && hop status && hop down");
        site.hop_ok("status");
        site.hop_ok("down");
        assert_eq!(site.vps.ok("ls -A /home/dev | grep -c hopbox || :"), "0\n");

        // One laptop, one server, two names: they would have the same addresses.
        site.hop_ok("-y uninstall -H mybox --remote");
        second.ok_as("dev", "hop -y uninstall -H theirs --remote");
        let lines = ["setup one -a 198.51.100.2", "setup two -a 198.51.100.2"];
        let said = at_once(lines.map(|line| (&site.laptop, line)));
        let mut codes = [said[0].code, said[1].code];
        codes.sort_unstable();
        assert_eq!(codes, [0, 8], "{} {}", said[0], said[1]);
        // Of what was refused nothing is left, and of the other nothing is lost.
        let name = if said[0].code == 0 { "one" } else { "two" };
        let known = site.laptop.ok("cat /home/dev/.config/hopbox/known_hosts");
        let of_it = known.lines().filter(|line| line.starts_with(&format!("hopbox-{name} ")));
        assert!(of_it.count() == 1 && known.lines().count() == 1, "{name}: {known}");
        let keys = site.laptop.ok("ls /home/dev/.config/hopbox/keys");
        assert_eq!(keys, format!("{name}.key\n"));
    });
}

#[test]
fn a_lost_connection_and_a_server_made_anew_are_named() {
    lab::inside("together::a_lost_connection_and_a_server_made_anew_are_named", || {
        let site = Site::boot().with_helper();
        // The connection's own sshd ends as soon as the first program begins to arrive.
        site.vps.ok("cat >/root/cut <<'END'\n\
            until ls /home/dev/.hopbox-setup/run.*/hop-* >/dev/null 2>&1; do sleep 0.01; done\n\
            pkill -9 -f 'sshd: dev'\nEND\n\
            systemd-run -q sh /root/cut");
        // Slow enough that it is seen before all has arrived.
        site.laptop.ok("tc qdisc add dev to-vps root tbf rate 8mbit burst 32kb latency 1s");
        let said = site.hop("setup mybox -a 198.51.100.2");
        site.laptop.ok("tc qdisc del dev to-vps root");
        assert_eq!(said.code, 6, "{said}");
        assert!(said.err.lines().last().unwrap_or_default().starts_with("fix: "), "{said}");
        site.hop_ok("setup mybox -a 198.51.100.2");
        site.hop_ok("up");
        site.hop_ok("down");
        assert_eq!(site.vps.ok("ls -A /home/dev | grep -c hopbox || :"), "0\n", "nothing is left");

        site.vps.ok("hop=/usr/libexec/hopbox; $hop/hop-agent uninstall --purge && \
            $hop/hop-helper --uninstall");
        let said = site.hop("setup mybox");
        assert_eq!(said.code, 8, "{said}");
        assert!(said.err.contains("another server"), "{said}");
        assert!(said.err.contains("fix: hop host rm mybox && hop setup mybox -a "), "{said}");
        assert!(!site.vps.path("/var/lib/hopbox-agent/agent.json").exists(), "no laptop was added");
        site.hop_ok("-y host rm mybox");
        site.hop_ok("setup mybox -a 198.51.100.2");
    });
}
