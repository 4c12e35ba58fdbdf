//! Rows of mounts: what may be asked for, and what is written and read.

use super::*;

fn read(op: &str, args: Value) -> Result<Wish, OpError> {
    Wish::read(op, &Args(args.as_object().unwrap()))
}

#[test]
fn a_target_leads_down_and_nowhere_else() {
    for good in ["a", "shop/tmp", ".cache/x_1", "a+b@c-d.e", &["a"; 16].join("/")] {
        let wish = read("mount.unmount", json!({"target": good}));
        assert_eq!(wish, Ok(Wish::End(good.to_owned())), "{good}");
    }
    let long = "a".repeat(201);
    let deep = ["a"; 17].join("/");
    for bad in [
        "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a b", "a\nb", "a\u{0}", "ä",
        "$x", "%h", "a\\b", "a;b", "~", "~/a", &long, &deep,
    ] {
        let error = read("mount.tmpfs", json!({"target": bad, "size": 1 << 20})).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("target"), "{bad}");
    }
    for bad in ["srv", "", "/", "/srv/", "/srv/../etc", "/srv/$x", "//srv", "/srv /x"] {
        let error = read("mount.bind", json!({"target": "a", "source": bad})).unwrap_err();
        assert_eq!(error.field.as_deref(), Some("source"), "{bad}");
    }
}

#[test]
fn what_is_written_can_be_read_and_nothing_else() {
    let read_only = read("mount.bind", json!({"target": "a", "source": "/srv/x"}));
    let what = What::Bind { source: "/srv/x".into(), read_only: true };
    assert_eq!(read_only, Ok(Wish::Make("a".into(), what.clone())), "unless said otherwise");
    for (field, args) in [
        ("size", json!({"target": "a"})),
        ("size", json!({"target": "a", "size": 1})),
        ("size", json!({"target": "a", "size": "1M"})),
        ("size", json!({"target": "a", "size": (64_u64 << 30) + 1})),
    ] {
        assert_eq!(read("mount.tmpfs", args).unwrap_err().field.as_deref(), Some(field));
    }
    let args = json!({"target": "a", "source": "/x", "read_only": "no"});
    assert_eq!(read("mount.bind", args).unwrap_err().field.as_deref(), Some("read_only"));
    let id = |n: u64| format!("mount-{n:016x}");
    let row = |n, status, what: &What| Row {
        id: id(n),
        uid: 1000,
        gid: 100,
        target: "shop/tmp".into(),
        what: what.clone(),
        status,
        mark: [n, 7, 9],
    };
    let tmpfs = What::Tmpfs { size: 1 << 20 };
    let rows = vec![
        row(1, Status::Pending, &what),
        row(2, Status::Applied, &tmpfs),
        row(3, Status::Removing, &what),
    ];
    let whole = render(&rows);
    assert_eq!(parse(whole.as_bytes()), Some(rows));
    for cut in 0..whole.len() - 2 {
        assert_eq!(parse(&whole.as_bytes()[..cut]), None, "{cut}");
    }
    for (from, to) in [
        ("\"version\":1", "\"version\":2"),
        ("shop/tmp", "../tmp"),
        ("/srv/x", "srv"),
        ("\"pending\"", "\"made\""),
        ("mount-0000000000000001", "mount-1,exec"),
        ("\"uid\":1000", "\"uid\":4294967296"),
        ("\"size\":1048576", "\"size\":1048576,\"source\":\"/\""),
        ("\"mark\":[1,7,9]", "\"mark\":[1,7]"),
    ] {
        let other = whole.replacen(from, to, 1);
        assert_ne!(other, whole, "{from}");
        assert_eq!(parse(other.as_bytes()), None, "{to}");
    }
}
