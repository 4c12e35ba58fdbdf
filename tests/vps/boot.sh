#!/bin/sh
# boot.sh LAB NAME: becomes a container that boots systemd over this machine's files, in memory:
# nothing is downloaded and nothing is kept. What is enabled here is not enabled there; sshd is.
# LAB/NAME gets root (what the machine sees), upper (what it changed) and log; what is there
# already is booted again. Where LAB/disk/NAME is there the machine has it as /srv/disk. Needs root
# and a mount namespace of its own; started by machine.rs.
set -eu
lab=$1 name=$2
dir=$lab/$name root=$lab/$name/root
prepare() {
    mkdir -p "$dir/upper" "$dir/work" "$root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$dir/upper,workdir=$dir/work" "$root"

    cd "$root"
    rm -rf etc/systemd/system/*.wants etc/systemd/system/*.requires etc/ssh/ssh_host_* etc/hopbox \
        etc/systemd/system/hop* usr/lib/systemd/system/hop* usr/libexec/hopbox usr/lib/sysusers.d/hop* \
        var/lib/hopbox* var/log/hopbox var/log/journal usr/local/bin/hop usr/bin/hop
    : >etc/machine-id
    echo "$name" >etc/hostname
    printf '127.0.0.1 localhost %s\n' "$name" >etc/hosts
    printf 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n' >etc/environment
    for unit in getty.target remote-fs.target systemd-resolved.service systemd-networkd.service \
        systemd-networkd.socket systemd-timesyncd.service; do
        ln -sf /dev/null "etc/systemd/system/$unit"
    done
    # Without PAM: its modules look for a login manager and an audit id, which a container may lack.
    cat >etc/ssh/sshd_config <<'CONFIG'
HostKey /etc/ssh/ssh_host_ed25519_key
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
CONFIG
    cat >etc/systemd/system/sshd-here.service <<'UNIT'
[Service]
RuntimeDirectory=sshd
ExecStart=/usr/sbin/sshd -D -e
KillMode=process
Restart=always
UNIT
    mkdir -p etc/systemd/system/multi-user.target.wants
    ln -s ../sshd-here.service etc/systemd/system/multi-user.target.wants/
    ssh-keygen -q -t ed25519 -N '' -C '' -f etc/ssh/ssh_host_ed25519_key

    # dev may use sudo, pat after saying the password, guest may not. All are let in by one key.
    mkdir -p etc/sudoers.d
    printf 'dev ALL=(ALL) NOPASSWD: ALL\npat ALL=(ALL) ALL\n' >etc/sudoers.d/people
    chmod 0440 etc/sudoers.d/people
    secret=$(printf 'correct-horse' | openssl passwd -6 -stdin)
    uid=2000
    for user in dev pat guest; do
        uid=$((uid + 1))
        echo "$user:x:$uid:$uid::/home/$user:/bin/sh" >>etc/passwd
        echo "$user:x:$uid:" >>etc/group
        if [ "$user" = pat ]; then echo "$user:$secret:20000::::::"; else echo "$user:*:20000::::::"; fi \
            >>etc/shadow
        install -d -m 0700 -o "$uid" -g "$uid" "home/$user" "home/$user/.ssh"
        install -m 0600 -o "$uid" -g "$uid" "$lab/key" "home/$user/.ssh/id_ed25519"
        install -m 0600 -o "$uid" -g "$uid" "$lab/key.pub" "home/$user/.ssh/authorized_keys"
    done
    cd /
}

# A machine that is booted again has its files.
[ -e "$root/etc" ] || prepare

# A cgroup of its own: two containers in one would take each other's units for theirs.
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e "$tree/cgroup.procs" ] && mkdir -p "$tree/$HOPBOX_CGROUP-$name" 2>/dev/null; then
        echo 0 >"$tree/$HOPBOX_CGROUP-$name/cgroup.procs"
    fi
done
export SYSTEMD_SECCOMP=0
disk=
[ ! -e "$lab/disk/$name" ] || disk=--bind=$lab/disk/$name:/srv/disk
exec systemd-nspawn --quiet --register=no --keep-unit -D "$root" --boot --machine="$name" \
    --private-network --bind=/dev/net/tun ${disk:+"$disk"} --capability=CAP_NET_ADMIN --console=pipe \
    </dev/null >"$dir/log" 2>&1
