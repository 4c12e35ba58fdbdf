#!/bin/sh
# snaps.sh CARGO ARGUMENTS...
# Snapshots with the system's restic and with the newest that Debian has (sid), on a file system
# that shares blocks (XFS on a loop device), with 100,000 small files, files of 2 GiB, and a server
# that is away for a minute. Root and network.
set -eu
work=$(mktemp -d)
mounted=
end() {
    [ -z "$mounted" ] || umount -l "$mounted"
    rm -rf "$work"
}
trap end EXIT
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
key=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/reflink"
echo "deb [signed-by=$key] $mirror sid main" >"$work/sources.list"
# apt with lists of its own, so that the machine's sources stay as they are.
printf '%s\n' "Dir::Etc::sourcelist \"$work/sources.list\";" 'Dir::Etc::sourceparts "/dev/null";' \
    "Dir::State::lists \"$work/lists\";" "Dir::Cache \"$work/cache\";" 'APT::Sandbox::User "root";' \
    'Acquire::Languages "none";' 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";' \
    >"$work/apt.conf"
(
    cd "$work"
    export APT_CONFIG="$work/apt.conf"
    apt-get -q update >log 2>&1 && apt-get -q download restic >>log 2>&1 || { cat log; exit 1; }
    dpkg -x restic_*.deb root
)
"$work/root/usr/bin/restic" version
truncate -s 1G "$work/image"
mkfs.xfs -q "$work/image"
mount -o loop "$work/image" "$work/reflink"
mounted=$work/reflink
HOP_RESTIC="$work/root/usr/bin" HOP_REFLINK="$work/reflink" HOP_SNAPS=full "$@" --lib \
    snap:: -- --nocapture
# All of snap*.rs.
HOP_RESTIC="$work/root/usr/bin" HOP_REFLINK="$work/reflink" HOP_SNAPS=full "$@" --test agent \
    snap -- --nocapture --test-threads 1
