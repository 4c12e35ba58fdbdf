#!/bin/sh
# recipes.sh: what packagers and other systems are given is read by their own tools: the recipes of
# Fedora, Arch, Alpine, Nix and Homebrew, and the property list of launchd. It says which were
# asked, and what is missing here. Debian's packages have a test of their own: debs.sh.
set -eu
cd "$(dirname "$0")/.."
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
lab=$(mktemp -d)
trap 'rm -rf "$lab"' EXIT

# there TOOL PACKAGE: whether it is, with Debian's name for it.
there() {
    command -v "$1" >/dev/null 2>&1 && return
    echo "SKIP $1: not installed (Debian: $2)"
    return 1
}

# same WHAT TOOL VERSION
same() {
    [ "$3" = "$version" ] || { echo "FAIL $2 reads version '$3' of $1, not $version" >&2; exit 1; }
    echo "ok: $1, by $2"
}

spec=packaging/rpm/hopbox.spec
if there rpmspec rpm; then
    same $spec rpmspec "$(rpmspec -q --srpm --qf '%{version}' $spec)"
    # Of every package that it makes.
    rpmspec -q --qf '   %{name}\n' $spec
fi
if there rpmlint rpmlint; then
    rpmlint $spec >"$lab/said" 2>&1 || { cat "$lab/said" >&2; exit 1; }
    grep -q ' 0 errors' "$lab/said" || { cat "$lab/said" >&2; exit 1; }
    echo "ok: $spec, by rpmlint"
fi

if there makepkg makepkg; then
    cp packaging/arch/* "$lab"
    # It refuses to run as root.
    as=
    if [ "$(id -u)" = 0 ]; then
        chown -R 65534:65534 "$lab"
        as='setpriv --reuid=65534 --regid=65534 --clear-groups'
    fi
    (cd "$lab" && HOME=$lab $as makepkg --printsrcinfo) >"$lab.info"
    mv "$lab.info" "$lab/info"
    same packaging/arch/PKGBUILD makepkg "$(sed -n 's/^\tpkgver = //p' "$lab/info")"
    sh -n packaging/arch/hopbox.install
fi

# abuild is Alpine's alone: what is a shell script to it is one to this shell.
recipe=packaging/alpine/APKBUILD
same $recipe sh "$(sh -euc '. ./$0; echo "$pkgver"' $recipe)"
for step in build check package; do
    sh -euc '. ./$0; command -v "$1" >/dev/null' $recipe $step
done

recipe=packaging/nix/package.nix
if there nix-instantiate nix-bin; then
    # Evaluated with stand-ins for what nixpkgs hands in.
    nix-instantiate --eval --readonly-mode --expr "(import ./$recipe {
        lib = { licenses.asl20 = 1; platforms.linux = 1; };
        stdenv.mkDerivation = a: a; cargo = 1; rustc = 1; src = ./.;
    }).version" >"$lab/version" 2>"$lab/said" || { cat "$lab/said" >&2; exit 1; }
    same $recipe nix-instantiate "$(tr -d '"' <"$lab/version")"
fi

# brew is in no registry: what it reads first is the class, with what a formula may say in it.
# `test` is one of Ruby's own functions otherwise.
recipe=packaging/homebrew/hopbox.rb
if there ruby ruby; then
    ruby -wc $recipe >/dev/null
    same $recipe ruby "$(ruby -e '
        class Formula
          def self.url(it) = puts(it[/hopbox-(.*)\.tar\.xz$/, 1])
          def self.test = nil
          def self.method_missing(*) = nil
          def self.respond_to_missing?(*) = true
        end
        load ARGV[0]
        %i[install caveats].each { |step| Hopbox.instance_method(step) }' ./$recipe)"
fi

# What root runs while a package comes and goes.
if there shellcheck shellcheck; then
    shellcheck -S warning -s sh packaging/debian/*.postinst packaging/debian/*.prerm \
        packaging/debian/*.postrm packaging/debian/tests/demo packaging/debian.sh tests/*.sh ./*.sh
    shellcheck -S warning -s bash packaging/arch/hopbox.install
    echo "ok: scripts, by shellcheck"
fi

list=helper/unit/dev.hopbox.helper.plist
if there plistutil libplist-utils; then
    plistutil -i $list -f bin -o "$lab/list" && plistutil -i "$lab/list" -f xml >"$lab/back"
    grep -q '<string>dev.hopbox.helper</string>' "$lab/back"
    echo "ok: $list, by plistutil"
fi
