# For whoever puts the agent of an older release back: it looks for its files in /etc/hopbox, as its
# unit, which is in it, tells. $1: the program. Killed at any moment there is one whole pair: the
# old place counts as soon as it has an agent.json. What lies in the agent's own directory may be
# anything: cp -a follows no link and waits for no pipe.
give_back() {
    old=/etc/hopbox new=/var/lib/hopbox-agent
    grep -q 'ReadWritePaths=/etc/hopbo[x]' "$1" || return 0
    if [ ! -f $new/agent.json ] || [ -e $old/agent.json ]; then return 0; fi
    user=$(stat -c %U $new) && gid=$(id -g -- "$user") || return 1
    # Where the login's own group is shared.
    group=$(getent group hopbox-agent | cut -d: -f3)
    mkdir -p $old || return 1
    for name in agent.key.bak agent.key.new agent.key agent.json; do
        rm -rf "$old/.$name.tmp" || return 1
        if [ -f "$new/$name" ]; then
            cp -a "$new/$name" "$old/.$name.tmp" || return 1
            sync "$old/.$name.tmp" 2>/dev/null || sync
            mv -fT "$old/.$name.tmp" "$old/$name" || return 1
        else
            rm -f "$old/$name" || return 1
        fi
    done
    # A helper that believes only what root alone can write would refuse everything; with it the
    # older agent serves, and changes of its files wait for a newer one.
    if ! grep -q 'root alone can writ[e]' "${lib:-/usr/libexec/hopbox}/hop-helper" 2>/dev/null; then
        chgrp "${group:-$gid}" $old && chmod 1771 $old || return 1
    fi
    (cd $new && rm -f agent.json agent.key agent.key.new agent.key.bak)
}
