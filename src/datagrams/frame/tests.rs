//! Streams in pieces of any size, and streams that are none.

use super::*;

/// A generator for tests: SplitMix64.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Datagrams, other frames, and why it ended.
type Came = (Vec<(u8, Vec<u8>)>, Vec<Frame>, Option<Bad>);

/// What a reader makes of a stream that comes in pieces: datagrams, other frames, and its end.
fn read(stream: &[u8], noise: usize, draw: &mut Draw) -> Came {
    let (mut reader, mut rest) = (Reader::new(noise), stream);
    let (mut datagrams, mut others) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let room = reader.room();
        assert!(room.len() > 64 * 1024, "room for what is read");
        let most = rest.len().min(room.len());
        let count = match draw.below(4) {
            0 => 1,
            1 => 1 + draw.below(most.min(40)),
            _ => 1 + draw.below(most),
        };
        room[..count].copy_from_slice(&rest[..count]);
        rest = &rest[count..];
        reader.filled(count);
        loop {
            match reader.next() {
                Ok(None) => break,
                Ok(Some(Frame::Datagram { ecn, at })) => {
                    datagrams.push((ecn, reader.bytes(&at).to_vec()));
                }
                Ok(Some(other)) => others.push(other),
                Err(bad) => return (datagrams, others, Some(bad)),
            }
        }
        assert_eq!(reader.buffer.len(), ROOM, "no more than that is kept");
    }
    (datagrams, others, None)
}

#[test]
fn frames_come_out_as_they_went_in_whatever_the_pieces_are() {
    let mut draw = Draw(1);
    for _ in 0..60 {
        let noise = (0..draw.below(5000)).map(|_| draw.next() as u8).collect::<Vec<u8>>();
        let mut stream = [noise.as_slice(), &HELLO[..draw.below(HELLO.len())], HELLO].concat();
        let (mut sent, mut others) = (Vec::new(), Vec::new());
        for _ in 0..draw.below(60) {
            match draw.below(6) {
                0 => {
                    put_beat(&mut stream);
                    others.push(Frame::Beat);
                }
                1 => {
                    let total = draw.next();
                    put_taken(&mut stream, total);
                    others.push(Frame::Taken(total));
                }
                kind => {
                    let len = 1 + draw.below(if kind == 2 { LONGEST } else { 1500 });
                    let (ecn, byte) = (draw.below(4) as u8, draw.next() as u8);
                    put_datagram(&mut stream, ecn, &vec![byte; len]);
                    sent.push((ecn, vec![byte; len]));
                }
            }
        }
        let came = read(&stream, noise.len() + HELLO.len(), &mut draw);
        assert_eq!(came, (sent, others, None));
    }
}

#[test]
fn a_stream_that_is_none_is_an_error_and_no_more() {
    let mut draw = Draw(2);
    let mut seen = [0; 3];
    for round in 0..4000 {
        let mut stream = HELLO.to_vec();
        for _ in 0..draw.below(8) {
            put_datagram(&mut stream, 0, &vec![0; 1 + draw.below(300)]);
        }
        match round % 3 {
            // Anything at all.
            0 => stream.extend((0..draw.below(300)).map(|_| draw.next() as u8)),
            // A frame that is damaged.
            1 => {
                let at = HELLO.len() + draw.below((stream.len() - HELLO.len()).max(1));
                stream.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << draw.below(8));
            }
            // A kind with a length that it cannot have.
            _ => {
                let kind = draw.below(8) as u8;
                let len = [0, 1, 7, 9, 65_508, u16::MAX][draw.below(6)];
                stream.push(kind);
                stream.extend(len.to_be_bytes());
            }
        }
        match read(&stream, 0, &mut draw).2 {
            None => {}
            Some(Bad::Kind(_)) => seen[0] += 1,
            Some(Bad::Length(..)) => seen[1] += 1,
            Some(_) => seen[2] += 1,
        }
    }
    assert!(seen[0] > 100 && seen[1] > 100 && seen[2] == 0, "{seen:?}");
}

#[test]
fn a_greeting_before_the_hello_is_skipped_up_to_a_bound() {
    let mut draw = Draw(3);
    for len in [0, 1, HELLO.len(), 100_000] {
        let stream = [&vec![b'h'; len], HELLO].concat();
        assert_eq!(read(&stream, len, &mut draw), (vec![], vec![], None), "{len}");
        let stream = vec![b'h'; len + HELLO.len() + 200_000];
        assert_eq!(read(&stream, len, &mut draw).2, Some(Bad::NoHello(len)));
    }
    // One of a version that is not ours.
    let later = b"hopbox-datagrams 2\n".repeat(2);
    assert_eq!(read(&later, 0, &mut draw).2, Some(Bad::NoHello(0)));
}
