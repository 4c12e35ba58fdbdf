# callPackage ./package.nix { src = ./hopbox-0.2.0.tar.xz; }: of a release with vendor/ in it.
{ lib, stdenv, cargo, rustc, src }:

stdenv.mkDerivation {
  pname = "hopbox";
  version = "0.2.0";
  inherit src;

  nativeBuildInputs = [ cargo rustc ];
  enableParallelBuilding = true;
  # Nothing is fetched; cargo wants a directory of its own all the same.
  preBuild = "export CARGO_HOME=$TMPDIR/cargo-home";
  makeFlags = [
    "PREFIX=${placeholder "out"}"
    "SYSCONFDIR=${placeholder "out"}/etc"
    # stdenv strips, and keeps the symbols where that is asked for.
    "DEBUGINFO=yes"
  ];
  doCheck = true;
  checkTarget = "check-unit";

  meta = {
    description = "Your own Linux server as part of your laptop";
    license = lib.licenses.asl20;
    platforms = lib.platforms.linux;
    mainProgram = "hop";
  };
}
