//! Bringing hosts up at login: a systemd user unit, or a launchd agent on macOS. Only files are
//! written here; telling the system's manager is the caller's business.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::paths::Paths;
use crate::base::failure::Failure;
use crate::base::file;
use crate::sys::bounded;

const TEMPLATE: &str = "hopbox@.service";
/// What the user's manager wants at login.
const WANTS: &str = "default.target.wants";

/// The unit of every host. `%i` is the host's name. Without a network at login the agent does not
/// answer, and that is tried again; what a person must mend first is not (exit status 2, 4).
fn unit(program: &Path) -> String {
    format!(
        "[Unit]\n\
         Description=hopbox tunnel to %i\n\
         Documentation=man:hop(1)\n\
         StartLimitIntervalSec=0\n\
         \n\
         [Service]\n\
         ExecStart={} up --foreground %i\n\
         Restart=on-failure\n\
         RestartPreventExitStatus=2 4\n\
         RestartSec=5\n\
         TimeoutStopSec=15\n\
         \n\
         [Install]\n\
         WantedBy=default.target\n",
        quoted(program)
    )
}

/// A path as systemd reads one: in quotes, with what has a meaning there doubled or escaped.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let text = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", text.replace('%', "%%").replace('$', "$$"))
}

/// A launchd agent of one host.
fn plist(name: &str, program: &Path) -> String {
    let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let words = [&program.to_string_lossy(), "up", "--foreground", name];
    let words = words.map(|word| format!("    <string>{}</string>\n", escaped(word))).concat();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n\
         \x20 <key>Label</key>\n  <string>dev.hopbox.{name}</string>\n\
         \x20 <key>ProgramArguments</key>\n  <array>\n{words}  </array>\n\
         \x20 <key>RunAtLoad</key>\n  <true/>\n\
         \x20 <key>KeepAlive</key>\n  <dict>\n\
         \x20   <key>SuccessfulExit</key>\n    <false/>\n  </dict>\n\
         \x20 <key>ThrottleInterval</key>\n  <integer>5</integer>\n\
         </dict>\n</plist>\n"
    )
}

/// The files of one host.
struct Files {
    /// What says how it is started.
    unit: PathBuf,
    text: String,
    /// What says that it is, where that is a file of its own.
    link: Option<PathBuf>,
}

fn files(paths: &Paths, name: &str, program: &Path) -> Files {
    if cfg!(target_os = "macos") {
        let unit = paths.launch_agents().join(format!("dev.hopbox.{name}.plist"));
        return Files { unit, text: plist(name, program), link: None };
    }
    let units = paths.user_units();
    let link = units.join(WANTS).join(format!("hopbox@{name}.service"));
    Files { unit: units.join(TEMPLATE), text: unit(program), link: Some(link) }
}

/// The file that says how a host is started.
pub fn file(paths: &Paths, name: &str) -> PathBuf {
    files(paths, name, Path::new("")).unit
}

/// Whether a host is brought up at login.
pub fn is_on(paths: &Paths, name: &str) -> bool {
    let Files { unit, link, .. } = files(paths, name, Path::new(""));
    unit.is_file() && link.is_none_or(|link| link.symlink_metadata().is_ok())
}

/// Has `program` bring the host up at login; false when it was so already, by this very program.
pub fn on(paths: &Paths, name: &str, program: &Path) -> Result<bool, Failure> {
    let Files { unit, text, link } = files(paths, name, program);
    let mut changed = false;
    if bounded::text(&unit).ok().as_ref() != Some(&text) {
        let written = make_parent(&unit).and_then(|()| file::replace(&unit, text.as_bytes()));
        written.map_err(|error| Failure::io("write", &unit, &error))?;
        changed = true;
    }
    let Some(link) = link else { return Ok(changed) };
    match make_parent(&link).and_then(|()| symlink(Path::new("..").join(TEMPLATE), &link)) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(changed),
        Err(error) => Err(Failure::io("create", &link, &error)),
    }
}

/// Takes that back; false when it was not so. The template goes with the last host.
pub fn off(paths: &Paths, name: &str) -> Result<bool, Failure> {
    let Files { unit, link, .. } = files(paths, name, Path::new(""));
    let was_on = is_on(paths, name);
    let remove = |path: &Path| match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failure::io("remove", path, &error))
        }
        _ => Ok(()),
    };
    let Some(link) = link else {
        remove(&unit)?;
        return Ok(was_on);
    };
    remove(&link)?;
    let wants = link.parent().unwrap_or(Path::new("/"));
    let left = fs::read_dir(wants)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| entry.file_name().to_string_lossy().starts_with("hopbox@"));
    if !left {
        remove(&unit)?;
        // Only where nothing else is in it.
        let _ = fs::remove_dir(wants);
    }
    Ok(was_on)
}

fn make_parent(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_and_go_and_the_last_takes_the_template_along() {
        let root = std::env::temp_dir().join(format!("hopbox-autostart-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let paths = Paths::below(&root);
        let hop = Path::new("/opt/my hop/hop");
        assert!(!is_on(&paths, "one") && !off(&paths, "one").unwrap());
        assert!(on(&paths, "one", hop).unwrap() && !on(&paths, "one", hop).unwrap());
        assert!(on(&paths, "two", hop).unwrap());
        assert!(is_on(&paths, "one") && is_on(&paths, "two") && !is_on(&paths, "three"));
        assert!(off(&paths, "one").unwrap() && !is_on(&paths, "one") && is_on(&paths, "two"));
        assert!(file(&paths, "two").is_file());
        assert!(on(&paths, "two", Path::new("/usr/bin/hop")).unwrap(), "another program");
        assert!(off(&paths, "two").unwrap() && !file(&paths, "two").exists());
        fs::remove_dir_all(root).unwrap();
    }

    #[test]
    fn a_path_cannot_break_out_of_the_files() {
        let odd = Path::new("/opt/a \"b\" %i $HOME\\<&>/hop");
        let text = unit(odd);
        let line = text.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
        assert_eq!(line, r#"ExecStart="/opt/a \"b\" %%i $$HOME\\<&>/hop" up --foreground %i"#);
        assert!(plist("mybox", odd).contains("$HOME\\&lt;&amp;&gt;/hop</string>"));
        assert!(plist("mybox", odd).contains("<string>dev.hopbox.mybox</string>"));
    }
}
