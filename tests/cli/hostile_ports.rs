//! What a hostile server says of its ports, in every field that is text: nothing of it moves a
//! terminal, makes a line of its own, or is a command.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use hopbox::rpc::types::ports::Owner;
use hopbox::session::ports::view::WhyNot;

use super::Home;
use super::hostile::{EVIL, is_clean, is_clean_json};
use super::ports::{Mirror, view};

#[test]
fn what_a_hostile_server_says_of_its_ports_is_text() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let evil = || Some(EVIL.to_owned());
    for container in [None, evil()] {
        let mut port = view(3000, Some(3001), Some(WhyNot::Taken { by: evil() }));
        let server = port.server.as_mut().unwrap();
        server.owner = Owner {
            program: evil(),
            directory: evil(),
            checkout: evil(),
            branch: evil(),
            container,
            ..server.owner.clone()
        };
        let _mirror = Mirror::start(&home, vec![port]);
        for words in ["ports", "ports ls --no-probe", "ports why 3000", "ports pin 3000 3001"] {
            let out = home.run(&words.split(' ').collect::<Vec<_>>());
            assert!(out.status.success(), "{words}: {out:?}");
            let shows = is_clean(&out.stdout, false, words);
            assert!(shows || words.contains("pin"), "{words}: {out:?}");
            is_clean(&out.stderr, false, words);
            let all: Vec<&str> = words.split(' ').chain(["--json"]).collect();
            is_clean_json(&home.run(&all).stdout, words);
        }
        let mut watch =
            home.hop().args(["ports", "--watch"]).stdout(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(watch.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        watch.kill().unwrap();
        watch.wait().unwrap();
        assert!(is_clean(line.as_bytes(), false, "watch"), "{line}");
    }
}
