//! Units that are copies of others, up to a factor: they compute the same, and as long as their gradients are copies too,
//! training never tells them apart.
//!
//! ```text
//! 1  every column c:   |c|  and  q = <g, c> / |c|   for one fixed generic g
//! 2  sorted by |q|, multiples of one another are neighbours
//! 3  each is compared, number by number, with the first of its neighbours
//! ```
//! Units are the columns of a row-major matrix: weights `(fan_in, fan_out)` with the bias as one more row, or, where only
//! the outputs are known, outputs `(batch, width)`. 3 takes as long when all columns are equal as when two are.

use std::mem::take;

use super::real::Real;
use crate::dispatch::{self, Kernel};
use crate::simd::{Simd, vector_by_vector};

/// The columns to compare: rows one after the other, and perhaps one more that lies elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a, T> {
    /// Row-major `(rows, width)`.
    pub values: &'a [T],
    /// `(width,)`.
    pub last: Option<&'a [T]>,
    /// How many columns.
    pub width: usize,
}

impl<'a, T: Real> Columns<'a, T> {
    fn rows(&self) -> impl Iterator<Item = &'a [T]> + Clone {
        self.values.chunks_exact(self.width).chain(self.last)
    }
}

/// Columns like others: how many of each kind, and which are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likeness {
    /// Columns that equal another.
    pub duplicates: usize,
    /// Columns that are another times -1.
    pub flipped: usize,
    /// Columns that are another times some other number.
    pub collinear: usize,
    /// The same number for equal columns.
    class: Vec<usize>,
}

impl Likeness {
    /// How many columns equal another in this and in the other.
    pub fn twins(&self, other: &Self) -> usize {
        let mut both: Vec<_> = self.class.iter().zip(&other.class).collect();
        both.sort_unstable();
        both.chunk_by(|a, b| a == b).map(<[_]>::len).filter(|len| *len > 1).sum()
    }
}

/// What rounding may make of equal numbers, relative to their size.
fn tolerance<T: Real>() -> f64 {
    8.0 * T::epsilon().widen() + 1e-13
}

/// Compares all columns with each other, by their [`keys`], in `O(n (rows + log n))` for n of them.
///
/// Numbers count as equal within some roundings of the column's root mean square. Columns with a number that is not finite
/// are like no other.
pub fn likeness<T: Real>(columns: Columns<'_, T>, keys: &[Key]) -> Likeness {
    if columns.width > 1 && keys[0].square.is_finite() && dispatch::run(AllEqual(columns)) {
        let class = vec![0; columns.width];
        return Likeness { duplicates: columns.width, flipped: 0, collinear: 0, class };
    }
    // Column, then its group's first column and the factor from that.
    let mut family: Vec<(usize, f64)> = (0..columns.width).map(|column| (column, 1.0)).collect();
    let mut zero = None;
    for (column, key) in keys.iter().enumerate() {
        if key.square == 0.0 {
            family[column].0 = *zero.get_or_insert(column);
        }
    }
    let mut order: Vec<usize> = (0..columns.width)
        .filter(|&column| keys[column].square > 0.0 && keys[column].square.is_finite())
        .collect();
    order.sort_by(|&a, &b| keys[a].direction().abs().total_cmp(&keys[b].direction().abs()));
    let window = 4.0 * tolerance::<T>();
    // Those that fail were neighbours by chance, and are tried with each other.
    while order.len() > 1 {
        let mut pairs = Vec::new();
        let mut rest = order.as_slice();
        while let [head, others @ ..] = rest {
            let from = keys[*head].direction().abs();
            let near = |column: &&usize| keys[**column].direction().abs() - from <= window;
            let count = others.iter().take_while(near).count();
            pairs.extend(others[..count].iter().map(|&column| Pair::new(keys, *head, column)));
            rest = &others[count..];
        }
        order = confirm(columns, &mut pairs);
        for pair in pairs {
            family[pair.column] = (pair.head, pair.factor);
        }
    }
    count(&family, 8.0 * tolerance::<T>())
}

/// Whether every column is the first one: that of constant weights is told at the speed of memory.
struct AllEqual<'a, T>(Columns<'a, T>);

impl<T: Real> Kernel for AllEqual<'_, T> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        // Counted, since a loop that may end at any number does not vectorise.
        self.0.rows().all(|row| row.iter().filter(|value| **value != row[0]).count() == 0)
    }
}

/// Counts the kinds, from each column's head and its factor; factors within `slack` are one.
fn count(family: &[(usize, f64)], slack: f64) -> Likeness {
    let mut order: Vec<usize> = (0..family.len()).collect();
    order.sort_by(|&a, &b| {
        let ((i, f), (j, g)) = (family[a], family[b]);
        i.cmp(&j).then(f.total_cmp(&g))
    });
    let mut likeness =
        Likeness { duplicates: 0, flipped: 0, collinear: 0, class: vec![0; family.len()] };
    let same = |f: f64, g: f64| (f - g).abs() <= slack * f.abs();
    for group in order.chunk_by(|&a, &b| family[a].0 == family[b].0) {
        let equal: Vec<_> = group.chunk_by(|&a, &b| same(family[a].1, family[b].1)).collect();
        let factors: Vec<f64> = equal.iter().map(|columns| family[columns[0]].1).collect();
        for (columns, &factor) in equal.iter().zip(&factors) {
            for &column in *columns {
                likeness.class[column] = columns[0];
            }
            let size = columns.len();
            let after = factors.partition_point(|&f| f < -factor - slack * factor.abs());
            let negative = factors.get(after).is_some_and(|&f| same(f, -factor));
            likeness.duplicates += if size > 1 { size } else { 0 };
            likeness.flipped += if negative { size } else { 0 };
            likeness.collinear += if factors.len() > 1 + usize::from(negative) { size } else { 0 };
        }
    }
    likeness
}

/// What is known of a column.
#[derive(Debug, Clone, Copy, Default)]
pub struct Key {
    /// Sum of squares, with and without the last row.
    square: f64,
    values_square: f64,
    /// Product with the generic vector.
    product: f64,
}

impl Key {
    fn direction(&self) -> f64 {
        self.product / self.square.sqrt()
    }
}

/// The L2 norm of [`Columns::values`], of the keys of all columns.
pub fn norm(keys: &[Key]) -> f64 {
    keys.iter().map(|key| key.values_square).sum::<f64>().sqrt()
}

/// Columns that are summed side by side.
pub const BAND: usize = 64;

/// The keys of columns `first..`, as many as there is room for.
pub fn keys<T: Real>(columns: Columns<'_, T>, first: usize, keys: &mut [Key]) {
    for (i, keys) in keys.chunks_mut(BAND).enumerate() {
        dispatch::run(Project { columns, first: first + i * BAND, keys });
    }
}

/// A number of the generic vector, in [-1, 1), 0 being the last row's: its bits are well mixed (Steele, Lea & Flood 2014).
#[inline(always)]
fn generic(row: usize) -> f64 {
    let mut z = (row as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) as i64 >> 11) as f64 / (1_u64 << 52) as f64
}

struct Project<'a, T> {
    columns: Columns<'a, T>,
    first: usize,
    keys: &'a mut [Key],
}

impl<T: Real> Kernel for Project<'_, T> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Self { columns, first, keys } = self;
        let (mut squares, mut products) = ([0.0; BAND], [0.0; BAND]);
        let mut add = |lane: usize, value: T, g: f64| {
            let value = value.widen();
            squares[lane] += value * value;
            products[lane] += g * value;
        };
        let width = keys.len();
        let rows = columns.values.chunks_exact(columns.width).map(|row| &row[first..][..width]);
        if width == BAND {
            for (i, row) in rows.filter_map(|row| row.first_chunk::<BAND>()).enumerate() {
                let g = generic(i + 1);
                vector_by_vector();
                for lane in 0..BAND {
                    add(lane, row[lane], g);
                }
            }
        } else {
            for (i, row) in rows.enumerate() {
                let g = generic(i + 1);
                for (lane, &value) in row.iter().enumerate() {
                    add(lane, value, g);
                }
            }
        }
        for (lane, key) in keys.iter_mut().enumerate() {
            let last = columns.last.map_or(0.0, |last| last[first + lane].widen());
            *key = Key {
                square: squares[lane] + last * last,
                values_square: squares[lane],
                product: products[lane] + generic(0) * last,
            };
        }
    }
}

/// A column that may be `factor` times another.
#[derive(Debug, Clone, Copy)]
struct Pair {
    head: usize,
    column: usize,
    factor: f64,
    /// Numbers may differ by that.
    slack: f64,
}

impl Pair {
    fn new(keys: &[Key], head: usize, column: usize) -> Self {
        let (a, b) = (keys[head], keys[column]);
        let sign = if (a.product < 0.0) == (b.product < 0.0) { 1.0 } else { -1.0 };
        Self { head, column, factor: sign * (b.square / a.square).sqrt(), slack: b.square.sqrt() }
    }
}

/// Leaves the pairs that are what they may be; gives the columns of the others, in their order.
fn confirm<T: Real>(columns: Columns<'_, T>, pairs: &mut Vec<Pair>) -> Vec<usize> {
    /// Rows that are compared between two looks at the outcome.
    const ROWS: usize = 8;
    let count = columns.rows().count();
    for pair in pairs.iter_mut() {
        pair.slack *= tolerance::<T>() / (count as f64).sqrt();
    }
    let mut failed = Vec::new();
    let mut open: Vec<(usize, Pair)> = take(pairs).into_iter().enumerate().collect();
    let mut rows = columns.rows();
    loop {
        let rows: Vec<&[T]> = rows.by_ref().take(ROWS).collect();
        if rows.is_empty() {
            break;
        }
        open.retain(|&(position, Pair { head, column, factor, slack })| {
            let like = rows.iter().fold(true, |like, row| {
                let (a, b) = (row[head].widen() * factor, row[column].widen());
                like & ((a - b).abs() <= slack + tolerance::<T>() * b.abs())
            });
            if !like {
                failed.push((position, column));
            }
            like
        });
    }
    pairs.extend(open.into_iter().map(|(_, pair)| pair));
    failed.sort_unstable();
    failed.into_iter().map(|(_, column)| column).collect()
}
