//! hop-helper-server: its start. Flags, root check, configuration, state, the worker, the first
//! look at the kernel, socket, signals, capabilities, sandbox, ready, serve. Must not know:
//! requests.

use crate::core::access::Access;
use crate::core::base::{Base, Places};
use crate::core::peer_cred::Admission;
use crate::core::say;
use crate::core::serve::End;
use crate::core::start::{self, Options, as_root};
use crate::net::config::Config;
use crate::net::invited;
use crate::server::errands::{self, Errands};
use crate::server::firewall::Firewall;
use crate::server::host::Host;
use crate::server::mount::make;
use crate::server::nft;
use crate::server::nginx::{self, Sites};
use crate::server::paths::{AUDIT_DIR, CONFIG, PROGRAM, RUN_DIR, SOCKET, STATE_DIR};
use crate::server::worker::Worker;
use crate::sys;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const PLACES: Places =
    Places { program: PROGRAM, socket: SOCKET, run: RUN_DIR, state: STATE_DIR, audit: AUDIT_DIR };
const HELP: &str = include_str!("usage.txt");

pub fn main() -> ExitCode {
    say::name("hop-helper-server");
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let work = |serve: &dyn Fn() -> Result<(), String>| {
        let served = start::unseen().and_then(|()| as_root()).and_then(|()| serve());
        served.map_or_else(|why| start::failed(&why, 1), |()| ExitCode::SUCCESS)
    };
    match &args[..] {
        [word] if word == Path::new(nft::WORD) => return work(&nft::serve),
        [word] if word == Path::new(nginx::WORD) => return work(&nginx::serve),
        [word, state] if word == Path::new(errands::WORD) => {
            return work(&|| errands::serve(state));
        }
        [word, dir, verb, id] if word == Path::new(make::WORD) => {
            let text = |word: &PathBuf| word.to_string_lossy().into_owned();
            return work(&|| make::run(dir, &text(verb), &text(id)));
        }
        _ => {}
    }
    start::run(("hop-helper-server", HELP), args, (CONFIG, SOCKET), serve)
}

fn serve(options: Options) -> Result<End, String> {
    let mut base = Base::of(options, &PLACES)?;
    let config = Config::load(&base.config, &Admission::default())?;
    let _alone = start::alone(Path::new(RUN_DIR))?;
    let firewall = Firewall::open(Worker::start(&[Path::new(nft::WORD)])?, &base.state)?;
    let errands = Errands::open(&base.state)?;
    let sites = Sites::open(Worker::start(&[Path::new(nginx::WORD)])?, &base.state)?;
    let socket = base.bind(firewall.network())?;
    let paths = vec![(PathBuf::from(invited::USERS), Access::Read)];
    let host = Host { config, firewall, errands, sites };
    // The workers have what is needed; whoever takes this process over has nothing.
    let give_up = || sys::no_capabilities().map_err(|e| format!("give up capabilities: {e}"));
    base.serve(host, socket, (paths, &[libc::FIONBIO as u32]), give_up)
}
