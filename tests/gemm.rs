//! Matrix products against naive sums: every shape, either side transposed, any address, long reductions.

mod common;

use common::{THREADS, bits, message, noise};
use initcore::nn::Run;
use initcore::nn::gemm::{Matrix, block_rows, product};
use initcore::nn::real::Real;
use initcore::parallel::NEVER;
use proptest::prelude::*;

/// Sums are cut into pieces of this length (`MAX_DEPTH` of `nn/gemm.rs`).
const PIECE: usize = 512;

/// What an element of a product of depth `k` may be off by, in units of `eps sum|a||b|`: half a unit for each rounding
/// that it goes through, which are those of its piece and then one for each piece.
///
/// One sum over everything would need `k / 2`.
fn bound(k: usize) -> f64 {
    0.51 * (k.min(PIECE) + k.div_ceil(PIECE)) as f64
}

/// `a b` and `|a| |b|` for `a: (m, k)` and `b: (k, n)`, in `f64`.
fn naive(a: &[f64], b: &[f64], (m, n, k): (usize, usize, usize)) -> (Vec<f64>, Vec<f64>) {
    let (mut out, mut size) = (vec![0.0; m * n], vec![0.0; m * n]);
    for i in 0..m {
        for l in 0..k {
            for j in 0..n {
                let term = a[i * k + l] * b[l * n + j];
                out[i * n + j] += term;
                size[i * n + j] += term.abs();
            }
        }
    }
    (out, size)
}

fn transposed<T: Copy>(a: &[T], (rows, columns): (usize, usize)) -> Vec<T> {
    (0..rows * columns).map(|at| a[at % rows * columns + at / rows]).collect()
}

/// The product of both matrices, each stored as it is or transposed: four times.
fn products<T: Real>(
    a: &[f64],
    b: &[f64],
    (m, n, k): (usize, usize, usize),
    run: Run<'_>,
) -> [Vec<T>; 4] {
    let narrow = |v: &[f64]| v.iter().map(|&v| T::narrow(v)).collect::<Vec<T>>();
    let (a, b) = (narrow(a), narrow(b));
    let (a_t, b_t) = (transposed(&a, (m, k)), transposed(&b, (k, n)));
    let lefts = [Matrix::new(&a, m, k).unwrap(), Matrix::new(&a_t, k, m).unwrap().t()];
    let rights = [Matrix::new(&b, k, n).unwrap(), Matrix::new(&b_t, n, k).unwrap().t()];
    [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(left, right)| {
        // Poisoned: every element has to be written, and none read.
        let mut out = vec![T::nan(); m * n];
        product(&mut out, lefts[left], rights[right], run).unwrap();
        out
    })
}

fn check<T: Real>(shape: (usize, usize, usize), a: &[f64], b: &[f64]) {
    let (want, size) = naive(a, b, shape);
    let k = shape.2;
    // The naive sum's own error, which counts in f64.
    let slack = k as f64 * f64::EPSILON;
    for (which, got) in products::<T>(a, b, shape, Run::SERIAL).into_iter().enumerate() {
        for (i, got) in got.iter().enumerate() {
            let error = (got.widen() - want[i]).abs();
            let most = (bound(k) * T::epsilon().widen() + slack) * size[i];
            assert!(error <= most, "{} {shape:?} {which} [{i}]: off by {error} > {most}", T::NAME);
        }
    }
}

#[test]
fn products_agree_with_naive_sums() {
    const SIZES: [usize; 8] = [0, 1, 2, 3, 5, 17, 65, 513];
    // Of f32's numbers, so that both types are given the same.
    let wide = |len, seed| noise::<f32>(len, seed).iter().map(|v| v.widen()).collect::<Vec<_>>();
    let (a, b) = (wide(513 * 513, 1), wide(513 * 513, 2));
    for m in SIZES {
        for n in SIZES {
            for k in SIZES {
                check::<f32>((m, n, k), &a[..m * k], &b[..k * n]);
                check::<f64>((m, n, k), &a[..m * k], &b[..k * n]);
            }
        }
    }
}

/// The worst case of a running sum, whose error grows with the square of its length: all terms alike.
#[test]
fn long_sums_of_equal_terms_stay_accurate() {
    for k in [PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 5000, 100_000] {
        let shape = (5, 3, k);
        let (a, b) = (vec![f64::from(0.1_f32); 5 * k], vec![1.0; 3 * k]);
        check::<f32>(shape, &a, &b);
    }
}

#[test]
fn blocks_of_a_product_have_the_same_bits_on_any_number_of_threads() {
    let shape = (700, 90, 400);
    assert!(block_rows(shape.0, shape.1 * shape.2) <= shape.0 / 3, "not split");
    let (a, b) = (noise::<f64>(700 * 400, 3), noise::<f64>(400 * 90, 4));
    let results = THREADS.map(|threads| {
        let run = Run { threads, stop: NEVER };
        let narrow = products::<f32>(&a, &b, shape, run);
        (narrow.map(|p| bits(&p)), products::<f64>(&a, &b, shape, run).map(|p| bits(&p)))
    });
    assert!(results.iter().all(|r| *r == results[0]));
    check::<f32>(shape, &narrowed(&a), &narrowed(&b));
}

/// Rounded to `f32`.
fn narrowed(values: &[f64]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v as f32)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The same inputs at other addresses: alignment must not reach the bits (Law 2).
    #[test]
    fn products_ignore_where_the_data_lie(
        m in 1_usize..70, n in 1_usize..70, k in 1_usize..300, shift in 1_usize..16,
        thin in 0..4,
    ) {
        let (m, n, k) = match thin { 0 => (m, 1, k), 1 => (1, n, k), 2 => (m, n, 1), _ => (m, n, k) };
        let found = |shift: usize, a_t: bool, b_t: bool| {
            let a = [vec![0.0; shift], noise::<f32>(m * k, 5)].concat();
            let b = [vec![0.0; shift], noise::<f32>(k * n, 6)].concat();
            let mut out = vec![0.0; shift + m * n];
            let a = if a_t { Matrix::new(&a[shift..], k, m).unwrap().t() }
                else { Matrix::new(&a[shift..], m, k).unwrap() };
            let b = if b_t { Matrix::new(&b[shift..], n, k).unwrap().t() }
                else { Matrix::new(&b[shift..], k, n).unwrap() };
            product(&mut out[shift..], a, b, Run::SERIAL).unwrap();
            bits(&out[shift..])
        };
        for (a_t, b_t) in [(false, false), (true, false), (false, true), (true, true)] {
            prop_assert_eq!(found(0, a_t, b_t), found(shift, a_t, b_t), "{} {} {}", m, n, k);
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let six = [1.0_f32; 6];
    assert!(message(Matrix::new(&six, 2, 4)).contains("(2, 4), got 6 elements"));
    let (a, b) = (Matrix::new(&six, 2, 3).unwrap(), Matrix::new(&six, 2, 3).unwrap());
    let mut out = [7.0; 4];
    assert!(message(product(&mut out, a, b, Run::SERIAL)).contains("(2, 3) and (2, 3)"));
    assert!(message(product(&mut out[..3], a, b.t(), Run::SERIAL)).contains("(2, 2), got 3"));
    assert_eq!(out, [7.0; 4]);
}
