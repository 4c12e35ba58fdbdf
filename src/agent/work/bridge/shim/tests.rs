//! Command lines as programs write them.

use super::*;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn copy(from: From) -> Meant {
    Meant::Copy { from, trims: false, echoes: false }
}

fn paste(kind: Kind, end: LineEnd) -> Meant {
    Meant::Paste { kind, end }
}

#[test]
fn xclip_is_read_as_xlib_reads_it() {
    let text = paste(Kind::Text, LineEnd::Kept);
    for line in [
        "-selection clipboard -o",
        "-sel clip -out",
        "-o -sel c",
        "-sele CLIPBOARD -o -target UTF8_STRING",
        "-selection clipboard -t text/plain;charset=utf-8 -o",
        "-quiet -o -selection c -noutf8",
    ] {
        assert_eq!(x::xclip(&words(line)), text, "{line}");
    }
    for line in ["-selection clipboard", "-in -sel c -l 1", "-quiet -i -selection clipboard"] {
        assert_eq!(x::xclip(&words(line)), copy(From::Input), "{line}");
    }
    let files = From::Files(words("a.txt b.txt"));
    assert_eq!(x::xclip(&words("a.txt -sel c b.txt")), copy(files));
    let primary = Meant::Primary(Box::new(copy(From::Input)));
    assert_eq!(x::xclip(&[]), primary);
    assert_eq!(x::xclip(&words("-sel c -t TARGETS -o")), Meant::Types(Display::X));
    let png = paste(Kind::Png, LineEnd::Kept);
    assert_eq!(x::xclip(&words("-selection clipboard -t image/png -o")), png);
    assert_eq!(x::xclip(&words("-sel c -o -r")), paste(Kind::Text, LineEnd::Taken));
    for line in ["-s c", "-v", "-display :0 -o", "-sel", "-sel s -o", "-sel b", "-x", "-version"] {
        assert_eq!(x::xclip(&words(line)), Meant::Real, "{line}");
    }
    let other = Meant::NoSuchType("image/jpeg".to_owned());
    assert_eq!(x::xclip(&words("-sel c -t image/jpeg -o")), other);
}

#[test]
fn xsel_and_wl_clipboard_are_read_as_getopt_reads_them() {
    let text = paste(Kind::Text, LineEnd::Kept);
    for line in ["-b -o", "-ob", "--clipboard --output", "--clip --out", "-b -o -t 500"] {
        assert_eq!(x::xsel(&words(line)), text, "{line}");
    }
    assert_eq!(x::xsel(&words("--nodetach -i -b")), copy(From::Input));
    assert_eq!(x::xsel(&words("-bio")), Meant::PasteAndCopy);
    assert_eq!(x::xsel(&words("-bc")), copy(From::Text(String::new())));
    for line in ["-b -a", "-k", "-x", "-b --display :0", "--help", "-b extra", "-b --none"] {
        assert_eq!(x::xsel(&words(line)), Meant::Real, "{line}");
    }
    assert_eq!(wayland::copy(&[]), copy(From::Input));
    assert_eq!(wayland::copy(&words("-- -n x")), copy(From::Text("-n x".to_owned())));
    assert_eq!(wayland::copy(&words("a b")), copy(From::Text("a b".to_owned())));
    assert_eq!(wayland::copy(&words("-ofttext/plain")), copy(From::Input));
    assert_eq!(wayland::copy(&words("-t text/html")), Meant::NoSuchType("text/html".to_owned()));
    assert_eq!(wayland::paste(&[]), paste(Kind::Text, LineEnd::Added));
    assert_eq!(wayland::paste(&words("-n")), text);
    assert_eq!(
        wayland::paste(&words("--no-newline --type=image/png")),
        paste(Kind::Png, LineEnd::Kept)
    );
    assert_eq!(wayland::paste(&words("-l")), Meant::Types(Display::Wayland));
    assert_eq!(wayland::paste(&words("-w cat")), Meant::Real);
    let primary = wayland::paste(&words("-p -n"));
    assert_eq!(primary, Meant::Primary(Box::new(paste(Kind::Text, LineEnd::Kept))));
}

#[test]
fn only_pages_are_opened_there_and_a_notice_is_text() {
    assert_eq!(
        desktop::xdg_open(&words("http://x HTTPS://y")),
        Meant::Open(words("http://x HTTPS://y"))
    );
    for line in ["", "file.txt", "file:///x", "mailto:a@b", "--help", "-- http://x", "http://x y"] {
        assert_eq!(desktop::xdg_open(&words(line)), Meant::Real, "{line}");
    }
    assert_eq!(desktop::lemonade(&words("copy")), copy(From::Input));
    assert_eq!(desktop::lemonade(&words("paste")), paste(Kind::Text, LineEnd::Kept));
    assert_eq!(desktop::lemonade(&words("open http://x")), Meant::Open(words("http://x")));
    for line in ["server", "copy --host x", "open file:///x", ""] {
        assert_eq!(desktop::lemonade(&words(line)), Meant::Real, "{line}");
    }
    let line = ["-u", "low", "--", "-i/etc/x", "a <b>\n"].map(str::to_owned);
    let notice = |title: &str, body: &str, prints_id| Meant::Notify {
        title: title.to_owned(),
        body: body.to_owned(),
        prints_id,
    };
    assert_eq!(desktop::notify_send(&line), notice("-i/etc/x", "a <b>\n", false));
    assert_eq!(
        desktop::notify_send(&words("-p -i icon done --urgency=low")),
        notice("done", "", true)
    );
    for line in ["", "a b c", "-A yes=Yes a", "-w a", "--nonsense a"] {
        assert_eq!(desktop::notify_send(&words(line)), Meant::Real, "{line}");
    }
}
