//! Images: their whole names, and how one gets here. A name without a registry is one of Docker
//! Hub's, for both engines: podman on Debian knows no short names.

use std::env::consts::ARCH;
use std::time::Duration;

use super::engine::Engine;
use crate::sys::child::{Limits, Stream, Talk};

const REGISTRY: &str = "docker.io";
/// Of an image that is large, over a line that is slow.
const PULL_LIMITS: Limits = Limits { time: Duration::from_secs(3600), bytes: 4 * 1024 * 1024 };

/// `postgres:16` → `docker.io/library/postgres:16`.
pub fn whole_name(image: &str) -> String {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let registry = name.split_once('/').map(|(first, _)| first);
    let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let whole = match registry {
        Some(first) if is_registry(first) => name.to_owned(),
        Some(_) => format!("{REGISTRY}/{name}"),
        None => format!("{REGISTRY}/library/{name}"),
    };
    let (path, last) = whole.rsplit_once('/').unwrap_or(("", &whole));
    let (base, tag) = last.split_once(':').unwrap_or((last, "latest"));
    match digest {
        // podman takes no tag beside it, and nothing depends on one.
        Some(digest) => format!("{path}/{base}@{digest}"),
        None => format!("{path}/{base}:{tag}"),
    }
}

/// It is here, or is fetched: `say` hears of that, and says whether somebody still wants it.
pub fn have(
    engine: &Engine,
    image: &str,
    say: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(), String> {
    let whole = whole_name(image);
    match engine.image(&whole)? {
        Some(_) => Ok(()),
        None => fetch(engine, image, &whole, say),
    }
}

/// What is to be said of one that is here: an engine takes an image of one processor alone as it
/// is, and its program fails as it starts.
pub fn caution(engine: &Engine, image: &str) -> Result<Option<String>, String> {
    let found = engine.processor(&whole_name(image))?;
    Ok(found.filter(|theirs| is_foreign(theirs, ARCH)).map(|theirs| {
        format!("{image} is for {theirs}, and this server is {ARCH}: it may not run here")
    }))
}

/// Whether programs for one processor, as images name it, are none of another, as Rust does.
fn is_foreign(image: &str, machine: &str) -> bool {
    let own: &[&str] = match machine {
        "x86_64" => &["amd64", "386"],
        "aarch64" => &["arm64", "arm"],
        // Who knows no name says nothing.
        _ => return false,
    };
    !own.contains(&image)
}

fn fetch(
    engine: &Engine,
    image: &str,
    whole: &str,
    say: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<(), String> {
    say(format!("{image}: {} pull {whole}\n", engine.kind.word()).as_bytes());
    pull(engine, whole, say).map_err(|why| {
        let fix = format!("on the server, what tells more: {} pull {whole}", engine.kind.word());
        format!("the image {image} is not there and cannot be fetched: {why}; {fix}")
    })
}

fn pull(engine: &Engine, whole: &str, say: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), String> {
    let mut command = engine.command();
    let failed = |broken| format!("{}: {broken}", engine.kind.word());
    let mut talk =
        Talk::start(command.args(["pull", whole]), false, PULL_LIMITS).map_err(failed)?;
    let mut is_wanted = true;
    loop {
        let mut said = false;
        let mut hear = |_: Stream, text: &[u8]| {
            said = true;
            is_wanted &= say(text);
        };
        let ended = talk.step(Some(&mut std::io::empty()), &mut hear).map_err(failed)?;
        if !said {
            is_wanted &= say(b"");
        }
        match ended {
            Some(status) if status.success() => return Ok(()),
            Some(status) => {
                let text = String::from_utf8_lossy(talk.complained()).into_owned();
                let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
                return Err(last.map_or_else(|| status.to_string(), str::to_owned));
            }
            None if !is_wanted => return Err("whoever wanted it has gone".to_owned()),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_another_processor_is_known() {
        for (image, machine, is_so) in [
            ("amd64", "x86_64", false),
            ("386", "x86_64", false),
            ("arm64", "x86_64", true),
            ("amd64", "aarch64", true),
            ("s390x", "aarch64", true),
            ("amd64", "riscv64", false),
        ] {
            assert_eq!(is_foreign(image, machine), is_so, "{image} on {machine}");
        }
    }

    #[test]
    fn a_name_without_a_registry_is_of_docker_hub() {
        for (image, whole) in [
            ("postgres:16", "docker.io/library/postgres:16"),
            ("redis", "docker.io/library/redis:latest"),
            ("owner/app", "docker.io/owner/app:latest"),
            ("ghcr.io/owner/app:1", "ghcr.io/owner/app:1"),
            ("localhost/box", "localhost/box:latest"),
            ("localhost:5000/box:2", "localhost:5000/box:2"),
            ("redis@sha256:ab", "docker.io/library/redis@sha256:ab"),
            ("redis:7@sha256:ab", "docker.io/library/redis@sha256:ab"),
        ] {
            assert_eq!(whole_name(image), whole);
        }
    }
}
