//! What is allowed by root's list, and where mountinfo says that something is.

use super::*;

#[test]
fn only_what_root_has_listed_is_a_source() {
    let list = b"# data of all\n/srv/data\n/srv/shared rw \n\n/srv/odd name\n";
    for (source, read_only, is) in [
        ("/srv/data", true, true),
        ("/srv/data", false, false),
        ("/srv/shared", true, true),
        ("/srv/shared", false, true),
        ("/srv", true, false),
        ("/srv/data/below", true, false),
        ("/srv/dat", true, false),
    ] {
        assert_eq!(is_listed(list, source, read_only), is, "{source}");
    }
    assert!(!is_listed(b"", "/srv/data", true), "without a list there is none");
}

#[test]
fn a_home_is_the_users_own_line() {
    let users =
        b"root:x:0:0::/root:/bin/sh\nbad\nu:x:1000:1000::/home/u:/bin/sh\nv:x:1001:1::rel:\n";
    assert_eq!(home(users, 1000), Some(PathBuf::from("/home/u")));
    assert_eq!((home(users, 1001), home(users, 7)), (None, None));
}

#[test]
fn a_path_of_mountinfo_is_read_back() {
    for (text, path) in [("/a", "/a"), ("/a\\040b\\134c", "/a b\\c")] {
        assert_eq!(unescaped(text), PathBuf::from(path), "{text}");
    }
}
