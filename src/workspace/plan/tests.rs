use super::*;
use crate::base::json::Fields;
use crate::workspace::read;

const TEXT: &str = "name: a
services:
  db: {type: container, image: x, ports: [5432], data: [{host: /d, container: /d}]}
  job: {type: native, command: y, depends_on: [db]}
  web: {type: native, command: z, ports: [80], depends_on: [db, job]}
";

fn desired(text: &str) -> Desired {
    read::manifest(text).unwrap_or_else(|wrongs| panic!("{text}{wrongs:#?}")).desired
}

/// As a server is once all of it was done.
fn applied(desired: &Desired) -> Present {
    let have = |(name, service): (&String, &Service)| {
        let ports = service.ports.iter().map(|port| port.published).collect();
        let digest = desired.digest_of(name, service);
        (name.clone(), Have { digest, state: State::Up, ports, volumes: Vec::new() })
    };
    Present {
        generation: 7,
        desired: Some(desired.digest()),
        services: desired.services.iter().map(have).collect(),
        public: public(desired, &Present::default()),
        sites: sites(desired),
        setup: setup_digest(desired),
    }
}

fn steps(text: &str, present: &Present) -> Vec<String> {
    let plan = plan(&desired(text), present);
    let told = |step: &Step| {
        let json = step.to_json();
        let rest = |key: &str| match &json[key] {
            serde_json::Value::Null => String::new(),
            value => format!(" {value}"),
        };
        let words = format!("{} {}{}", json["do"], rest("service"), rest("ports"));
        let words = format!("{words}{}{}{}", rest("domains"), rest("port"), rest("ended"));
        words.replace('"', "").replace("  ", " ").trim().to_owned()
    };
    plan.steps.iter().map(told).collect()
}

#[test]
fn all_of_it_starts_in_order_and_then_nothing_is_to_be_done() {
    let all = ["start db", "start job", "start web", "keep"];
    assert_eq!(steps(TEXT, &Present::default()), all);
    let wanted = desired(TEXT);
    let again = plan(&wanted, &applied(&wanted));
    assert!(again.is_empty() && again.steps.is_empty() && !again.asks());
}

#[test]
fn only_what_changed_is_touched() {
    let present = applied(&desired(TEXT));
    let one = |from: &str, to: &str| steps(&TEXT.replacen(from, to, 1), &present);
    assert_eq!(one("command: z", "command: zz"), ["replace web", "keep"]);
    assert_eq!(one("image: x", "image: x:2"), ["replace db", "keep"], "web keeps its pid");
    assert_eq!(one("ports: [80]", "ports: [80], health: {tcp: 80}"), ["adjust web", "keep"]);
    assert_eq!(one("[db, job]", "[job]"), ["adjust web", "keep"]);
    assert_eq!(one("name: a\n", "name: a\nscripts: {x: y}\n"), ["keep"]);
    assert_eq!(one("name: a\n", "# a comment\nname: a\n"), [""; 0]);
    assert_eq!(
        one("name: a\n", "name: a\nenv: {A: b}\n"),
        ["replace db", "replace job", "replace web", "keep"]
    );
}

#[test]
fn what_is_not_wanted_goes_before_what_needs_its_port_comes() {
    let present = applied(&desired(TEXT));
    let renamed = TEXT.replace("web:", "www:");
    assert_eq!(steps(&renamed, &present), ["remove web", "start www", "keep"]);
    let swapped = TEXT.replace("[5432]", "[\"80:5432\"]").replace("ports: [80]", "ports: [5432]");
    assert_eq!(
        steps(&swapped, &present),
        ["stop web", "stop db", "replace db", "replace web", "keep"]
    );
    assert_eq!(
        steps("name: a\n", &present),
        ["remove web", "remove job", "remove db", "keep"],
        "no service at all is wanted"
    );
}

#[test]
fn states_decide_whether_it_is_started() {
    let wanted = desired(TEXT);
    for (state, expected) in [
        (State::Up, &[][..]),
        (State::Done, &[]),
        (State::Stopped, &["start job"]),
        (State::Failed, &["start job"]),
    ] {
        let mut present = applied(&wanted);
        present.services.get_mut("job").unwrap().state = state;
        assert_eq!(steps(TEXT, &present), expected, "{state:?}");
    }
}

#[test]
fn what_is_shown_to_the_world_or_lost_is_asked_for() {
    let open = TEXT.replace("ports: [80]", "ports: [80, 81], public: true");
    let mut present = applied(&desired(TEXT));
    assert_eq!(steps(&open, &present), ["replace web", "publish web [80,81]", "keep"]);
    assert!(plan(&desired(&open), &present).asks());
    present = applied(&desired(&open));
    assert!(plan(&desired(&open), &present).is_empty(), "what is open is not asked for again");
    let one_less = open.replace("[80, 81]", "[81]");
    assert_eq!(steps(&one_less, &present), ["close [80]", "replace web", "keep"]);
    assert!(plan(&desired(&one_less), &present).asks());
    assert_eq!(steps(TEXT, &present)[0], "close [80,81]");
    let moved = open.replace("web:", "www:");
    assert_eq!(
        steps(&moved, &present),
        ["close [80,81]", "remove web", "start www", "publish www [80,81]", "keep"],
        "another service is another thing to be shown"
    );

    let mut present = applied(&desired(TEXT));
    present.services.get_mut("db").unwrap().volumes = vec!["/var/lib/x".to_owned()];
    for text in [TEXT.replace("image: x", "image: x:2"), TEXT.replace("db", "pg")] {
        assert!(plan(&desired(&text), &present).asks(), "{text}");
    }
    assert!(!plan(&desired(TEXT), &present).asks());
}

#[test]
fn nginx_answers_for_what_has_a_domain() {
    let with = |text: &str, service: &str, domain: &str| {
        let line = format!("  {service}: {{");
        text.replace(&line, &format!("{line}domain: {domain}, "))
    };
    let one = with(TEXT, "web", "a.example");
    let mut present = applied(&desired(TEXT));
    assert_eq!(
        steps(&one, &present),
        ["adjust web", "publish web [80]", "serve web [a.example] 80 []", "keep"]
    );
    assert!(plan(&desired(&one), &present).asks());
    present = applied(&desired(&one));
    assert!(plan(&desired(&one), &present).is_empty());
    let other = with(TEXT, "web", "[a.example, b.example]");
    let more = ["adjust web", "serve web [a.example,b.example] 80 []", "keep"];
    assert_eq!(steps(&other, &present), more, "nginx's port is open");
    let one_for_another = with(TEXT, "web", "c.example");
    let told = ["adjust web", "serve web [c.example] 80 [a.example]", "keep"];
    assert_eq!(steps(&one_for_another, &present), told);
    // A container is published on loopback for it; nginx's port stays the one of before.
    let both = with(&one, "db", "db.example");
    assert_eq!(steps(&both, &present), ["replace db", "serve db [db.example] 5432 []", "keep"]);
    present.public = BTreeMap::from([(80, "web".to_owned())]);
    let moved = with(TEXT, "db", "a.example");
    assert_eq!(
        steps(&moved, &present),
        [
            "close [80]",
            "unserve web [a.example]",
            "replace db",
            "adjust web",
            "publish db [80]",
            "serve db [a.example] 5432 []",
            "keep"
        ]
    );
    assert_eq!(steps(TEXT, &present)[..2], ["close [80]", "unserve web [a.example]"]);
    assert!(plan(&desired(TEXT), &present).asks());
}

#[test]
fn hooks_run_once_for_a_text_and_each_time() {
    let text = format!("{TEXT}hooks: {{setup: one, start: two}}\n");
    assert_eq!(
        steps(&text, &Present::default()),
        ["setup", "start db", "start job", "start web", "keep", "hook"]
    );
    let wanted = desired(&text);
    let again = plan(&wanted, &applied(&wanted));
    assert_eq!(again.steps, [Step::Hook]);
    assert!(again.is_empty());
    let other = text.replace("setup: one", "setup: other");
    assert_eq!(steps(&other, &applied(&wanted)), ["setup", "keep", "hook"]);
}

#[test]
fn a_plan_is_of_these_steps_for_this_and_in_this_state() {
    let wanted = desired(TEXT);
    let first = plan(&wanted, &Present::default());
    assert_eq!(plan(&wanted, &Present::default()), first);
    let later = Present { generation: 1, ..Present::default() };
    assert_ne!(plan(&wanted, &later).digest, first.digest);
    // The same steps for something else.
    let other = plan(&desired(&TEXT.replace("command: z", "command: zz")), &Present::default());
    assert_eq!(other.steps, first.steps);
    assert_ne!(other.digest, first.digest);
}

#[test]
fn a_plan_crosses_as_it_is() {
    let open = TEXT.replace("ports: [80]", "ports: [80, 81], public: true");
    let text = format!("{open}hooks: {{setup: one, start: two}}\n");
    let text = text.replace("  web: {", "  web: {domain: [a.example, b.example], ");
    let mut present = applied(&desired(&open.replace("web: {", "www: {domain: a.example, ")));
    present.services.get_mut("db").unwrap().digest.run = Digest::of("x", "");
    let plan = plan(&desired(&text), &present);
    assert!(plan.steps.len() >= 9, "{plan:?}");
    let read = |json| Plan::read(&mut Fields::of(json, "").unwrap());
    assert_eq!(read(plan.to_json()), Ok(plan.clone()));
    for (pointer, bad) in [
        ("/steps/0/do", json!("explode")),
        ("/steps/0/ports", json!([0])),
        ("/steps/0/ports", json!([65536])),
        ("/steps/2/service", json!("../x")),
        ("/steps/2/volumes", json!([7])),
        ("/steps/1/domains", json!(["A"])),
        ("/digest", json!("x")),
        ("/generation", json!(-1)),
    ] {
        let mut json = plan.to_json();
        *json.pointer_mut(pointer).unwrap() = bad;
        assert!(read(json).is_err(), "{pointer}");
    }
}
