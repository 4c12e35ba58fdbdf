//! Which programs find a shim on a server without a display, and what reaches them else: the table
//! of hop-agent(8), with the versions that were looked at and where. Those with a script in
//! `findings/` were tried with the real program.

struct Program {
    name: &'static str,
    /// Of the release that was looked at.
    version: &'static str,
    /// What decides.
    source: &'static str,
    /// A word of the manual's row.
    instead: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        name: "neovim",
        version: "0.7",
        source: "runtime/autoload/provider/clipboard.vim; \
                 findings/neovim-finds-lemonade-without-a-display.sh",
        instead: "the shim lemonade",
    },
    Program {
        name: "tmux",
        version: "3.3",
        source: "tmux(1): copy-command, set-clipboard; \
                 findings/tmux-passes-a-copy-on-without-its-selection.sh",
        instead: "OSC 52",
    },
    Program {
        name: "emacs",
        version: "28",
        source: "lisp/net/browse-url.el: browse-url-can-use-xdg-open; lisp/term/xterm.el",
        instead: "browse-url-browser-function",
    },
    Program {
        name: "python webbrowser",
        version: "3.11",
        source: "Lib/webbrowser.py: register_standard_browsers",
        instead: "BROWSER with a whole path",
    },
    Program {
        name: "python pyperclip",
        version: "1.9",
        source: "tried: without DISPLAY it finds nothing, with any value xclip",
        instead: "set_clipboard",
    },
    Program {
        name: "npm open",
        version: "10",
        source: "index.js: localXdgOpenPath; findings/npm-open-empties-browser.sh",
        instead: "a name alone is dropped",
    },
    Program {
        name: "npm clipboardy",
        version: "4.0",
        source: "tried: xsel of the path, before one that it brings",
        instead: "xsel",
    },
    Program {
        name: "npm node-notifier",
        version: "10.0",
        source: "tried: notify-send of the path",
        instead: "notify-send",
    },
    Program {
        name: "notify-rust",
        version: "4",
        source: "calls org.freedesktop.Notifications on the session's bus",
        instead: "speaks D-Bus",
    },
    Program {
        name: "codex",
        version: "arboard 3",
        source: "arboard: src/platform/linux/x11.rs speaks X11 in the process",
        instead: "an X display of one's own",
    },
];

#[test]
fn the_manual_has_every_program_and_what_reaches_it() {
    let manual = include_str!("../../../../../man/hop-agent.8");
    for Program { name, version, source, instead } in PROGRAMS {
        assert!(!source.is_empty() && !version.is_empty());
        let row = |line: &&str| line.starts_with(&format!(".It {name}"));
        let row = manual.lines().find(row).unwrap_or_else(|| panic!("{name}"));
        assert!(row.contains(instead), "{row}");
    }
}
