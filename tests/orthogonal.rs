//! Orthogonal weights: orthonormal, and the same bits for any number of threads. Their values are checked against NumPy,
//! and their distribution against the Haar measure, in pytest.

use initcore::Error;
use initcore::fans::{Axes, Layout};
use initcore::law::Law;
use initcore::orthogonal::Orthogonal;
use initcore::parallel::NEVER;
use initcore::pattern::{Center, Kind, Pattern};
use initcore::region::Region;
use initcore::sample::Sample;
use initcore::stream::Stream;
use initcore::weight::Weight;
use proptest::prelude::*;

/// The weight of this shape.
fn weight(shape: &[u64], axes: Axes) -> Weight {
    Weight::new(shape, &Layout { axes, ..Layout::default() }).unwrap()
}

/// (batch, inputs, outputs)
fn batch() -> Axes {
    Axes::Given { inputs: vec![1], outputs: vec![2], batch: vec![0] }
}

fn make<T: Sample>(weight: &Weight, threads: usize) -> Vec<T> {
    let mut out = vec![T::from_f64(f64::NAN); weight.len() as usize];
    let stream = Stream::new(9, Some("w"));
    Orthogonal { gain: 1.0, center: None }.fill(&stream, weight, &mut out, threads, NEVER).unwrap();
    out
}

fn bits<T: Sample>(values: &[T]) -> Vec<u64> {
    values.iter().map(|x| x.to_f64().to_bits()).collect()
}

/// The largest error of the products of the rows or columns, whichever are fewer, of (rows, columns).
fn error<T: Sample>(matrix: &[T], rows: usize, columns: usize) -> f64 {
    let at = |vector: usize, i: usize| {
        let index = if rows < columns { vector * columns + i } else { i * columns + vector };
        matrix[index].to_f64()
    };
    let (count, len) = (rows.min(columns), rows.max(columns));
    let product = |a: usize, b: usize| (0..len).map(|i| at(a, i) * at(b, i)).sum::<f64>();
    let pairs = (0..count).flat_map(|a| (a..count).map(move |b| (a, b)));
    pairs.fold(0.0, |most, (a, b)| {
        let error = (product(a, b) - f64::from(u8::from(a == b))).abs();
        assert!(!error.is_nan());
        most.max(error)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_matrix_of_a_batch_is_orthonormal(
        count in 1..4_u64, rows in 1..200_u64, columns in 1..200_u64, threads in 1..5_usize,
    ) {
        let weight = weight(&[count, rows, columns], batch());
        let (rows, columns) = (rows as usize, columns as usize);
        for matrix in make::<f32>(&weight, threads).chunks(rows * columns) {
            prop_assert!(error(matrix, rows, columns) < 3e-6);
        }
        for matrix in make::<f64>(&weight, threads).chunks(rows * columns) {
            prop_assert!(error(matrix, rows, columns) < 1e-14);
        }
    }
}

/// The bits of one thread from 2, 3 and 7.
fn assert_thread_invariant<T: Sample>(weight: &Weight) {
    let alone = bits(&make::<T>(weight, 1));
    for threads in [2, 3, 7] {
        assert!(bits(&make::<T>(weight, threads)) == alone, "{weight:?} on {threads} threads");
    }
}

#[test]
fn threads_do_not_reach_the_bits() {
    let shapes: [&[u64]; 5] =
        [&[600, 600], &[1100, 300], &[300, 1100], &[3, 3, 40, 70], &[1030, 1025]];
    for shape in shapes {
        for axes in [Axes::Numpy, Axes::Torch] {
            assert_thread_invariant::<f32>(&weight(shape, axes.clone()));
            assert_thread_invariant::<f64>(&weight(shape, axes));
        }
    }
    for shape in [[3, 300, 200], [5000, 20, 16], [40, 200, 210]] {
        assert_thread_invariant::<f32>(&weight(&shape, batch()));
        assert_thread_invariant::<half::f16>(&weight(&shape, batch()));
    }
}

/// A matrix is a function of its own part of the stream: its place in a batch decides nothing else, such as with how
/// many others it is worked on.
#[test]
fn a_smaller_batch_is_the_beginning_of_a_larger_one() {
    for (few, many, rows, columns) in [(7, 20, 300, 300), (3, 9000, 12, 12), (1, 2, 1100, 70)] {
        let few = make::<f32>(&weight(&[few, rows, columns], batch()), 2);
        let many = make::<f32>(&weight(&[many, rows, columns], batch()), 2);
        assert!(bits(&few) == bits(&many[..few.len()]));
        let size = (rows * columns) as usize;
        assert!(few.chunks(size).skip(1).all(|matrix| matrix != &few[..size]));
    }
}

#[test]
fn a_stop_ends_the_work() {
    let weight = weight(&[600, 600], Axes::Numpy);
    let stream = Stream::new(0, None);
    for items in [0, 5, 12] {
        let asked = std::cell::Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > items
        };
        let mut out = vec![0.0_f32; 360_000];
        let law = Orthogonal { gain: 1.0, center: None };
        let result = law.fill(&stream, &weight, &mut out, 1, &stop);
        assert_eq!(result, Err(Error::Interrupted));
        // at once
        assert_eq!(asked.get(), items + 1);
    }
}

#[test]
fn refusals_leave_the_array_as_it_was() {
    let weight = weight(&[3, 2, 2], Axes::Numpy);
    let mut out = vec![half::f16::ONE; 12];
    let law = Orthogonal { gain: 1e5, center: Some(Center::Lower) };
    let error = law.fill(&Stream::new(0, None), &weight, &mut out, 1, NEVER).unwrap_err();
    assert_eq!(error.to_string(), "gain = 1e5 does not fit float16");
    assert!(out.iter().all(|x| *x == half::f16::ONE));
    let law = Orthogonal { gain: f64::INFINITY, center: None };
    assert_eq!(law.checked().unwrap_err().to_string(), "gain must be finite, got inf");
}

#[test]
fn axes_that_multiply_beyond_64_bits_are_no_matter_in_an_empty_weight() {
    for shape in [[0, 1 << 62, 1 << 62, 1 << 62], [1 << 62, 1 << 62, 1 << 62, 0]] {
        let weight = Weight::new(&shape, &Layout::default()).unwrap();
        assert!(weight.is_empty());
        let region = Region::whole(&shape).unwrap();
        let stream = Stream::new(0, None);
        for center in [None, Some(Center::Lower), Some(Center::Upper)] {
            let law = Law::Orthogonal(Orthogonal { gain: 1.0, center }, weight.clone());
            law.fill::<f32>(&stream, &region, &mut [], 1, NEVER).unwrap();
            let pattern =
                Pattern { kind: Kind::Zero, gain: 1.0, center: center.unwrap_or(Center::Upper) };
            let law = Law::Pattern(pattern, weight.clone());
            law.fill::<f32>(&stream, &region, &mut [], 1, NEVER).unwrap();
            assert_eq!(law.std(), 0.0);
        }
    }
}
