//! Which instruction set runs a kernel. With [`crate::simd`], the only `unsafe` of the core.
//!
//! A kernel is written once, as portable loops over lane arrays, inside [`Kernel::run`] marked
//! `#[inline(always)]`. [`run`] enters it through one function per ISA; those functions differ only in
//! their `target_feature` line and the [`Simd`] they hand on, so the compiler vectorises the same source for
//! each. Kernels use exactly rounded operations only, hence every ISA gives the same bits.
//!
//! To add an ISA: one variant of [`Isa`], one arm in [`Isa::is_available`] and one in [`run`].
#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::error::{Result, invalid};
#[cfg(target_arch = "x86_64")]
use crate::simd::{Avx2, Avx512};
use crate::simd::{Portable, Simd};

/// A level of vector instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Isa {
    /// What the compilation target guarantees (x86-64: SSE2). Fused multiply-adds may be emulated: slow.
    Baseline = 1,
    /// x86-64 with AVX2, FMA and F16C (2013 on).
    Avx2 = 2,
    /// x86-64 with AVX-512 F, BW, DQ and VL.
    Avx512 = 3,
    /// 64-bit ARM: NEON is part of its baseline.
    Neon = 4,
}

impl Isa {
    /// Every level, best first.
    pub const ALL: [Isa; 4] = [Isa::Neon, Isa::Avx512, Isa::Avx2, Isa::Baseline];

    /// The name that `INITCORE_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Baseline => "baseline",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Neon => "neon",
        }
    }

    /// Can this machine run it?
    pub fn is_available(self) -> bool {
        match self {
            Isa::Baseline => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("f16c")
                    && is_x86_feature_detected!("bmi1")
                    && is_x86_feature_detected!("bmi2")
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Isa::Neon => cfg!(target_arch = "aarch64"),
            #[cfg(not(target_arch = "x86_64"))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The levels that this machine has, best first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// The level that [`run`] uses: the forced one, else `INITCORE_ISA`, else the best available.
    ///
    /// # Errors
    /// `INITCORE_ISA` names no level, or one this machine lacks.
    pub fn current() -> Result<Isa> {
        let chosen = CURRENT.load(Ordering::Relaxed);
        if let Some(isa) = Isa::ALL.into_iter().find(|isa| *isa as u8 == chosen) {
            return Ok(isa);
        }
        let isa = match environment("INITCORE_ISA") {
            Some(name) => Isa::parse(&name)?,
            None => Isa::available().next().unwrap_or(Isa::Baseline),
        };
        isa.force()?;
        Ok(isa)
    }

    /// The level of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn parse(name: &str) -> Result<Isa> {
        match Isa::ALL.into_iter().find(|isa| isa.name() == name.trim()) {
            Some(isa) => Ok(isa),
            None => invalid!("unknown ISA {name:?}: expected baseline, avx2, avx512 or neon"),
        }
    }

    /// Makes [`run`] use this level from now on, in the whole process.
    ///
    /// # Errors
    /// This machine lacks it.
    pub fn force(self) -> Result<()> {
        if !self.is_available() {
            let available: Vec<_> = Isa::available().map(Isa::name).collect();
            return invalid!(
                "the ISA {:?} is not available on this machine, which has {}",
                self.name(),
                available.join(", ")
            );
        }
        CURRENT.store(self as u8, Ordering::Relaxed);
        Ok(())
    }
}

/// The text of an environment variable; an empty one counts as not set.
pub(crate) fn environment(name: &str) -> Option<String> {
    let value = std::env::var_os(name).filter(|value| !value.is_empty())?;
    Some(value.to_string_lossy().into_owned())
}

/// The `Isa` in use, or 0 before the first call. Every stored level has been found available.
static CURRENT: AtomicU8 = AtomicU8::new(0);

/// A computation to be compiled for each ISA.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// The portable code; every implementation, and all it calls, must be `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs the kernel on [`Isa::current`]. Where that is an error, which every entry point asks for before any work,
/// the baseline gives the same bits.
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    match Isa::current().unwrap_or(Isa::Baseline) {
        // SAFETY: `current` returns only levels that `is_available` found on this machine.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { run_avx512(kernel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { run_avx2(kernel) },
        _ => kernel.run(Portable),
    }
}

/// Calls `body` in the default floating-point environment (round to nearest, subnormal numbers kept),
/// whatever the caller's is. All arithmetic that decides bits runs in one of these.
pub fn with_default_floats<R>(body: impl FnOnce() -> R) -> R {
    let _environment = DefaultFloatEnvironment::enter();
    // Opaque: the compiler knows nothing of the environment, and would move arithmetic out of here.
    black_box(black_box(body)())
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi1,bmi2")]
fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function may only be called where these features are.
    kernel.run(unsafe { Avx512::new_unchecked() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2")]
fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: as above.
    kernel.run(unsafe { Avx2::new_unchecked() })
}

/// Sets the thread's floating-point control register to its default and restores it on drop.
///
/// Other libraries switch flush-to-zero on for speed; values must not depend on that (Law 1).
struct DefaultFloatEnvironment {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    saved: Control,
}

#[cfg(target_arch = "x86_64")]
type Control = u32;
#[cfg(target_arch = "aarch64")]
type Control = u64;

/// Round to nearest, no flush-to-zero; on x86-64 with all exceptions masked.
#[cfg(target_arch = "x86_64")]
const DEFAULT: Control = 0x1f80;
#[cfg(target_arch = "aarch64")]
const DEFAULT: Control = 0;

#[cfg(target_arch = "x86_64")]
fn read_control() -> Control {
    let mut control: Control = 0;
    // SAFETY: stores MXCSR to the given address; SSE is part of x86-64.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control, options(nostack, preserves_flags));
    }
    control
}

#[cfg(target_arch = "x86_64")]
fn write_control(control: Control) {
    // SAFETY: `control` is the default or a value read from the same register, so no reserved bit is set.
    unsafe {
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control, options(nostack, preserves_flags));
    }
}

#[cfg(target_arch = "aarch64")]
fn read_control() -> Control {
    let control: Control;
    // SAFETY: reads FPCR, which is always accessible.
    unsafe {
        std::arch::asm!("mrs {}, fpcr", out(reg) control, options(nomem, nostack, preserves_flags));
    }
    control
}

#[cfg(target_arch = "aarch64")]
fn write_control(control: Control) {
    // SAFETY: `control` is the default or a value read from the same register.
    unsafe {
        std::arch::asm!("msr fpcr, {}", in(reg) control, options(nostack, preserves_flags));
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl DefaultFloatEnvironment {
    fn enter() -> Self {
        let saved = read_control();
        write_control(DEFAULT);
        Self { saved }
    }
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
impl Drop for DefaultFloatEnvironment {
    fn drop(&mut self) {
        write_control(self.saved);
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
impl DefaultFloatEnvironment {
    fn enter() -> Self {
        Self {}
    }
}
