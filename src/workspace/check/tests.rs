use super::*;

#[test]
fn durations_are_exact_and_bounded() {
    for (text, ms) in [
        ("100ms", 100),
        ("2s", 2000),
        ("1m30s", 90_000),
        ("1.5h", 5_400_000),
        ("1h1m1s1ms", 3_661_001),
        ("0.5s", 500),
        ("24h", 86_400_000),
    ] {
        assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
    }
    for text in [
        "",
        "2",
        "0s",
        "99ms",
        "-1s",
        "+1s",
        "1 s",
        "s",
        "1s1m",
        "1s1s",
        "1.s",
        ".5s",
        "1.2345s",
        "24h1ms",
        "1d",
        "1S",
        "1e3s",
        "99999999999999999999s",
        "18446744073709551615h",
        "1ms2h",
        "２s",
        "1h ",
        "inf",
        "1.5.5s",
    ] {
        assert!(duration(text).is_err(), "{text:?}");
    }
}

#[test]
fn sizes_and_cpus_are_exact_and_bounded() {
    for (text, bytes) in [
        ("512M", 512 << 20),
        ("512MiB", 512 << 20),
        ("512mb", 512 << 20),
        ("1.5G", 3 << 29),
        ("6144k", 6 << 20),
        ("6291456B", 6 << 20),
        ("64T", 64 << 40),
    ] {
        assert_eq!(memory(text), Ok(bytes), "{text}");
    }
    for text in [
        "",
        "512",
        "M",
        "0M",
        "5M",
        "65T",
        "-1G",
        "1 G",
        "1Gi",
        "1.0000G",
        "1P",
        "1GM",
        "1.G",
        "99999999999999999999G",
        "17592186044416T",
        "1_000M",
        "0x10M",
        "100%",
    ] {
        assert!(memory(text).is_err(), "{text:?}");
    }
    for (text, percent) in [("1.5", 150), ("2", 200), ("0.25", 25), ("0.01", 1), ("1024", 102_400)]
    {
        assert_eq!(cpu(text), Ok(percent), "{text}");
    }
    for text in ["", "0", "0.00", "-1", "1025", "1.505", "1,5", "150%", "1.", ".5", "1e1", "200m"] {
        assert!(cpu(text).is_err(), "{text:?}");
    }
}

#[test]
fn ports_are_two_numbers_at_most() {
    for (text, published, target) in
        [("5432", 5432, 5432), ("8080:80", 8080, 80), ("80/tcp", 80, 80), ("1:65535", 1, 65535)]
    {
        assert_eq!(port(text), Ok(Port { published, target }), "{text}");
    }
    for text in [
        "",
        "0",
        "65536",
        "080",
        "-1",
        "+80",
        "80:",
        ":80",
        "80:0",
        "8000-8010",
        "53/udp",
        "0.0.0.0:80:80",
        "127.0.0.1:80:80",
        "[::1]:80:80",
        "1:2:3",
        "80/sctp",
        "http",
        "8 0",
        "127.0.0.1:80",
        "80:80/udp",
    ] {
        assert!(port(text).is_err(), "{text:?}");
    }
    assert!(port("0.0.0.0:80:80").unwrap_err().fix.contains("public: true"));
}

#[test]
fn names_are_plain() {
    for text in ["web", "a", "my_app-2", "0", &"a".repeat(63)] {
        assert_eq!(service(text), Ok(()), "{text}");
    }
    for text in
        ["", "-a", "a-", "_a", "a_", "Web", "a b", "a.b", "a/b", "ü", "../x", &"a".repeat(64)]
    {
        assert!(service(text).is_err(), "{text}");
    }
    for text in ["A", "_", "a1", "discovery.type", "A-B", &"A".repeat(255)] {
        assert_eq!(env_key(text), Ok(()), "{text}");
    }
    for text in ["", "1A", "A B", "A=B", "-A", ".a", "Ü", "A\n", &"A".repeat(256)] {
        assert!(env_key(text).is_err(), "{text}");
    }
    for text in ["build", "db:migrate", "a.b_c-d", "1"] {
        assert_eq!(script(text), Ok(()), "{text}");
    }
    for text in ["", "-x", "a b", "a/b", ".x", "a\n"] {
        assert!(script(text).is_err(), "{text}");
    }
}

#[test]
fn paths_mean_one_directory() {
    for text in ["/srv/x", "~/x", "/srv/x/", "/a b/ü"] {
        assert_eq!(server_path(text), Ok(text.trim_end_matches('/').to_owned()), "{text}");
    }
    for text in [
        "", "/", "~", "~/", "//", "x", "./x", "../x", "/a/../b", "/a//b", "/a/./b", "~x/y", "/a:b",
        "/a\nb", "/..", "$HOME/x", "/a,b", "/a/..",
    ] {
        assert!(server_path(text).is_err(), "{text:?}");
    }
    assert!(container_path("~/x").is_err() && container_path("/").is_err());
    assert_eq!(container_path("/var/lib/x"), Ok("/var/lib/x".to_owned()));
}

#[test]
fn images_are_names_of_images() {
    for text in [
        "postgres",
        "postgres:16",
        "postgres:16-Alpine",
        "ghcr.io/owner/name:tag",
        "localhost:5000/a/b",
        "Registry.example/a/b",
        "a/b@sha256:0123456789abcdef",
    ] {
        assert_eq!(image(text), Ok(text.to_owned()), "{text}");
    }
    for text in [
        "",
        "-x",
        "--privileged",
        "a b",
        "a:",
        "a:b:c",
        "Postgres:16",
        "x/Y/z",
        "${IMAGE}",
        "a//b",
        "/a",
        "a/",
        "a@",
        "a\n",
        "a;b",
    ] {
        assert!(image(text).is_err(), "{text:?}");
    }
}

#[test]
fn checks_ask_the_service_itself() {
    let http = |port, path: &str| Ok(Probe::Http { port, path: path.to_owned() });
    assert_eq!(http_probe("http://localhost:8000/health?x=1"), http(8000, "/health?x=1"));
    assert_eq!(http_probe("http://127.0.0.1"), http(80, "/"));
    assert_eq!(http_probe("http://[::1]:81?a"), http(81, "/?a"));
    assert_eq!(tcp_probe("localhost:5432"), Ok(Probe::Tcp { port: 5432 }));
    assert_eq!(tcp_probe("5432"), Ok(Probe::Tcp { port: 5432 }));
    for text in [
        "",
        "localhost:8000",
        "https://localhost",
        "http://",
        "http://example.com/",
        "http://a@b/",
        "http://localhost:0/",
        "http://localhost:8000/a b",
        "http://localhost:8000/\r\nHost: x",
        "http://169.254.169.254/",
        "http://localhost:/",
        "http://localhost/#a",
        "http://[::1]x/",
    ] {
        assert!(http_probe(text).is_err(), "{text:?}");
    }
    for text in ["", "localhost", "db:5432", "localhost:x", ":1", "localhost:5432/"] {
        assert!(tcp_probe(text).is_err(), "{text:?}");
    }
}

#[test]
fn a_backup_has_a_place() {
    for text in ["/srv/backup", "~/backup", "s3:s3.amazonaws.com/bucket", "sftp:user@host:/x"] {
        assert_eq!(backup_target(text), Ok(text.to_owned()), "{text}");
    }
    for text in ["", "s3:", "backup", "./x", "/", "ftp:x", "s3:\n"] {
        assert!(backup_target(text).is_err(), "{text:?}");
    }
}
