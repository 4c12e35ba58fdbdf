//! Programs of registries, over the mirror: Vite with its hot updates in a headless Chromium, and a
//! kernel of Jupyter's. `make programs` fetches them; `make check` fetches nothing, and has none.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hopbox_selftest::files;

use super::real_ports::{browsers_start, here, out, ready, there, until};
use super::shared;
use super::world::*;

const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/session/browser.py");
const NOTEBOOK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/session/notebook.py");
const FETCH_WITHIN: Duration = Duration::from_secs(600);
/// For Debian's node as for newer ones.
const VITE: &str = "vite@6.4.6";
const JUPYTER: &str = "jupyter_server==2.21.1 ipykernel==7.4.0";

const PAGE: &str = r#"<body></body><script type="module" src="/main.js"></script>"#;
const MAIN: &str = r#"import { text } from './text.js'
const show = (text) => { document.body.innerText = text }
show(text)
import.meta.hot?.accept('./text.js', (now) => show(now.text))
"#;

fn is_wanted(test: &str) -> bool {
    let is_wanted = std::env::var_os("HOP_PROGRAMS").is_some();
    if !is_wanted {
        println!("SKIP {test}: fetches programs; make programs runs it");
    }
    is_wanted
}

/// Outside of the machines, which reach nothing but each other.
fn fetch(dir: &Path, line: &str) {
    let mut command = Command::new("sh");
    command.args(["-ec", line]).current_dir(dir);
    let done = finish(command.spawn().unwrap(), FETCH_WITHIN);
    assert!(done.status.success(), "{line}: {}", said(&done));
}

#[test]
fn a_dev_server_is_local_to_the_browser_and_changes_in_place() {
    let test = "a_dev_server_is_local_to_the_browser_and_changes_in_place";
    if !is_wanted(test) {
        return;
    }
    let _machine = shared();
    let Some((world, _work)) = ready(test) else { return };
    let web = world.home.join("laptop/app/web");
    for (name, text) in
        [("index.html", PAGE), ("main.js", MAIN), ("text.js", "export const text = 'before'\n")]
    {
        fs::write(web.join(name), text).unwrap();
    }
    let install = "npm install --ignore-scripts --no-audit --no-fund --no-update-notifier";
    fetch(&web, &format!("npm init -y >/dev/null && {install} {VITE}"));
    files::give(&world.home.join("laptop/app"), USER).unwrap();
    browsers_start(&world);
    let _vite = there(&world, "node node_modules/vite/bin/vite.js");
    until("vite answers", || here(&world, "curl -sf http://localhost:5173/").status.success());
    let file = web.join("text.js");
    let line = format!("python3 {BROWSER} change 5173 {} before after", file.display());
    assert_eq!(out(&world, &line), "secure, and changed in place\n");
}

#[test]
fn a_notebook_computes() {
    let test = "a_notebook_computes";
    if !is_wanted(test) {
        return;
    }
    let _machine = shared();
    let Some((world, _work)) = ready(test) else { return };
    let web = world.home.join("laptop/app/web");
    // The system's: one of root's own is nothing to the login.
    let install = "venv/bin/pip --disable-pip-version-check install -q";
    fetch(&web, &format!("/usr/bin/python3 -m venv venv && {install} {JUPYTER}"));
    files::give(&world.home.join("laptop/app"), USER).unwrap();
    let flags = "--no-browser --ServerApp.port=8888 --IdentityProvider.token=secret";
    let _jupyter = there(&world, &format!("venv/bin/jupyter server {flags}"));
    let status = "curl -sf 'http://localhost:8888/api/status?token=secret'";
    until("jupyter answers", || here(&world, status).status.success());
    let said = out(&world, &format!("python3 {NOTEBOOK} 8888 secret"));
    assert_eq!(said, "42\n");
}
