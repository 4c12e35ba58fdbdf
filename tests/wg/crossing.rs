//! Both sides initiate at once: they must part, on any path and under any traffic.

use super::sim::*;

// R24
#[test]
fn crossing_initiations_converge_to_one_session() {
    for seed in 0..20 {
        let mut s = Sim::pair_seeded(seed);
        s.send(A, B, b"from a");
        s.send(B, A, b"from b");
        s.run(12 * SEC);
        assert_eq!(s.delivered(A), [b"from b".to_vec()], "seed {seed}");
        assert_eq!(s.delivered(B), [b"from a".to_vec()], "seed {seed}");
        let tries = s.count(A, Kind::Initiation) + s.count(B, Kind::Initiation);
        assert!(tries <= 6, "seed {seed}: {tries} initiations");
    }
}

// R24 R64: jitter must break the symmetry even when the path is slower than the jitter is wide.
#[test]
fn crossing_initiations_converge_on_a_slow_path() {
    for seed in 0..20 {
        let mut s = Sim::pair_seeded(seed);
        s.both(A, B, |l| l.delay = 400 * MS);
        s.send(A, B, b"from a");
        s.send(B, A, b"from b");
        s.run(90 * SEC);
        assert_eq!(s.delivered(A), [b"from b".to_vec()], "seed {seed}");
        assert_eq!(s.delivered(B), [b"from a".to_vec()], "seed {seed}");
    }
}

// R24 R64: nor may traffic that asks for a handshake all the time take the jitter away.
#[test]
fn crossing_initiations_converge_under_steady_traffic_of_both_sides() {
    for seed in 0..10 {
        let mut s = Sim::pair_seeded(seed);
        for _ in 0..1200 {
            s.send(A, B, b"from a");
            s.send(B, A, b"from b");
            s.run(10 * MS);
        }
        assert!(!s.delivered(A).is_empty() && !s.delivered(B).is_empty(), "seed {seed}");
    }
}

// R24 R64 R70
#[test]
fn crossing_initiations_converge_with_persistent_keepalives_of_5_seconds() {
    for seed in 0..10 {
        let mut s = Sim::pair_seeded(seed);
        s.set_keepalive(A, B, 5);
        s.set_keepalive(B, A, 5);
        s.run(20 * SEC);
        assert!(s.talks(A, B, SEC), "seed {seed}");
    }
}
