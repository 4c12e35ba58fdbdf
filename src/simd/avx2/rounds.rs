//! Double rounds of ChaCha20 in assembly, alone and beside Poly1305.
//!
//! Sixteen vectors of state fill the sixteen registers, and a rotation by shifts needs one more.
//! Compilers keep a third of the state in memory for that, in the way of what depends on it; here
//! vector 0 is there while the others are rotated, and nothing else is. Registers 0 to 15 are words
//! 0 to 15 of eight blocks; `slot` is the room for word 0.

use std::arch::asm;

use super::super::chacha20::WORK;
use super::super::poly1305::Poly1305;
use super::Ymm;

/// A byte order that rotates words, for both halves of a vector. Assembly alone reads it.
#[repr(align(32))]
#[allow(dead_code)]
struct Order([u64; 4]);

impl Order {
    const fn of(low: u64, high: u64) -> Order {
        Order([low, high, low, high])
    }
}

static BY16: Order = Order::of(0x0504_0706_0100_0302, 0x0d0c_0f0e_0908_0b0a);
static BY8: Order = Order::of(0x0605_0407_0201_0003, 0x0e0d_0c0f_0a09_080b);

/// One vector added to another; word 0 is in memory, and in its register as long as nothing is
/// rotated.
macro_rules! add {
    (0 $b:literal) => {
        concat!("vpaddd ymm0, ymm", $b, ", [{slot}]\n", "vmovdqa [{slot}], ymm0\n")
    };
    ($a:literal $b:literal) => {
        concat!("vpaddd ymm", $a, ", ymm", $a, ", ymm", $b, "\n")
    };
}

macro_rules! xor {
    ($a:literal $b:literal) => {
        concat!("vpxor ymm", $a, ", ymm", $a, ", ymm", $b, "\n")
    };
}

/// Rotation by whole bytes.
macro_rules! bytes {
    ($order:literal $v:literal) => {
        concat!("vpshufb ymm", $v, ", ymm", $v, ", [rip + {", $order, "}]\n")
    };
}

/// Rotation by shifts to the left and to the right.
macro_rules! shifts {
    ($left:literal $right:literal $v:literal) => {
        concat!(
            "vpslld ymm0, ymm",
            $v,
            ", ",
            $left,
            "\n",
            "vpsrld ymm",
            $v,
            ", ymm",
            $v,
            ", ",
            $right,
            "\n",
            "vpor ymm",
            $v,
            ", ymm",
            $v,
            ", ymm0\n",
        )
    };
}

/// Two quarter rounds side by side, up to the middle or from there on. Not four: all would want to
/// shift at once, which two units of four can.
macro_rules! two {
    (1, $a:tt $b:tt $c:tt $d:tt, $e:tt $f:tt $g:tt $h:tt) => {
        two!(@ "by16" 12 20, $a $b $c $d, $e $f $g $h)
    };
    (2, $a:tt $b:tt $c:tt $d:tt, $e:tt $f:tt $g:tt $h:tt) => {
        two!(@ "by8" 7 25, $a $b $c $d, $e $f $g $h)
    };
    (@ $order:literal $left:literal $right:literal,
        $a:tt $b:tt $c:tt $d:tt, $e:tt $f:tt $g:tt $h:tt) => {
        concat!(
            add!($a $b), xor!($d $a), add!($e $f), xor!($h $e),
            bytes!($order $d), bytes!($order $h),
            add!($c $d), add!($g $h), xor!($b $c), xor!($f $g),
            shifts!($left $right $b), shifts!($left $right $f),
        )
    };
}

/// One block of Poly1305, as `Poly1305::block` has it: `h` and the text in registers, r0, r1 and s
/// behind the slot.
macro_rules! absorb {
    ($at:literal) => {
        concat!(
            "add {h0}, [{text} + ",
            $at,
            "]\n",
            "adc {h1}, [{text} + ",
            $at,
            " + 8]\n",
            "adc {h2}, 1\n",
            "mov rdx, {h0}\n",
            "mov {t4}, {h2}\n",
            "mulx {t1}, {t0}, [{slot} + 32]\n",
            "imul {t4}, [{slot} + 48]\n",
            "mulx {t3}, {t2}, [{slot} + 40]\n",
            "imul {h2}, [{slot} + 32]\n",
            "mov rdx, {h1}\n",
            "add {t2}, {t4}\n",
            "adc {t3}, {h2}\n",
            "mulx {t5}, {t4}, [{slot} + 48]\n",
            "mulx {h2}, {h1}, [{slot} + 32]\n",
            "add {t0}, {t4}\n",
            "adc {t1}, {t5}\n",
            "add {t2}, {h1}\n",
            "adc {h2}, {t3}\n",
            "add {t2}, {t1}\n",
            "adc {h2}, 0\n",
            "mov {h0}, {h2}\n",
            "mov {t1}, {h2}\n",
            "and {h0}, -4\n",
            "shr {t1}, 2\n",
            "and {h2}, 3\n",
            "add {h0}, {t1}\n",
            "mov {h1}, {t2}\n",
            "add {h0}, {t0}\n",
            "adc {h1}, 0\n",
            "adc {h2}, 0\n",
        )
    };
}

/// The state, word for word, in the registers.
macro_rules! in_registers {
    ($v:ident, [$($code:expr,)*], $($operands:tt)*) => {
        asm!(
            "vmovdqa [{slot}], ymm0",
            "2:",
            $($code,)*
            "dec {count}",
            "jnz 2b",
            "vmovdqa ymm0, [{slot}]",
            inout("ymm0") $v[0].0,
            inout("ymm1") $v[1].0,
            inout("ymm2") $v[2].0,
            inout("ymm3") $v[3].0,
            inout("ymm4") $v[4].0,
            inout("ymm5") $v[5].0,
            inout("ymm6") $v[6].0,
            inout("ymm7") $v[7].0,
            inout("ymm8") $v[8].0,
            inout("ymm9") $v[9].0,
            inout("ymm10") $v[10].0,
            inout("ymm11") $v[11].0,
            inout("ymm12") $v[12].0,
            inout("ymm13") $v[13].0,
            inout("ymm14") $v[14].0,
            inout("ymm15") $v[15].0,
            by16 = sym BY16,
            by8 = sym BY8,
            $($operands)*
            options(nostack),
        )
    };
}

/// What the assembly has in memory: word 0, and r and s of Poly1305.
#[repr(C, align(32))]
struct Slot([u64; 4], [u64; 3]);

// SAFETY: to be called where AVX2 is.
#[target_feature(enable = "avx2")]
#[inline]
pub unsafe fn alone(v: &mut [Ymm; 16], count: usize) {
    if count == 0 {
        return;
    }
    let mut slot = Slot([0; 4], [0; 3]);
    // SAFETY: the registers named are all that is written, and the slot; `count` is not 0.
    unsafe {
        in_registers!(v, [
            two!(1, 0 4 8 12, 1 5 9 13),
            two!(2, 0 4 8 12, 1 5 9 13),
            two!(1, 2 6 10 14, 3 7 11 15),
            two!(2, 2 6 10 14, 3 7 11 15),
            two!(1, 3 4 9 14, 0 5 10 15),
            two!(2, 3 4 9 14, 0 5 10 15),
            two!(1, 1 6 11 12, 2 7 8 13),
            two!(2, 1 6 11 12, 2 7 8 13),
        ],
            slot = in(reg) &raw mut slot,
            count = inout(reg) count => _,
        );
    }
}

// SAFETY: to be called where AVX2 and BMI2 are.
#[target_feature(enable = "avx2,bmi2")]
#[inline]
pub unsafe fn beside(v: &mut [Ymm; 16], mac: &mut Poly1305, text: &[[u8; WORK]]) {
    if text.is_empty() {
        return;
    }
    let [mut h0, mut h1, mut h2] = mac.h;
    let mut slot = Slot([0; 4], [mac.r[0], mac.r[1], mac.s]);
    // SAFETY: the registers named are all that is written, and the slot; `count` is not 0, and so
    // many pieces are read.
    unsafe {
        in_registers!(v, [
            two!(1, 0 4 8 12, 1 5 9 13),
            two!(2, 0 4 8 12, 1 5 9 13),
            absorb!("0"),
            two!(1, 2 6 10 14, 3 7 11 15),
            two!(2, 2 6 10 14, 3 7 11 15),
            two!(1, 3 4 9 14, 0 5 10 15),
            absorb!("16"),
            two!(2, 3 4 9 14, 0 5 10 15),
            two!(1, 1 6 11 12, 2 7 8 13),
            absorb!("32"),
            two!(2, 1 6 11 12, 2 7 8 13),
            "add {text}, 48",
        ],
            slot = in(reg) &raw mut slot,
            count = inout(reg) text.len() => _,
            text = inout(reg) text.as_ptr() => _,
            h0 = inout(reg) h0,
            h1 = inout(reg) h1,
            h2 = inout(reg) h2,
            t0 = out(reg) _,
            t1 = out(reg) _,
            t2 = out(reg) _,
            t3 = out(reg) _,
            t4 = out(reg) _,
            t5 = out(reg) _,
            out("rdx") _,
        );
    }
    mac.h = [h0, h1, h2];
}
