# Lies in /usr/libexec/hopbox/unverified beside the programs that were there before, all of it
# root's. As long as that directory is there, nobody has said that the new programs work.
#   sh trial.sh watch WORD    waits for "good WORD" or "bad WORD" in verdict, but not for ever
#   sh trial.sh undo          puts the programs before back
#   sh trial.sh back          puts the agent's files where the agent before looks for them
# Runs none of the new programs: they may be what is broken.
mark=$(dirname "$0")
lib=$(dirname "$mark")
unit=/etc/systemd/system/hop-agent.service
work=/etc/systemd/system/hop-agent-work.service
allows=/etc/hopbox/helper.json
word=$2
# Looks, five in a second.
LIMIT=1500

# Gone as a whole, for whoever looks.
end() {
    rm -rf "$mark.old" && mv "$mark" "$mark.old" && rm -rf "$mark.old"
}

same() { cmp -s "$mark/$1" "$lib/$1"; }

# What an older release would leave there for ever: it knows of no such program.
drop_server() {
    systemctl disable --now hop-helper-server.socket hop-helper-server.service
    nft delete table inet hopbox
    rm -f "$lib/hop-helper-server" /etc/systemd/system/hop-helper-server.* \
        /etc/logrotate.d/hopbox-server
    rm -rf /var/lib/hopbox-server /var/log/hopbox-server /run/hopbox-server
}

# The helper first: without one, the agent gets no device.
undo() {
    failed=0
    if [ -x "$mark/hop-helper" ] && ! { same hop-helper && same hop-install; }; then
        # The one before refuses what newer ones have written into it.
        if [ -f "$mark/helper.json" ]; then
            cp -p "$mark/helper.json" "$allows.back" && mv -f "$allows.back" "$allows" || failed=1
        fi
        "$mark/hop-helper" --install || failed=1
        # An older one installs itself.
        [ -x "$mark/hop-install" ] || rm -f "$lib/hop-install"
    fi
    if [ -x "$mark/hop-helper-server" ]; then
        same hop-helper-server || "$mark/hop-helper-server" --install || failed=1
    elif [ -x "$lib/hop-helper-server" ]; then
        drop_server
    fi
    if [ -x "$mark/hop-agent" ]; then
        if ! same hop-agent; then
            ln -f "$mark/hop-agent" "$lib/.hop-agent.back" &&
                mv -f "$lib/.hop-agent.back" "$lib/hop-agent" || failed=1
        fi
        if [ -f "$mark/unit" ] && ! cmp -s "$mark/unit" "$unit"; then
            cp -p "$mark/unit" "$unit.back" && mv -f "$unit.back" "$unit" || failed=1
            systemctl daemon-reload
        fi
        # One that runs must not change what is moved.
        systemctl stop hop-agent.service
        [ ! -f "$work" ] || systemctl stop hop-agent-work.service
        if [ -f "$mark/work" ]; then
            cp -p "$mark/work" "$work.back" && mv -f "$work.back" "$work" || failed=1
        elif ! grep -q hop-agent-work.service "$mark/hop-agent"; then
            # An older one has no such part.
            rm -f "$work"
        fi
        systemctl daemon-reload
        give_back "$mark/hop-agent" || failed=1
        systemctl reset-failed hop-agent.service
        systemctl restart hop-agent.service || failed=1
    fi
    if [ $failed = 0 ]; then end; else : >"$mark/failed"; fi
    return $failed
}

good() {
    same hop-helper || mv -f "$mark/hop-helper" "$lib/hop-helper.previous"
    end
}

# A later run may have taken over, or everything may have been removed.
is_ours() { [ "$(cat "$mark/by" 2>/dev/null)" = "$word" ]; }
alone() { exec 9<"$lib" && flock 9 && is_ours || exit 0; }

watch() {
    trap '' HUP
    cd / || exit
    looks=0
    while is_ours; do
        # Its writer is the login, which may write anything.
        said=$(head -c 200 "$mark/verdict" 2>/dev/null)
        if [ "$said" = "good $word" ]; then alone; good; exit; fi
        if [ "$said" = "bad $word" ] || [ $looks -gt $LIMIT ]; then
            alone
            undo >"$mark/said" 2>&1
            exit
        fi
        looks=$((looks + 1))
        sleep 0.2
    done
}

case $1 in
watch) watch ;;
undo) exec 9<"$lib" && flock 9 && undo ;;
back) give_back "$mark/hop-agent" ;;
esac
exit
