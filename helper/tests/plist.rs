//! The property list for launchd, as another program reads it.

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

#[test]
fn launchd_gets_what_the_helper_expects() {
    let plist = Path::new(env!("CARGO_MANIFEST_DIR")).join("unit/dev.hopbox.helper.plist");
    let script =
        "import json, plistlib, sys; print(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
    let out = match Command::new("python3").args(["-c", script]).arg(&plist).output() {
        Ok(out) => out,
        Err(e) => return eprintln!("SKIP launchd_gets_what_the_helper_expects: python3: {e}"),
    };
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let job: Value = serde_json::from_slice(&out.stdout).unwrap();
    let source = |name: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(name);
        std::fs::read_to_string(path).unwrap()
    };
    // Where `--install` puts program and job, and where the helper expects its socket.
    let install = source("macos/install.rs");
    let program = format!("const PROGRAM: &str = {};", job["ProgramArguments"][0]);
    let paths = source("macos/paths.rs");
    assert!(paths.contains(&program));
    assert_eq!(job["ProgramArguments"].as_array().map(Vec::len), Some(1));
    let label = job["Label"].as_str().unwrap();
    assert!(install.contains(&format!("const JOB: &str = \"system/{label}\";")));
    assert!(install.contains(&format!("\"/Library/LaunchDaemons/{label}.plist\"")));
    assert!(install.contains(&format!("const ERRORS: &str = {};", job["StandardErrorPath"])));
    let socket = &job["Sockets"]["helper"];
    assert!(paths.contains(&format!("const SOCKET: &str = {};", socket["SockPathName"])));
    // 0666: who it is decides, see peer_cred.rs.
    assert_eq!(socket["SockPathMode"], json!(0o666));
    assert_eq!(socket["SockType"], json!("stream"));
    assert_eq!(job["Umask"], json!(0o077));
    assert_eq!(job["KeepAlive"], json!({"SuccessfulExit": false}));
    assert_eq!(job["HardResourceLimits"], json!({"Core": 0, "NumberOfFiles": 256}));
    assert_eq!(job["RunAtLoad"], json!(false));
    assert!(job.get("UserName").is_none() && job.get("EnvironmentVariables").is_none());
}
