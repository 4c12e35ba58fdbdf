#!/bin/sh
# Expected: an argument of notify-send(1) is shown as it is, so that a foreign text is harmless once
#       its control characters are gone (and < and & stand for themselves where bodies have markup).
# Seen: the body, and only the body, is read as a string of C (g_strcompress): the printable text
#       \033 in it reaches the desktop as the character ESC. Each backslash has to be doubled.
# Versions: notify-send 0.8.1 (Debian 0.8.1-1)
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}
command -v dbus-run-session >/dev/null || skip "needs dbus-run-session"
/usr/bin/python3 -c 'import dbus, gi' 2>/dev/null || skip "needs python3-dbus and python3-gi"
get libnotify-bin=0.8.1-1 libnotify4=0.8.1-1
export LD_LIBRARY_PATH="$(dirname "$(find "$work/root" -name 'libnotify.so.4')")"
cat >"$work/desktop.py" <<'PYTHON'
import dbus, dbus.service
from dbus.mainloop.glib import DBusGMainLoop
from gi.repository import GLib
DBusGMainLoop(set_as_default=True)
NAME = 'org.freedesktop.Notifications'
class Desktop(dbus.service.Object):
    @dbus.service.method(NAME, in_signature='susssasa{sv}i', out_signature='u')
    def Notify(self, app, old, icon, title, body, actions, hints, time):
        print(ascii(str(title)), ascii(str(body)), flush=True)
        return 1
    @dbus.service.method(NAME, out_signature='ssss')
    def GetServerInformation(self):
        return 'desktop', 'nobody', '1', '1.2'
    @dbus.service.method(NAME, out_signature='as')
    def GetCapabilities(self):
        return ['body']
name = dbus.service.BusName(NAME, dbus.SessionBus())
Desktop(name, '/org/freedesktop/Notifications')
GLib.timeout_add_seconds(10, exit)
GLib.MainLoop().run()
PYTHON
cat >"$work/inner.sh" <<'INNER'
/usr/bin/python3 "$1/desktop.py" >"$1/seen" 2>/dev/null & desktop=$!
sleep 2
timeout 5 "$1/root/usr/bin/notify-send" -- 'ti\033tle' 'bo\033dy'
kill $desktop
INNER
timeout 30 dbus-run-session -- sh "$work/inner.sh" "$work" >/dev/null 2>&1
[ -s "$work/seen" ] || skip "no notice came"
seen=$(cat "$work/seen")
echo "$seen"
[ "$seen" = "'ti\\\\033tle' 'bo\\x1bdy'" ] || changed "$seen"
