use super::*;
use crate::workspace::manifest::Kind as ServiceKind;
use crate::workspace::read;

const TEXT: &str = r#"
name: app
env: {TOKEN: secret-value, PATH: /own/bin}
services:
  db:
    type: container
    image: "postgres:16"
    entrypoint: [/tini, --]
    command: [postgres, -c, "max_connections=9"]
    workdir: /work
    user: "70"
    ports: ["5433:5432"]
    data: [{host: "~/db", container: /var/lib/db}, {host: /srv/x, container: /x, read_only: true}]
    limits: {memory: 64M, cpu: 1.5, pids: 40}
"#;

fn recipe(text: &str, address: Option<Ipv4Addr>) -> Result<Recipe, String> {
    let desired = read::manifest(text).unwrap_or_else(|wrongs| panic!("{wrongs:#?}")).desired;
    let service = &desired.services["db"];
    let ServiceKind::Container(container) = &service.kind else { panic!("no container") };
    let engine = Engine { kind: Kind::Podman, program: "/usr/bin/podman".into() };
    let home = Path::new("/home/dev");
    let name = desired.unit_name("db");
    let published = vec!["cache", "db"];
    let mut urls = Env::default();
    urls.set("HOPBOX_URL_5433", "http://localhost:5434");
    let place = Place { workspace: "app", service: "db", name, home, address, published, urls };
    Recipe::of(engine, &place, service, container, &desired.env_of(service))
}

const ADDRESS: Option<Ipv4Addr> = Some(Ipv4Addr::new(10, 10, 0, 2));

#[test]
fn an_engine_is_told_all_of_it_and_no_value_of_a_variable() {
    let recipe = recipe(TEXT, ADDRESS).unwrap();
    let made = recipe.digest("i1");
    let words = recipe.words(&made, Path::new("/d/env")).join(" ");
    let expected = format!(
        "create --pull=never --name hopbox-app.db --label hopbox.workspace=app --label \
         hopbox.service=db --label hopbox.made={made} --restart no --log-driver none --publish \
         10.10.0.2:5433:5432/tcp --add-host cache:10.10.0.2 \
         --volume /home/dev/db:/var/lib/db:rw --volume /srv/x:/x:ro \
         --memory 67108864 --memory-swap 67108864 --cpus 1.50 --pids-limit 40 --entrypoint /tini \
         --workdir /work --user 70 --env TOKEN --env HOPBOX_URL_5433 --env-file /d/env \
         docker.io/library/postgres:16 -- postgres -c max_connections=9"
    );
    assert_eq!(words, expected);
    let open = TEXT.replace("ports", "public: true\n    ports");
    let open = super::tests::recipe(&open, None).unwrap().words(&made, Path::new("/d/env"));
    assert!(open.contains(&"0.0.0.0:5433:5432/tcp".to_owned()), "{open:?}");
    let named = TEXT.replace("ports", "domain: db.example.org\n    ports");
    let named = super::tests::recipe(&named, ADDRESS).unwrap().words(&made, Path::new("/d/env"));
    for address in ["10.10.0.2", "127.0.0.1"] {
        assert!(named.contains(&format!("{address}:5433:5432/tcp")), "{named:?}");
    }
    let inside = super::tests::recipe(TEXT, Some(Ipv4Addr::LOCALHOST)).unwrap();
    assert!(!inside.words(&made, Path::new("/d/env")).contains(&"--add-host".to_owned()));
    assert_eq!(recipe.env_file().unwrap(), "PATH=/own/bin\n");
    let plain: Vec<_> = recipe.plain_env().map(|(name, _)| name.as_str()).collect();
    assert_eq!(plain, ["TOKEN", "HOPBOX_URL_5433"]);
    // Where a laptop answers is no reason to make another container, nor over what is asked for.
    let mut other = super::tests::recipe(TEXT, ADDRESS).unwrap();
    other.urls.clear();
    assert_eq!(other.digest("i1"), made);
    let own = TEXT.replace("TOKEN: secret-value", "HOPBOX_URL_5433: own");
    assert!(super::tests::recipe(&own, ADDRESS).unwrap().urls.is_empty());
}

#[test]
fn what_another_container_is_needed_for_has_another_digest() {
    let of = |text: &str| recipe(text, ADDRESS).unwrap().digest("i1");
    let before = of(TEXT);
    assert_eq!(before, of(&TEXT.replace("name: app", "# same\nname: app")));
    assert_eq!(before, of(&TEXT.replace("user:", "stop_timeout: 3s\n    user:")));
    for (from, to) in [("secret-value", "other"), ("5433", "5434"), ("64M", "65M"), ("16", "17")] {
        assert_ne!(before, of(&TEXT.replace(from, to)), "{to}");
    }
    assert_ne!(before, recipe(TEXT, ADDRESS).unwrap().digest("i2"), "another image of this name");
    let moved = recipe(TEXT, Some(Ipv4Addr::new(10, 10, 1, 2))).unwrap();
    assert_ne!(before, moved.digest("i1"));
}

#[test]
fn what_is_written_is_read_again_and_what_cannot_be_given_is_said() {
    let dir = std::env::temp_dir().join(format!("hopbox-recipe-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    assert!(Recipe::load(&dir).is_none());
    let written = recipe(TEXT, ADDRESS).unwrap();
    written.save(&dir).unwrap();
    let read = Recipe::load(&dir).unwrap().unwrap();
    assert_eq!(read.to_json(), written.to_json());
    std::fs::write(dir.join(RECIPE), "{}").unwrap();
    assert!(Recipe::load(&dir).unwrap().is_err());
    std::fs::remove_dir_all(&dir).unwrap();

    assert!(recipe(TEXT, None).err().unwrap().contains("hop up"));
    let two = TEXT.replace("PATH: /own/bin", "\"LD_PRELOAD\": \"a\\nb\"");
    assert!(recipe(&two, ADDRESS).unwrap().env_file().unwrap_err().contains("LD_PRELOAD"));
    // Two lines are no matter where no engine would read them.
    let two = TEXT.replace("PATH: /own/bin", "KEY: \"a\\nb\"");
    assert_eq!(recipe(&two, ADDRESS).unwrap().env_file().unwrap(), "");
}

#[test]
fn a_container_is_ours_by_both_labels() {
    let recipe = recipe(TEXT, ADDRESS).unwrap();
    let found = |labels: &[(&str, &str)]| engine::Found {
        labels: labels.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        ..engine::Found::default()
    };
    assert!(recipe.is_ours(&found(&[(engine::WORKSPACE, "app"), (engine::SERVICE, "db")])));
    for other in [
        &[][..],
        &[(engine::WORKSPACE, "app")],
        &[(engine::SERVICE, "db")],
        &[(engine::WORKSPACE, "app"), (engine::SERVICE, "web")],
    ] {
        assert!(!recipe.is_ours(&found(other)));
    }
}
