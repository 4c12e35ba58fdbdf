//! What root's part of the agent must not do for others, and changes that come at a bad moment.

use super::{AGENT, installed, json, public, request, setup};
use crate::lab;
use crate::machine::Machine;

/// The owners of the agent's files.
fn owners(vps: &Machine) -> String {
    vps.ok("cd /var/lib/hopbox-agent && stat -c %U agent.json agent.key | tr '\\n' ' '")
}

fn purge(vps: &Machine) {
    vps.ok(&format!("{AGENT} uninstall --purge; /root/hop-agent install"));
}

/// Waits for a shell condition on the machine.
fn until(vps: &Machine, so: &str) {
    vps.ok(&format!("for i in $(seq 400); do {so} && exit; sleep 0.1; done; exit 1"));
}

fn running(vps: &Machine) {
    until(vps, &format!("{AGENT} status >/dev/null 2>&1"));
}

#[test]
fn root_gives_nothing_to_whoever_asks_through_the_agents_files() {
    lab::inside(
        "agent::guard::root_gives_nothing_to_whoever_asks_through_the_agents_files",
        || {
            let vps = installed();
            two_first_setups_at_once(&vps);
            purge(&vps);
            a_setup_that_stopped_after_the_key(&vps);
            purge(&vps);

            // The agent's user names a directory of root's, as files of older releases could.
            assert_eq!(setup(&vps, &request(1, "dev")).0, 0);
            let directory = "cd /var/lib/hopbox-agent && sed \
                's|{|{\"state_dir\": \"/etc/cron.d\",|;t e;b;:e;n;b e' agent.json >own && \
                cat own >agent.json && rm own";
            vps.ok_as("dev", directory);
            let look = "ls -lan --time-style=full-iso /etc/cron.d";
            let before = vps.ok(&format!("touch /etc/cron.d/agent.stamp; {look}"));
            assert_eq!(setup(&vps, &request(2, "dev")).0, 0);
            vps.ok(&format!(
                "{AGENT} start; {AGENT} peers remove laptop-2; systemctl stop hop-agent"
            ));
            // Nor does it keep anything from being removed.
            vps.ok_as(
                "dev",
                "cd /var/lib/hopbox-agent && rm -f agent.stamp agent.key.new && \
                              mkdir agent.stamp agent.key.new",
            );
            let gone = json(&vps.ok(&format!("{AGENT} uninstall --purge")));
            assert_eq!(
                gone["left"],
                json!(["/etc/hopbox", "/usr/libexec/hopbox", "/var/lib/hopbox-agent"])
            );
            assert_eq!(vps.ok("ls /etc/hopbox"), "helper.json\n");
            assert_eq!(vps.ok("ls /var/lib/hopbox-agent"), "agent.key.new\nagent.stamp\n");
            assert_eq!(vps.ok(look), before);
            vps.ok(
                "rm /etc/cron.d/agent.stamp; /root/hop-agent install; rm -r /var/lib/hopbox-agent",
            );
            // A directory that is somebody else's is not taken from there, either.
            vps.ok("install -d -o pat -g pat /var/lib/hopbox-agent");
            let (code, answer) = setup(&vps, &request(1, "dev"));
            assert!(code == 2 && answer.to_string().contains("/var/lib/hopbox-agent"), "{answer}");
            assert_eq!(vps.ok("stat -c %U /var/lib/hopbox-agent").trim(), "pat");
        },
    );
}

/// Both find no file; one of them is first, and the files are all of that one.
fn two_first_setups_at_once(vps: &Machine) {
    vps.ok("install -d -m 700 /var/lib/hopbox-agent; touch wait; flock /var/lib/hopbox-agent sh -c 'touch held; while [ -e wait ]; do sleep 0.05; \
            done' >/dev/null 2>&1 & while [ ! -e held ]; do sleep 0.05; done");
    for (n, user) in [(1, "dev"), (2, "pat")] {
        let asked = request(n, user);
        vps.ok(&format!(
            "(echo '{asked}' | {AGENT} setup >said{n} 2>&1; echo $? >end{n}) >/dev/null 2>&1 &"
        ));
    }
    vps.ok("sleep 1; rm wait");
    until(vps, "[ -s end1 ] && [ -s end2 ]");
    assert_eq!(vps.ok("cat end1 end2"), "0\n0\n", "{}", vps.ok("cat said1 said2"));
    let owners = owners(vps);
    assert!(["dev dev ", "pat pat "].contains(&owners.as_str()), "{owners}");
    let status = json(&vps.ok(&format!("{AGENT} start")));
    assert_eq!(status["peers"].as_array().unwrap().len(), 2, "{status}");
}

fn a_setup_that_stopped_after_the_key(vps: &Machine) {
    assert_eq!(setup(vps, &request(1, "dev")).0, 0);
    vps.ok("rm /var/lib/hopbox-agent/agent.json");
    let key = vps.ok("cat /var/lib/hopbox-agent/agent.key");
    // Another login is told whose they are, and by which command they become its own.
    for place in ["/var/lib/hopbox-agent cannot", "/var/lib/hopbox-agent/agent.key"] {
        let (code, answer) = setup(vps, &request(1, "pat"));
        assert!(code == 2 && answer.to_string().contains(place), "{answer}");
        assert_eq!(vps.ok("stat -c %U /var/lib/hopbox-agent/agent.key").trim(), "dev");
        vps.ok(answer["error"]["fix"].as_str().unwrap());
    }
    let (code, answer) = setup(vps, &request(1, "pat"));
    assert_eq!((code, owners(vps).as_str()), (0, "pat pat "), "{answer}");
    assert_eq!(vps.ok("cat /var/lib/hopbox-agent/agent.key"), key);
    let status = json(&vps.ok(&format!("{AGENT} start")));
    assert_eq!(status["running"], true, "{status}");
}

#[test]
fn a_laptop_is_its_key_and_a_server_is_its_key() {
    lab::inside("agent::guard::a_laptop_is_its_key_and_a_server_is_its_key", || {
        let vps = installed();
        let expecting = |n: u8, key: &str| {
            let mut asked = json(&request(n, "dev"));
            asked["expected_agent_key"] = json!(key);
            setup(&vps, &asked.to_string())
        };
        // A server without an agent's key is another one than the laptop was set up for.
        let listing = "ls -la --time-style=full-iso /etc/hopbox /var/lib | md5sum";
        let before = vps.ok(listing);
        let (code, answer) = expecting(1, &public(9));
        assert!(code == 8 && answer.to_string().contains("another server"), "{answer}");
        assert_eq!(vps.ok(listing), before, "nothing was made");
        let (_, first) = setup(&vps, &request(1, "dev"));
        let before = vps.ok(listing);
        assert_eq!(expecting(2, &public(9)).0, 8);
        assert_eq!(vps.ok(listing), before, "nothing was added");
        let (code, second) = expecting(2, first["agent_public_key"].as_str().unwrap());
        assert_eq!(code, 0, "{second}");

        // The first is locked out, and its address goes to a third.
        vps.ok(&format!("{AGENT} start; {AGENT} peers remove {}", public(1)));
        assert_eq!(setup(&vps, &request(3, "dev")).1["laptop_address"], first["laptop_address"]);
        let leave = |n: u8| {
            let said = vps.ok(&format!("{AGENT} uninstall --purge --laptop {}", public(n)));
            json(&said)
        };
        let gone = leave(1);
        assert_eq!((&gone["laptop"], &gone["others"]), (&json!(null), &json!(2)), "{gone}");
        let gone = leave(3);
        assert_eq!(
            (&gone["laptop"]["public_key"], &gone["others"]),
            (&json!(public(3)), &json!(1))
        );
        assert_eq!(leave(3)["others"], 1, "the second is still there");
        assert_eq!(json(&vps.ok(&format!("{AGENT} status --json")))["running"], true);
        // In the middle of a rotation the next key is the same laptop.
        let rotate = json!({"version": 1, "old": public(2), "public_key": public(4)});
        vps.ok(&format!("echo '{rotate}' | {AGENT} rotate"));
        let peers = json(&vps.ok(&format!("{AGENT} peers list")))["peers"].clone();
        assert_eq!(peers.as_array().unwrap().len(), 1, "{peers}");
        assert_eq!(peers[0]["next_key"], public(4).as_str(), "{peers}");
        leave(4);
        assert_eq!(vps.sh("ls -d /var/lib/hopbox-agent /usr/libexec/hopbox/hop-agent").out, "");
    });
}

#[test]
fn an_agent_misses_nothing_while_it_starts_and_waits_for_its_helper_for_ever() {
    lab::inside(
        "agent::guard::an_agent_misses_nothing_while_it_starts_and_waits_for_its_helper_for_ever",
        || {
            let vps = installed();
            assert_eq!(setup(&vps, &request(1, "dev")).0, 0);
            vps.ok(&format!("{AGENT} start; systemctl stop hop-agent"));
            // The helper keeps the agent waiting: it has read its files and has no socket yet.
            let show = |what: &str| vps.ok(&format!("systemctl show -P {what}")).trim().to_owned();
            let helper = show("MainPID hop-helper");
            vps.ok(&format!("kill -STOP {helper}; systemctl start --no-block hop-agent"));
            until(
                &vps,
                "pid=$(systemctl show -P MainPID hop-agent); [ $pid != 0 ] && \
                         [ $(ls -l /proc/$pid/fd | grep -c socket:) -ge 3 ]",
            );
            let pid = show("MainPID hop-agent");
            assert_eq!(setup(&vps, &request(2, "dev")).0, 0);
            let rotate = json!({"version": 1, "old": public(1), "public_key": public(3)});
            vps.ok(&format!("echo '{rotate}' | {AGENT} rotate; kill -CONT {helper}"));
            running(&vps);
            assert_eq!(show("MainPID hop-agent"), pid, "the same agent");
            let peers = json(&vps.ok(&format!("{AGENT} peers list")))["peers"].clone();
            assert_eq!(peers.as_array().unwrap().len(), 2, "{peers}");
            assert_eq!(peers[0]["next_key"], public(3).as_str(), "{peers}");

            // No helper: it serves in userspace, and finds the one that comes.
            let units = "hop-helper.socket hop-helper.service";
            vps.ok(&format!(
                "systemctl stop hop-agent {units}; mkdir away; \
                 mv /etc/systemd/system/hop-helper.* away; systemctl daemon-reload; \
                 systemctl start hop-agent"
            ));
            until(&vps, &format!("{AGENT} status | grep -q 'on userspace: 10.10.0.2'"));
            let pid = show("MainPID hop-agent");
            vps.ok("mv away/* /etc/systemd/system/; systemctl daemon-reload; \
                    systemctl start hop-helper.socket");
            until(&vps, &format!("{AGENT} status | grep -q 'on wg0: 10.10.0.2'"));
            assert_eq!(show("MainPID hop-agent"), pid, "it has not ended for that");
            running(&vps);
        },
    );
}
