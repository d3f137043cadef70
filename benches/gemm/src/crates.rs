//! One function per crate: `c = a b`.

use std::fmt::Debug;

/// The crates, in the order of the columns.
pub const CRATES: [&str; 5] = ["faer", "gemm", "gemmkit", "matrixmultiply", "private-gemm-x86"];

/// `c = a b` with c: (m, n) row-major, a: (m, k), b: (k, n); ta: `a` is stored as (k, m), tb: `b` as (n, k).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Product {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub ta: bool,
    pub tb: bool,
}

impl Product {
    /// Strides (rows, columns) of `a` and of `b`.
    fn strides(self) -> [(isize, isize); 2] {
        let Product { m, n, k, ta, tb } = self;
        let a = if ta { (1, m as isize) } else { (k as isize, 1) };
        let b = if tb { (1, k as isize) } else { (n as isize, 1) };
        [a, b]
    }
}

/// Computes a product of `a` and `b` into `c`.
pub type Run<T> = fn(Product, &[T], &[T], &mut [T]);

/// float32 or float64.
pub trait Element: Copy + Into<f64> + 'static {
    /// The function of a crate; None where it has no code for this processor.
    fn run(name: &str) -> Option<Run<Self>>;

    /// From a float64.
    fn of(x: f64) -> Self;

    /// `len` numbers of no meaning in [-1, 1].
    fn values(len: usize, phase: f64) -> Vec<Self> {
        (0..len).map(|i| Self::of((i as f64 * 12.9898 + phase).sin())).collect()
    }

    /// Compares some elements of `c` with plain sums.
    fn check(product: Product, a: &[Self], b: &[Self], c: &[Self], name: &str) {
        let Product { m, n, k, .. } = product;
        let [(ars, acs), (brs, bcs)] = product.strides();
        let at = |x: &[Self], i: usize, rs: isize, j: usize, cs: isize| -> f64 {
            x[i * rs as usize + j * cs as usize].into()
        };
        for index in (0..m * n).step_by((m * n / 97).max(1)) {
            let (i, j) = (index / n, index % n);
            let expected: f64 = (0..k).map(|p| at(a, i, ars, p, acs) * at(b, p, brs, j, bcs)).sum();
            let found: f64 = c[index].into();
            assert!(
                (found - expected).abs() < 1e-3,
                "{name}, {product:?}: {found} at {index}, not {expected}"
            );
        }
    }
}

macro_rules! element {
    ($type:ty, $matrixmultiply:ident, $private:ident) => {
        impl Element for $type {
            fn run(name: &str) -> Option<Run<Self>> {
                Some(match name {
                    "faer" => faer::<Self>,
                    "gemm" => gemm::<Self>,
                    "gemmkit" => gemmkit::<Self>,
                    "matrixmultiply" => |product, a, b, c| {
                        let (Product { m, n, k, .. }, [(ars, acs), (brs, bcs)]) =
                            (product, product.strides());
                        // SAFETY: the strides are those of whole matrices, which the slices hold.
                        unsafe {
                            matrixmultiply::$matrixmultiply(
                                m,
                                k,
                                n,
                                1.0,
                                a.as_ptr(),
                                ars,
                                acs,
                                b.as_ptr(),
                                brs,
                                bcs,
                                0.0,
                                c.as_mut_ptr(),
                                n as isize,
                                1,
                            );
                        }
                    },
                    #[cfg(target_arch = "x86_64")]
                    "private-gemm-x86" if std::is_x86_feature_detected!("fma") => {
                        |product, a, b, c| {
                            private(private_gemm_x86::DType::$private, product, a, b, c, &1.0);
                        }
                    }
                    _ => return None,
                })
            }

            fn of(x: f64) -> Self {
                x as Self
            }
        }
    };
}
element!(f32, sgemm, F32);
element!(f64, dgemm, F64);

fn faer<T: Element + faer::traits::ComplexField>(product: Product, a: &[T], b: &[T], c: &mut [T]) {
    use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
    let Product { m, n, k, ta, tb } = product;
    let view = |x, transposed, rows, columns| {
        if transposed {
            MatRef::from_column_major_slice(x, rows, columns)
        } else {
            MatRef::from_row_major_slice(x, rows, columns)
        }
    };
    let (a, b) = (view(a, ta, m, k), view(b, tb, k, n));
    matmul(MatMut::from_row_major_slice_mut(c, m, n), Accum::Replace, a, b, T::of(1.0), Par::Seq);
}

fn gemm<T: Element>(product: Product, a: &[T], b: &[T], c: &mut [T]) {
    let (Product { m, n, k, .. }, [(ars, acs), (brs, bcs)]) = (product, product.strides());
    let (zero, one) = (T::of(0.0), T::of(1.0));
    // SAFETY: the strides are those of whole matrices, which the slices hold.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            false,
            a.as_ptr(),
            acs,
            ars,
            b.as_ptr(),
            bcs,
            brs,
            zero,
            one,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

fn gemmkit<T: Element + gemmkit::GemmScalar>(product: Product, a: &[T], b: &[T], c: &mut [T]) {
    use gemmkit::{MatMut, MatRef, Parallelism};
    let (Product { m, n, k, .. }, [(ars, acs), (brs, bcs)]) = (product, product.strides());
    let (a, b) = (MatRef::new(a, m, k, ars, acs), MatRef::new(b, k, n, brs, bcs));
    gemmkit::gemm(
        T::of(1.0),
        a,
        b,
        T::of(0.0),
        MatMut::from_row_major(c, m, n),
        Parallelism::Serial,
    );
}

#[cfg(target_arch = "x86_64")]
fn private<T>(
    dtype: private_gemm_x86::DType,
    product: Product,
    a: &[T],
    b: &[T],
    c: &mut [T],
    one: &T,
) {
    use private_gemm_x86::{Accum, DstKind, IType, InstrSet};
    use std::ptr::{from_ref, null};
    let (Product { m, n, k, .. }, [(ars, acs), (brs, bcs)]) = (product, product.strides());
    let wide = std::is_x86_feature_detected!("avx512f");
    let isa = if wide { InstrSet::Avx512 } else { InstrSet::Avx256 };
    // SAFETY: the strides are those of whole matrices, which the slices hold, and the processor has the instructions.
    unsafe {
        private_gemm_x86::gemm(
            dtype,
            IType::U64,
            isa,
            m,
            n,
            k,
            c.as_mut_ptr().cast(),
            n as isize,
            1,
            null(),
            null(),
            DstKind::Full,
            Accum::Replace,
            a.as_ptr().cast(),
            ars,
            acs,
            false,
            null(),
            0,
            b.as_ptr().cast(),
            brs,
            bcs,
            false,
            from_ref(one).cast(),
            1,
        );
    }
}
