//! No secret is ever an argument, in an environment, in a log, an answer, or a file for others:
//! every program that is started on either machine is recorded with all that it is given, and
//! everything on both is searched afterwards. Decoys show that the search would find it.

use hopbox::base::key;

use super::lab;
use super::machine::Machine;
use super::site::Site;

const TRACE: &str = "strace -f -qq -e trace=execve,execveat -v -s 100000";
/// One for an argument, one for an environment, one for a journal, one for a file.
const DECOYS: [&str; 4] = [
    "ZGVjb3ktaW4tYW4tYXJndW1lbnQtb2YtYS1wcm9ncmFt",
    "ZGVjb3ktaW4tdGhlLWVudmlyb25tZW50LW9mLW9uZTEy",
    "ZGVjb3ktdGhhdC1zb21lYm9keS13cm90ZS10by1hLWxv",
    "ZGVjb3ktaW4tYS1maWxlLXRoYXQtb3RoZXJzLW1heS1y",
];
/// Where a file with a secret may be, with mode 0600: the laptop's, whose key file the host file
/// names, and the server's.
const KEPT: [&[&str]; 2] = [
    &["/home/dev/.config/hopbox/hosts/mybox.json", "/home/dev/.config/hopbox/keys/KEY_FILE"],
    &[
        "/var/lib/hopbox-agent/agent.json",
        "/var/lib/hopbox-agent/agent.key",
        "/var/lib/hopbox-agent/agent.key.bak",
    ],
];

/// From now on the server's process 1 and all that comes of it are recorded, sshd included.
fn record(vps: &Machine) {
    vps.ok(&format!(
        "{TRACE} -o /root/trace -p 1 >/dev/null 2>&1 & echo $! >/root/strace; \
         for i in $(seq 100); do grep -q 'TracerPid:.[1-9]' /proc/1/status && break; sleep 0.1; \
         done; systemctl restart sshd-here && \
         for i in $(seq 100); do grep -q ':0016 .* 0A ' /proc/net/tcp && exit; sleep 0.1; done; \
         exit 1"
    ));
}

/// A command of dev's on the laptop, recorded with all that it starts; what it said is kept.
fn recorded(laptop: &Machine, script: &str) {
    let said = laptop.sh(&format!(
        "n=$(ls /root | grep -c trace); {TRACE} -D -u dev -o /root/trace.$n env -C /home/dev \
         HOME=/home/dev USER=dev sh -c '{script}' >>/root/said 2>&1"
    ));
    assert_eq!(said.code, 0, "{script}: {}", laptop.ok("tail -n 20 /root/said"));
}

fn of_host_file(site: &Site, field: &str) -> String {
    let host = site.laptop.ok("cat /home/dev/.config/hopbox/hosts/mybox.json");
    let host: serde_json::Value = serde_json::from_str(&host).unwrap();
    host[field].as_str().unwrap().to_owned()
}

/// The keys and tokens of both sides, as they are on the disks now.
fn secrets(site: &Site) -> Vec<String> {
    let field = |name: &str| of_host_file(site, name);
    let mut found = vec![field("token"), field("preshared_key")];
    found.extend(site.laptop.ok("cat /home/dev/.config/hopbox/keys/*").lines().map(str::to_owned));
    found.extend(site.vps.ok("cat /var/lib/hopbox-agent/agent.key*").lines().map(str::to_owned));
    found
}

/// How a secret is written: base64 without its padding, and hexadecimal.
fn forms(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.trim_end_matches('=').to_owned()];
    assert!(forms[0].len() >= 43, "no secret is that short");
    if let Some(key) = key::decode(secret) {
        forms.push(key.iter().map(|byte| format!("{byte:02x}")).collect());
    }
    forms
}

/// Which records of a machine hold one of these texts.
fn records(machine: &Machine, texts: &[String]) -> Vec<String> {
    write_down(machine, texts);
    let found = machine.ok("cd /root && grep -lF -f texts trace* journal said 2>/dev/null || true");
    found.lines().map(str::to_owned).collect()
}

/// The files that hold one of these texts, with their modes; those that are older cannot.
fn files(machine: &Machine, texts: &[String]) -> Vec<String> {
    write_down(machine, texts);
    let found = machine.ok(
        "find /etc /var /home /run /tmp /opt /usr/local -cnewer /root/begin -type f -print0 \
         2>/dev/null | xargs -0 grep -lFZ -f /root/texts 2>/dev/null | \
         xargs -0r stat -c '%a %n' | sort",
    );
    found.lines().map(str::to_owned).collect()
}

fn write_down(machine: &Machine, texts: &[String]) {
    std::fs::write(machine.path("/root/texts"), texts.join("\n") + "\n").unwrap();
}

#[test]
fn no_secret_is_seen_by_anybody_else() {
    lab::inside("secrets::no_secret_is_seen_by_anybody_else", || {
        let site = Site::boot();
        let (laptop, vps) = (&site.laptop, &site.vps);
        for machine in [laptop, vps] {
            machine.ok("touch /root/begin");
        }
        record(vps);
        recorded(laptop, "hop -y --json setup mybox -a 198.51.100.2 -k .ssh/id_ed25519");
        let mut all = secrets(&site);
        for script in [
            "hop --json rotate; hop up; hop --json host peers; hop status; hop --json status -v",
            "hop rotate; hop host peers; hop doctor || test $? = 3; hop setup mybox",
            "hop down; hop host peers; hop --json upgrade; hop --json rotate; hop up; hop down",
        ] {
            // Another agent, so that setup and upgrade have something to do, and doctor to say.
            vps.ok("cp /usr/libexec/hopbox/hop-agent /root/other && echo >>/root/other && \
                /root/other install");
            recorded(laptop, &format!("set -e; {script}"));
            all.extend(secrets(&site));
        }
        all.sort();
        all.dedup();
        assert!(all.len() >= 4 * 3 + 2, "each rotation made new ones: {}", all.len());
        assert!(laptop.ok("cat /root/said").contains("\"changed\":true"), "it was upgraded");
        decoys(&site);
        vps.ok("kill -INT $(cat /root/strace); while kill -0 $(cat /root/strace) 2>/dev/null; do \
            sleep 0.1; done");

        let forms: Vec<String> = all.iter().flat_map(|secret| forms(secret)).collect();
        let key = of_host_file(&site, "key_file");
        for (machine, kept) in [laptop, vps].into_iter().zip(KEPT) {
            let name = machine.name;
            machine.ok("journalctl --no-pager -a -o verbose >/root/journal");
            let decoys = DECOYS.map(|decoy| records(machine, &[decoy.to_owned()]).join(" "));
            assert!(decoys[0].starts_with("trace"), "{name}: {decoys:?}");
            assert!(decoys[1].starts_with("trace"), "{name}: {decoys:?}");
            assert!(decoys[2].contains("journal"), "{name}: {decoys:?}");
            assert_eq!(files(machine, &[DECOYS[3].to_owned()]), ["644 /var/tmp/decoy"], "{name}");
            let cut = records(machine, &[" vars */".to_owned(), "\"...".to_owned()]);
            assert!(cut.is_empty(), "{name}: something was left out of {cut:?}");
            let seen = records(machine, &forms);
            assert!(seen.is_empty(), "a secret was seen on {name}: {seen:?}");
            let kept = kept.iter().map(|file| format!("600 {}", file.replace("KEY_FILE", &key)));
            let kept: Vec<String> = kept.collect();
            assert_eq!(files(machine, &forms), kept, "files with a secret on {name}");
        }
        for program in ["hop-agent\", \"setup\"", "hop-agent\", \"serve\"", "SSH_CONNECTION="] {
            assert_eq!(
                records(vps, &[program.to_owned()]),
                ["trace"],
                "{program} was not recorded"
            );
        }
        let count = |machine: &Machine| machine.ok("cat /root/trace* | wc -l").trim().to_owned();
        let (here, there) = (count(laptop), count(vps));
        eprintln!("NOTE {here} + {there} programs started, {} secrets", all.len());
    });
}

/// Each where no secret may be.
fn decoys(site: &Site) {
    let [argument, environment, log, file] = DECOYS;
    recorded(&site.laptop, &format!("ssh 198.51.100.2 true {argument}"));
    std::fs::write(site.laptop.path("/opt/decoy"), format!("{environment}\n")).unwrap();
    recorded(
        &site.laptop,
        "read x </opt/decoy; X=$x env true; ssh 198.51.100.2 \"read x; X=\\$x env true\" </opt/decoy",
    );
    for machine in [&site.laptop, &site.vps] {
        machine.ok(&format!(
            "logger {log}; journalctl --sync; echo {file} >/var/tmp/decoy; chmod 644 /var/tmp/decoy"
        ));
    }
}
