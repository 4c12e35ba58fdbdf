//! Programs of classic BPF, as the kernel takes them for system calls and for packets. Pure. Must
//! not know: what is looked at, and what for.

use libc::sock_filter;

/// Loads: the packet's length, and what stands at a place.
pub const LENGTH: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_LEN) as u16;
pub const BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
pub const HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
pub const WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
pub const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
/// Tests.
pub const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
pub const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
pub const ANY_BIT: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
pub const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Where a test leads: on, over some steps, or to one of the verdicts.
#[derive(Clone, Copy)]
pub enum To {
    Next,
    Skip(u8),
    End(usize),
}

#[derive(Clone, Copy)]
pub enum Step {
    Do(u16, u32),
    If(u16, u32, To, To),
}

/// The steps, then the verdicts, of which the first is what comes of going past the last step. A
/// jump is at most 255 steps wide: the tests of each program run all of it.
pub fn assemble(steps: &[Step], verdicts: &[u32]) -> Vec<sock_filter> {
    let offset = |at: usize, to: To| match to {
        To::Next => 0,
        To::Skip(count) => count,
        To::End(verdict) => (steps.len() - at - 1 + verdict) as u8,
    };
    let place = |(at, step): (usize, &Step)| match *step {
        Step::Do(code, k) => sock_filter { code, jt: 0, jf: 0, k },
        Step::If(code, k, yes, no) => {
            sock_filter { code, jt: offset(at, yes), jf: offset(at, no), k }
        }
    };
    let end = |verdict: &u32| sock_filter { code: RETURN, jt: 0, jf: 0, k: *verdict };
    steps.iter().enumerate().map(place).chain(verdicts.iter().map(end)).collect()
}
