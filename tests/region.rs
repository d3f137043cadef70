//! Parts of arrays: the runs of a region are the C-order indices that its definition names, one by one, and no
//! more of them than need be. The rules of NumPy's indexing are checked against NumPy itself (pytest).

use initcore::Error;
use initcore::indexing::{Indices, Select, select};
use initcore::region::{Axis, Region, Run};
use proptest::prelude::*;

fn take(shape: &[u64], values: &[i64]) -> Select {
    Select::Take(Indices::new(shape.to_vec(), values.to_vec()).unwrap())
}

fn list(values: &[i64]) -> Select {
    take(&[values.len() as u64], values)
}

/// The indices that elements `begin .. begin + len` have.
fn window(region: &Region, begin: u64, len: usize) -> Vec<u64> {
    let indices =
        |run: Run| (0..run.len).map(move |i| run.start.wrapping_add_signed(run.step * i as i64));
    region.runs(begin, len).flat_map(indices).collect()
}

fn all(region: &Region) -> Vec<u64> {
    window(region, 0, region.len() as usize)
}

fn number_of_runs(region: &Region) -> usize {
    region.runs(0, region.len() as usize).count()
}

/// An axis length and a slice of it.
fn slice() -> impl Strategy<Value = (u64, Select)> {
    (1_u64..9).prop_flat_map(|n| {
        (0..n, prop_oneof![-3_i64..=-1, 1_i64..=3], 0..=n).prop_map(move |(start, step, wanted)| {
            let room = if step > 0 { n - 1 - start } else { start } / step.unsigned_abs() + 1;
            (n, Select::Slice(Axis { start, step, len: wanted.min(room) }))
        })
    })
}

/// An axis length and indices of it, of a shape that broadcasts to (2, 3, 4).
fn array() -> impl Strategy<Value = (u64, Select)> {
    let shapes: &[&[u64]] = &[
        &[],
        &[1],
        &[4],
        &[3, 1],
        &[3, 4],
        &[2, 1, 1],
        &[2, 1, 4],
        &[1, 3, 1],
        &[2, 3, 1],
        &[2, 3, 4],
    ];
    (1_i64..9, prop::sample::select(shapes)).prop_flat_map(|(n, shape)| {
        let size = shape.iter().product::<u64>() as usize;
        // any, or equally spaced for a while
        let any = prop::collection::vec(-n..n, size);
        let regular = (0..n, 0..3_i64).prop_map(move |(start, step)| {
            (0..size as i64).map(|i| (start + step * i) % n).collect()
        });
        prop_oneof![any, regular].prop_map(move |values| (n as u64, take(shape, &values)))
    })
}

/// C-order index of each element, axis by axis, for items with `arrays` together behind `before` slices.
fn naive(shape: &[u64], items: &[Select], result: &[u64], before: usize, rank: usize) -> Vec<u64> {
    let mut found = Vec::new();
    for flat in 0..result.iter().product::<u64>() {
        let mut rest = flat;
        let mut at: Vec<u64> = result.iter().rev().map(|n| (rest % n, rest /= n).0).collect();
        at.reverse();
        let broadcast: Vec<u64> = at.drain(before..before + rank).collect();
        let mut slices = at.into_iter();
        let index = items.iter().zip(shape).fold(0, |index, (item, n)| {
            let i = match item {
                Select::Slice(axis) => {
                    axis.start.wrapping_add_signed(axis.step * slices.next().unwrap() as i64)
                }
                Select::Take(indices) => {
                    let own = &broadcast[rank - indices.shape().len()..];
                    let flat = own
                        .iter()
                        .zip(indices.shape())
                        .fold(0, |flat, (i, n)| flat * n + if *n == 1 { 0 } else { *i });
                    indices.values()[flat as usize].rem_euclid(*n as i64) as u64
                }
                Select::Whole(_) => unreachable!("not drawn"),
            };
            index * n + i
        });
        found.push(index);
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1000) })]

    #[test]
    fn runs_name_every_element(
        before in prop::collection::vec(slice(), 0..3),
        arrays in prop::collection::vec(array(), 0..4),
        after in prop::collection::vec(slice(), 0..3),
        cuts in prop::collection::vec(0_f64..1.0, 2),
    ) {
        let place = before.len();
        let (shape, items): (Vec<u64>, Vec<Select>) = [before, arrays, after].concat().into_iter().unzip();
        let (region, result) = select(&shape, &items).unwrap();
        let slices = items.iter().filter(|item| matches!(item, Select::Slice(_))).count();
        let expected = naive(&shape, &items, &result, place, result.len() - slices);
        prop_assert_eq!(region.len(), expected.len() as u64);
        prop_assert_eq!(&all(&region), &expected);
        // any window
        let mut cuts: Vec<usize> = cuts.iter().map(|x| (x * (expected.len() + 1) as f64) as usize).collect();
        cuts.sort_unstable();
        let found = window(&region, cuts[0] as u64, cuts[1] - cuts[0]);
        prop_assert_eq!(&found[..], &expected[cuts[0]..cuts[1]]);
    }
}

#[test]
fn equally_spaced_indices_are_one_run() {
    let whole = |n| Select::Slice(Axis::whole(n));
    let blocks: Vec<i64> = (0..4096).filter(|i| i / 64 % 4 == 1).collect();
    let rows = |values: &[i64]| select(&[1000, 3, 5], &[list(values), Select::Whole(2)]).unwrap().0;
    // a list that is a slice; blocks; whole rows, one after the other; rows anywhere
    let every: Vec<i64> = (0..1000).collect();
    assert_eq!(rows(&every), Region::whole(&[15000]).unwrap());
    let cyclic = select(&[4096], &[list(&blocks)]).unwrap().0;
    assert_eq!(number_of_runs(&cyclic), 16);
    let cyclic = select(&[10, 4096], &[whole(10), list(&blocks)]).unwrap().0;
    assert_eq!(number_of_runs(&cyclic), 160);
    assert_eq!(number_of_runs(&rows(&[7, 8, 9, 10, 500, 501, 3, 2])), 4);
    // pairs are found behind any neighbour
    let pairs = select(&[100], &[list(&[0, 4, 5, 8, 9, 12, 13, 90])]).unwrap().0;
    assert_eq!(number_of_runs(&pairs), 5);
    // backwards and strided lists
    let strided: Vec<i64> = (0..50).map(|i| -1 - 2 * i).collect();
    let region = select(&[100], &[list(&strided)]).unwrap().0;
    assert_eq!(region.runs(0, 50).collect::<Vec<_>>(), [Run { start: 99, step: -2, len: 50 }]);
}

#[test]
fn a_mesh_is_never_spread_out() {
    // 10^12 elements of 2^62: two lists, not their products
    let values: Vec<i64> = (0..1_000_000).map(|i| i * i % 1_000_003).collect();
    let shape = [1 << 31, 1 << 31];
    let columns = list(&values);
    let rows = take(&[1_000_000, 1], &values);
    let (region, result) = select(&shape, &[rows, columns]).unwrap();
    assert_eq!(result, [1_000_000, 1_000_000]);
    for begin in [0, 999_998, 123_456_789_012, 1_000_000_000_000 - 5] {
        let expected: Vec<u64> = (begin..begin + 5)
            .map(|i| [i / 1_000_000, i % 1_000_000].map(|i| values[i as usize] as u64))
            .map(|[row, column]| (row << 31) + column)
            .collect();
        assert_eq!(window(&region, begin, 5), expected, "{begin}");
    }
}

#[test]
fn windows_of_huge_tensors() {
    for middle in [1_i64 << 32, 1 << 34, 1 << 40, (1 << 62) - 8] {
        let expected: Vec<u64> = (middle - 8..middle + 8).map(|i| i as u64).collect();
        let far = Axis { start: expected[0], step: 1, len: 16 };
        let back = Axis { start: expected[15], step: -5, len: 4 };
        let shape = [(1 << 62) + 1];
        assert_eq!(all(&Region::new(&shape, &[far]).unwrap()), expected);
        let fifths: Vec<u64> = expected.iter().rev().step_by(5).copied().collect();
        assert_eq!(all(&Region::new(&shape, &[back]).unwrap()), fifths);
        // shuffled, and counted from the end
        let shuffled: Vec<i64> = (0..16).map(|i| middle - 8 + i * 7 % 16).collect();
        let wanted: Vec<u64> = shuffled.iter().map(|i| *i as u64).collect();
        let from_end: Vec<i64> = shuffled.iter().map(|i| i - shape[0] as i64).collect();
        for values in [shuffled, from_end] {
            assert_eq!(all(&select(&shape, &[list(&values)]).unwrap().0), wanted);
        }
        // across the ends of rows of 2^20
        let (rows, columns): (Vec<i64>, Vec<i64>) =
            (middle - 8..middle + 8).map(|i| (i >> 20, i & 0xf_ffff)).unzip();
        let (region, _) =
            select(&[(1 << 42) + 1, 1 << 20], &[list(&rows), list(&columns)]).unwrap();
        assert_eq!(all(&region), expected);
        assert!(number_of_runs(&region) == 1, "a run may cross the end of a row");
    }
    // a few elements wide apart, and a window deep in a region of 2^62 elements
    let apart = Region::new(&[1 << 62], &[Axis { start: (1 << 62) - 1, step: -(1 << 61), len: 2 }]);
    assert_eq!(all(&apart.unwrap()), [(1 << 62) - 1, (1 << 61) - 1]);
    let half = Axis { start: 1, step: 2, len: 1 << 30 };
    let region = Region::new(&[1 << 32, 1 << 30], &[Axis::whole(1 << 32), Axis::whole(1 << 30)]);
    assert_eq!(window(&region.unwrap(), (1 << 62) - 2, 2), [(1 << 62) - 2, (1 << 62) - 1]);
    let region = Region::new(&[1 << 31, 1 << 31], &[Axis::whole(1 << 31), half]).unwrap();
    let rows_ends = window(&region, (5 << 30) - 1, 2);
    assert_eq!(rows_ends, [(5 << 31) - 1, (5 << 31) + 1]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let index = |shape: &[u64], items: &[Select]| match select(shape, items) {
        Err(Error::Index(message)) => message,
        other => panic!("{other:?}"),
    };
    for (i, message) in [
        (3, "index 3 is out of bounds for axis 1 with size 3"),
        (-4, "index -4 is out of bounds for axis 1 with size 3"),
        (i64::MIN, "index -9223372036854775808 is out of bounds for axis 1 with size 3"),
    ] {
        assert_eq!(index(&[2, 3], &[Select::Whole(1), list(&[0, i])]), message);
        assert_eq!(index(&[2, 3], &[Select::Whole(1), Select::at(i)]), message);
    }
    let message = index(&[2, 3], &[list(&[0, 1]), list(&[0, 1, 2])]);
    assert!(message.ends_with("broadcast together with shapes (2,) (3,)"), "{message}");
    for items in [vec![], vec![Select::Whole(1)], vec![Select::Whole(3)], vec![Select::at(0); 3]] {
        assert!(matches!(select(&[2, 3], &items), Err(Error::Invalid(_))), "{items:?}");
    }
    assert!(matches!(Indices::new(vec![2, 2], vec![0; 3]), Err(Error::Invalid(_))));
    // an empty array empties the others, but not the integers
    assert!(select(&[2, 3], &[list(&[]), list(&[9])]).unwrap().0.is_empty());
    assert!(matches!(select(&[2, 3], &[list(&[]), Select::at(9)]), Err(Error::Index(_))));
}
