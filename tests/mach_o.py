#!/usr/bin/env python3
"""mach_o.py aarch64|x86_64 PROGRAM...: each is an executable for that processor of macOS, signed,
that needs the system's C library and libiconv alone. By <mach-o/loader.h>."""
import struct
import sys

MAGIC_64, EXECUTE = 0xFEEDFACF, 2
CPU = {"aarch64": 0x0100000C, "x86_64": 0x01000007}
NO_UNDEFINED, PIE = 0x1, 0x200000
LOAD_DYLIB, CODE_SIGNATURE, MAIN, BUILD_VERSION = 0xC, 0x1D, 0x80000028, 0x32
LIBRARIES = {"/usr/lib/libSystem.B.dylib", "/usr/lib/libiconv.2.dylib"}


def looked_at(data, cpu):
    """What is wrong with it, or what it is."""
    magic, of, _, kind, count, size, flags, _ = struct.unpack_from("<IIIIIIII", data)
    if (magic, kind, of) != (MAGIC_64, EXECUTE, CPU[cpu]):
        return f"no executable for {cpu}: {magic:x} {kind:x} {of:x}", None
    if flags & (NO_UNDEFINED | PIE) != NO_UNDEFINED | PIE:
        return f"something is undefined, or it has a fixed place: flags {flags:x}", None
    at, found, libraries, minimum = 32, set(), set(), None
    for _ in range(count):
        command, length = struct.unpack_from("<II", data, at)
        found.add(command)
        if command == LOAD_DYLIB:
            name = at + struct.unpack_from("<I", data, at + 8)[0]
            libraries.add(data[name:at + length].split(b"\0")[0].decode())
        if command == BUILD_VERSION:
            version = struct.unpack_from("<I", data, at + 12)[0]
            minimum = f"{version >> 16}.{version >> 8 & 255}"
        at += length
    if at != 32 + size:
        return "its load commands have another length than is said", None
    if libraries - LIBRARIES:
        return f"it needs {', '.join(sorted(libraries - LIBRARIES))}", None
    if MAIN not in found or (cpu == "aarch64" and CODE_SIGNATURE not in found):
        return "it has no entry, or is not signed, and so would not be run", None
    return None, f"{cpu}, macOS {minimum}, {', '.join(sorted(libraries))}"


def main():
    cpu, programs = sys.argv[1], sys.argv[2:]
    for path in programs:
        with open(path, "rb") as f:
            wrong, is_so = looked_at(f.read(), cpu)
        if wrong:
            sys.exit(f"FAIL {path}: {wrong}")
        print(f"ok {path.rsplit('/', 1)[-1]}: {is_so}")


if __name__ == "__main__":
    main()
