//! `hop firewall backend`, as it is typed, and where the token is seen while it is used.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::provider::Provider;

const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

/// A home with one host, and a user whose curl would go elsewhere.
struct Home(PathBuf);

impl Home {
    fn of(provider: &Provider) -> Home {
        let dir = provider.dir.join("home");
        fs::create_dir_all(dir.join("config/hopbox/hosts")).unwrap();
        fs::write(dir.join(".curlrc"), "proxy = http://127.0.0.1:1\ninsecure\nverbose\n").unwrap();
        for made in ["config", "config/hopbox", "config/hopbox/hosts"] {
            fs::set_permissions(dir.join(made), fs::Permissions::from_mode(0o700)).unwrap();
        }
        let home = Home(dir);
        let host = json!({
            "version": 2, "name": "mybox", "endpoint": "203.0.113.7:51820", "public_key": KEY,
            "local_ip": "10.10.0.1", "peer_ip": "10.10.0.2", "number": 0, "token": "s".repeat(44),
        });
        home.private("config/hopbox/hosts/mybox.json", &host.to_string());
        home.private("token", &format!("{}\n", "t".repeat(64)));
        home
    }

    fn private(&self, path: &str, text: &str) {
        fs::write(self.0.join(path), text).unwrap();
        fs::set_permissions(self.0.join(path), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn host(&self) -> Value {
        let text = fs::read(self.0.join("config/hopbox/hosts/mybox.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn hop(&self, words: &[&str]) -> Command {
        let mut hop = Command::new(env!("CARGO_BIN_EXE_hop"));
        hop.args(words).current_dir(&self.0).env_clear().stdin(Stdio::null());
        hop.env("HOME", &self.0).env("XDG_CONFIG_HOME", self.0.join("config"));
        hop.env("CURL_HOME", &self.0).env("SSLKEYLOGFILE", self.0.join("keys"));
        for proxy in ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"] {
            hop.env(proxy, "http://127.0.0.1:1");
        }
        // One that is not curl.
        hop.env("PATH", self.0.join("bin"));
        hop
    }

    fn declare(&self, provider: &Provider, more: &[&str]) -> Output {
        let (endpoint, ca_file) = (provider.endpoint(), provider.ca_file());
        let words = ["--json", "firewall", "backend", "mybox", "hetzner-cloud", "--firewall", "7"];
        let place = ["--endpoint", &endpoint, "--ca-file", ca_file.to_str().unwrap()];
        self.hop(&[&words[..], &place[..], more].concat()).output().unwrap()
    }
}

fn told(out: &Output) -> Value {
    serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"))
}

#[test]
fn a_provider_is_declared_asked_and_kept_out_of_sight() {
    let mut provider = Provider::start();
    let home = Home::of(&provider);
    let token = home.0.join("token");
    let file = ["--token-file", "token"];

    let none = told(&home.hop(&["--json", "firewall", "backend"]).output().unwrap());
    assert_eq!(none["data"], json!({"host": "mybox", "backends": ["local-nftables"]}));
    let missing = home.declare(&provider, &[]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");

    // Whose file it is, and what is in it.
    for mode in [0o640, 0o604, 0o620] {
        fs::set_permissions(&token, fs::Permissions::from_mode(mode)).unwrap();
        let open = home.declare(&provider, &file);
        assert_eq!(open.status.code(), Some(2), "{open:?}");
        assert_eq!(told(&open)["error"]["fix"], format!("chmod 600 {}", token.display()));
    }
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        chown(&token, Some(65534), None).unwrap();
        let strange = home.declare(&provider, &file);
        assert_eq!(strange.status.code(), Some(2), "{strange:?}");
        assert!(told(&strange)["error"]["message"].to_string().contains("belongs to user 65534"));
        chown(&token, Some(0), None).unwrap();
    }
    for wrong in ["", "short", "t t t t t t t t t t t t", &"t\n".repeat(40), &"\"".repeat(64)] {
        home.private("token", wrong);
        let refused = home.declare(&provider, &file);
        assert_eq!(refused.status.code(), Some(2), "{wrong:?}: {refused:?}");
    }
    home.private("token", &"u".repeat(64));
    let unknown = home.declare(&provider, &file);
    assert_eq!(unknown.status.code(), Some(9), "{unknown:?}");
    assert!(told(&unknown)["error"]["message"].to_string().contains("401 unauthorized"));
    assert_eq!(home.host().get("provider"), None, "nothing is kept of what does not work");

    home.private("token", &"t".repeat(64));
    let declared = home.declare(&provider, &file);
    assert_eq!(declared.status.code(), Some(0), "{declared:?}");
    let data = &told(&declared)["data"];
    assert_eq!(data["backends"], json!(["local-nftables", "hetzner-cloud"]));
    assert_eq!((&data["firewall"], &data["token_file"]), (&json!(7), &json!(token)));
    assert_eq!(home.host()["version"], 3);
    assert!(!home.0.join("keys").exists(), "no session's secrets are written down");

    where_the_token_is(&mut provider, &home);

    let back = home.hop(&["firewall", "backend", "mybox", "local-nftables"]).output().unwrap();
    assert_eq!(back.status.code(), Some(0), "{back:?}");
    assert_eq!((home.host().get("provider"), &home.host()["version"]), (None, &json!(2)));

    // Whoever forgets the host is told of what goes on without it; that needs no token.
    assert_eq!(home.declare(&provider, &file).status.code(), Some(0));
    fs::remove_file(&token).unwrap();
    let status = told(&home.hop(&["--json", "status", "mybox"]).output().unwrap());
    assert_eq!(status["data"]["provider"], json!({"backend": "hetzner-cloud", "firewall": 7}));
    let forgotten = home.hop(&["-y", "--json", "host", "rm", "mybox"]).output().unwrap();
    assert_eq!(forgotten.status.code(), Some(0), "{forgotten:?}");
    assert_eq!(told(&forgotten)["warnings"][0]["code"], "open_at_provider", "{forgotten:?}");
}

/// While curl waits for an answer: in nobody's arguments and environment, and in no output.
fn where_the_token_is(provider: &mut Provider, home: &Home) {
    let hang = json!({"faults": [{"step": "rules", "do": "hang"}]});
    provider.reset(&hang);
    let words = ["-v", "firewall", "backend", "mybox", "hetzner-cloud"];
    let child = home.hop(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let curl = loop {
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let curl = fs::read_to_string(children).unwrap_or_default();
        let is_curl = |pid: &str| {
            fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("curl"))
        };
        match curl.split_whitespace().find(|pid| is_curl(pid)) {
            Some(pid) => break pid.to_owned(),
            None => assert!(Instant::now() < end, "no curl"),
        }
    };
    let token = "t".repeat(64);
    for pid in [curl.clone(), child.id().to_string()] {
        for place in ["cmdline", "environ"] {
            let text = fs::read(Path::new("/proc").join(&pid).join(place)).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(&token), "{place}");
        }
    }
    let environ = fs::read(format!("/proc/{curl}/environ")).unwrap();
    assert!(environ.is_empty(), "{}", String::from_utf8_lossy(&environ));
    let out = child.wait_with_output().unwrap();
    assert!(!format!("{out:?}").contains(&token), "{out:?}");
    for file in ["config/hopbox/hosts/mybox.json", ".curlrc"] {
        assert!(!fs::read_to_string(home.0.join(file)).unwrap().contains(&token), "{file}");
    }
}
