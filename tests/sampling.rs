//! The sampling core: known answers of the generator, and Law 1 over regions, threads, instruction sets and
//! floating-point environments. Values themselves are checked against the pure-Python reference (pytest).

use half::{bf16, f16};
use initcore::Error;
use initcore::distribution::{Distribution, STD_OF_TRUNCATED_AT_2};
use initcore::fill::{fill, fill_from_words, fill_part};
use initcore::gaussian::{
    Interval, TailInterval, interval, tail_interval, truncated_mean, truncated_std,
};
use initcore::parallel::{self, NEVER};
use initcore::philox::{LANES, philox4x32_10, schedule};
use initcore::region::{Axis, Region};
use initcore::sample::{Float, Sample};
use initcore::simd::Portable;
use initcore::stream::Stream;
use proptest::prelude::*;

const DISTRIBUTIONS: [Distribution; 6] = [
    Distribution::Constant(0.5),
    Distribution::Uniform { low: -0.3, high: 0.7 },
    Distribution::Normal { mean: 0.1, std: 2.0 },
    Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 2.0 },
    Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: 1.5, high: f64::INFINITY },
    Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: 12.0, high: f64::INFINITY },
];

/// Values of a whole array of this shape.
fn whole<T: Sample>(distribution: Distribution, shape: &[u64], threads: usize) -> Vec<T> {
    part(distribution, &Region::whole(shape).unwrap(), threads)
}

fn part<T: Sample>(distribution: Distribution, region: &Region, threads: usize) -> Vec<T> {
    let mut out = vec![T::ZERO; region.len() as usize];
    let stream = Stream::new(42, Some("layers.0.weight"));
    fill(&stream, distribution, region, &mut out, threads, NEVER).unwrap();
    out
}

fn bits<T: Sample>(values: &[T]) -> Vec<u64> {
    values.iter().map(|x| x.to_f64().to_bits()).collect()
}

#[test]
fn philox_gives_the_published_answers() {
    let mut rows = 0;
    for line in include_str!("vectors/philox4x32.txt").lines().filter(|l| !l.starts_with('#')) {
        let words: Vec<u32> =
            line.split_whitespace().skip(2).map(|w| u32::from_str_radix(w, 16).unwrap()).collect();
        let [c0, c1, c2, c3, k0, k1, expected @ ..] = words.as_slice() else { panic!("{line}") };
        let counter = [c0, c1, c2, c3].map(|c| [u64::from(*c); LANES]);
        let found = philox4x32_10(Portable, counter, &schedule([*k0, *k1]));
        for lane in 0..LANES {
            assert_eq!(found.map(|word| word[lane]), expected, "{line}");
        }
        rows += 1;
    }
    assert_eq!(rows, 6);
}

#[test]
fn philox_gives_the_10000th_value_of_the_cpp_standard() {
    // C++26 std::philox4x32, seed 20111115: its 10000th output is word 3 of block 2499.
    let mut counter = [[0; LANES]; 4];
    counter[0] = std::array::from_fn(|lane| 2499 + lane as u64);
    assert_eq!(philox4x32_10(Portable, counter, &schedule([20111115, 0]))[3][0], 1955073260);
}

#[test]
fn words_lie_in_the_documented_order() {
    let stream = Stream::new(7 << 40 | 5, None);
    let schedule = schedule([5, 7 << 8]);
    // index 64 s + 16 w + l is word w of block 16 s + l; the block number carries into the second word
    for s in [0, 1, 3, (1 << 28) - 1, 1 << 28, 1 << 55] {
        for within in 0..64_u64 {
            let (w, l) = (within as usize / 16, within % 16);
            let block = 16 * s + l;
            let counter = [block & 0xffff_ffff, block >> 32, 0, 0].map(|c| [c; LANES]);
            let expected = philox4x32_10(Portable, counter, &schedule)[w][0];
            assert_eq!(stream.word(64 * s + within), expected, "{s} {within}");
        }
    }
}

#[test]
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn flush_to_zero_set_by_the_caller_changes_nothing() {
    // subnormal values, and on the way to them
    let laws = [
        Distribution::Normal { mean: 0.0, std: 1e-41 },
        Distribution::TruncatedNormal { mean: 0.0, std: 1e-10, low: 0.0, high: 1e-30 },
        Distribution::TruncatedNormal { mean: 0.0, std: 1e270, low: 0.0, high: 1e-310 },
    ];
    let all = || laws.map(|law| whole::<f32>(law, &[1000], 1));
    let expected = all().map(|values| bits(&values));
    for values in &expected {
        assert!(values.iter().any(|x| *x & !(1 << 63) != 0), "all zero already");
    }
    let mut control = 0_u32;
    // SAFETY: reads and writes MXCSR of this thread, restored below; 0x8040 is flush-to-zero and
    // denormals-are-zero.
    unsafe {
        std::arch::asm!("stmxcsr [{}]", in(reg) &raw mut control);
        let flushing = control | 0x8040;
        std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const flushing);
    }
    let found = all();
    // SAFETY: as above.
    unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &raw const control) };
    assert!(found.map(|values| bits(&values)) == expected);
}

#[test]
fn threads_do_not_change_values() {
    // more than one work item, and not a multiple of it
    let shape = [5, (1 << 16) + 321];
    for distribution in DISTRIBUTIONS {
        let one = bits(&whole::<f32>(distribution, &shape, 1));
        for threads in [2, 3, 7, 16] {
            assert!(bits(&whole::<f32>(distribution, &shape, threads)) == one, "{threads}");
        }
    }
}

#[test]
fn windows_beyond_32_bits_of_index_agree_with_the_words() {
    let (low, high) = (0.0, 1.0);
    let shape = [1 << 40];
    for middle in [1_u64 << 32, 1 << 34, 1 << 36, (1 << 40) - 8] {
        let axis = Axis { start: middle - 8, step: 1, len: 16 };
        let region = Region::new(&shape, &[axis]).unwrap();
        let found = part::<f32>(Distribution::Uniform { low, high }, &region, 1);
        let stream = Stream::new(42, Some("layers.0.weight"));
        for (i, x) in found.iter().enumerate() {
            let word = stream.word(middle - 8 + i as u64);
            assert_eq!(*x, (word >> 8) as f32 / (1 << 24) as f32);
        }
    }
}

/// The words' values under a distribution.
fn map<T: Sample>(distribution: Distribution, words: &[<T::Float as Float>::Word]) -> Vec<T> {
    let mut out = vec![T::ZERO; words.len()];
    fill_from_words(distribution, words, &mut out).unwrap();
    out
}

#[test]
fn normal_is_antisymmetric_and_precise_in_float32() {
    // all words near both ends and the middle, and a stride through the rest
    let near = |center: u32| (0..4096).map(move |i| center.wrapping_add(i).wrapping_sub(2048));
    let mut words: Vec<u32> = [0, 1 << 31, 1 << 30, 3 << 30].into_iter().flat_map(near).collect();
    words.extend((0..1 << 32).step_by(4099).map(|w: u64| w as u32));
    let standard = Distribution::Normal { mean: 0.0, std: 1.0 };
    let single = map::<f32>(standard, &words);
    let mirrored = map::<f32>(standard, &words.iter().map(|w| !w).collect::<Vec<_>>());
    // (2 w + 1) / 2^33 is the probability of both; in float64 the middle of 2^32 words has the same
    let wide: Vec<u64> = words.iter().map(|w| u64::from(*w) << 32 | 1 << 31).collect();
    let double = map::<f64>(standard, &wide);
    let mut worst = 0.0_f64;
    for (((x, y), z), word) in single.iter().zip(&mirrored).zip(&double).zip(&words) {
        assert_eq!(*x, -y, "{word}");
        let ulp = f64::from((z.abs() as f32).next_up() - z.abs() as f32);
        worst = worst.max((f64::from(*x) - z).abs() / ulp);
    }
    assert!(worst < 2.5, "off by {worst} units in the last place");
    assert!(worst > 0.4, "{worst}: nothing was compared");
    assert!(single.iter().all(|x| x.abs() < 6.34), "2^-33 lies at 6.338 sigma");
}

#[test]
fn bounds_hold_for_the_outermost_words() {
    let ends = [0, 1, 2, 255, 256, u32::MAX - 256, u32::MAX - 255, u32::MAX - 1, u32::MAX];
    let bounds = [(-2.0, 2.0), (-1.0, 3.0), (0.5, 0.75), (3.0, f64::INFINITY), (-9.0, -6.0)];
    let unlikely = [(12.0, 12.5), (-f64::INFINITY, -40.0), (999.5, 1000.0), (-13.0, -12.999)];
    for (low, high) in bounds.into_iter().chain(unlikely) {
        for (mean, std) in [(0.0, 1.0), (0.1, 0.02), (1e6, 1.0), (-3.0, 1e-3)] {
            let distribution = Distribution::TruncatedNormal { mean, std, low, high };
            for x in map::<f32>(distribution, &ends) {
                let (first, last) = (mean + std * low, mean + std * high);
                assert!((first..=last).contains(&f64::from(x)), "{distribution:?}: {x}");
            }
        }
    }
    for (low, high) in
        [(0.0, 1.0), (-0.1, 0.1), (1.0, 1.0 + 1e-6), (-1e-40, 1e-40), (1e6, 1e6 + 1.0)]
    {
        for x in map::<f32>(Distribution::Uniform { low, high }, &ends) {
            assert!((low..high).contains(&f64::from(x)), "[{low}, {high}): {x}");
        }
    }
}

/// A 16-bit value is the float32 value rounded once to nearest even, but never beyond a bound.
fn rounded_once<T: Sample<Float = f32>>(nearest: impl Fn(f32) -> f64) {
    let words: Vec<u32> = (0..1_u64 << 32).step_by(1021).map(|w| w as u32).collect();
    for (distribution, low, high) in [
        (Distribution::Uniform { low: 0.0, high: 1.0 }, 0.0, 1.0),
        (Distribution::Uniform { low: -0.3, high: 0.7 }, -0.3, 0.7),
        (Distribution::Normal { mean: 0.1, std: 2.0 }, -100.0, 100.0),
        (Distribution::Normal { mean: 0.0, std: 1e-6 }, -100.0, 100.0), // subnormal in float16
        (Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.1, high: 0.7 }, -2.1, 0.7),
    ] {
        let mut at_the_bounds = 0;
        for (x, single) in
            map::<T>(distribution, &words).iter().zip(map::<f32>(distribution, &words))
        {
            let (x, expected) = (x.to_f64(), nearest(single));
            assert!((low..=high).contains(&x), "{distribution:?}: {x}");
            if (low..high).contains(&expected) {
                assert_eq!(x, expected, "{distribution:?}");
            } else {
                at_the_bounds += 1;
            }
        }
        assert!(at_the_bounds * 100 < words.len(), "{distribution:?}: {at_the_bounds}");
    }
}

#[test]
fn sixteen_bit_values_are_rounded_once() {
    rounded_once::<f16>(|x| f16::from_f32(x).to_f64());
    rounded_once::<bf16>(|x| bf16::from_f32(x).to_f64());
}

#[test]
fn sixteen_bit_neighbours() {
    fn check<T: Sample>(largest: f64, smallest: f64) {
        assert_eq!(T::ZERO.next_up().to_f64(), smallest);
        assert_eq!(T::ZERO.next_down().to_f64(), -smallest);
        assert_eq!(T::from_f64(smallest).next_down().to_f64(), 0.0);
        assert_eq!(T::from_f64(-smallest).next_up().to_f64(), 0.0);
        assert_eq!(T::from_f64(largest).next_up().to_f64(), f64::INFINITY);
        assert_eq!(T::from_f64(1.0).next_up().next_down().to_f64(), 1.0);
        assert_eq!(T::from_f64(-1.0).next_up().next_down().to_f64(), -1.0);
        assert!(T::from_f64(1.0).next_down().to_f64() < 1.0);
    }
    check::<f16>(65504.0, 2_f64.powi(-24));
    check::<bf16>(f64::from(bf16::MAX), 2_f64.powi(-133));
}

#[test]
fn a_part_of_a_region_is_a_part_of_its_values() {
    let columns = Axis { start: 3, step: 2, len: 21 };
    let region = Region::new(&[300, 50], &[Axis::whole(300), columns]).unwrap();
    let all = part::<f32>(DISTRIBUTIONS[2], &region, 1);
    let stream = Stream::new(42, Some("layers.0.weight"));
    for (begin, len) in [(0, 0), (0, 5), (20, 44), (6279, 21), (6300, 0)] {
        let mut out = vec![0_f32; len];
        fill_part(&stream, DISTRIBUTIONS[2], &region, begin, &mut out, 1, NEVER).unwrap();
        assert_eq!(bits(&out), bits(&all[begin as usize..][..len]));
    }
}

#[test]
fn interval_probabilities_are_correctly_rounded() {
    // low, high -> P(Z < low), P(low < Z < high), P(Z > high), as float64 bits from 60-digit arithmetic
    let mut rows = 0;
    for line in include_str!("vectors/gaussian.txt").lines().filter(|l| !l.starts_with('#')) {
        let numbers: Vec<f64> = line
            .split_whitespace()
            .map(|word| f64::from_bits(u64::from_str_radix(word, 16).unwrap()))
            .collect();
        let [low, high, below, mass, above] = numbers[..] else { panic!("{line}") };
        assert_eq!(interval(low, high), Interval { below, mass, above }, "[{low}, {high}]");
        rows += 1;
    }
    assert_eq!(rows, 1000);
}

#[test]
fn tails_and_moments_are_those_of_700_digits() {
    let mut rows = 0;
    for line in include_str!("vectors/tail.txt").lines().filter(|l| !l.starts_with('#')) {
        let numbers: Vec<f64> = line
            .split_whitespace()
            .map(|word| f64::from_bits(u64::from_str_radix(word, 16).unwrap()))
            .collect();
        let [low, high, share, rest, mills, excess, mean, std] = numbers[..] else {
            panic!("{line}")
        };
        let expected = TailInterval { share, rest, mills, excess };
        assert_eq!(tail_interval(low, high), expected, "[{low:e}, {high:e}]");
        for (found, mirrored, exact) in [
            (truncated_mean(low, high), -truncated_mean(-high, -low), mean),
            (truncated_std(low, high), truncated_std(-high, -low), std),
        ] {
            assert!(
                (found / exact - 1.0).abs() < 2e-14,
                "[{low:e}, {high:e}]: {found:e} {exact:e}"
            );
            assert_eq!(found, mirrored);
        }
        rows += 1;
    }
    assert_eq!(rows, 300);
    assert_eq!(truncated_mean(-2.0, 2.0), 0.0);
    assert_eq!(truncated_std(-2.0, 2.0), STD_OF_TRUNCATED_AT_2);
    assert_eq!(truncated_std(-f64::INFINITY, f64::INFINITY), 1.0);
}

/// Intervals with less than 2^-90 of the probability, and the mean at which they begin at 0 or lie around it.
const UNLIKELY: [(f64, f64, f64); 9] = [
    (-12.0, 12.0, 13.0),
    (-10.9, 10.9, f64::INFINITY),
    (-999.5, 999.5, 1000.0),
    (-10.5, 10.5, 10.5 + 1e-14),
    (-1e6, 1e6, f64::INFINITY),
    (0.0, 0.0, 1e-30),
    (0.0, -1e-30, 1e-30),
    (0.0, -1e-30, 3e-30),
    (-1e-20, 1e-20, 1.5e-20),
];

#[test]
fn unlikely_intervals_are_symmetric_and_in_order() {
    // runs of neighbours at both ends, in the middle and in between: their values may not differ, but stay in order
    let run =
        |center: u64| (0..2000).map(move |i| center.wrapping_add(i).wrapping_sub(1000) as u32);
    let mut single: Vec<u32> = (0..=64_u64).flat_map(|i| run(i << 26)).collect();
    single.sort_unstable();
    // of float64, whose map is in order up to rounding, words further apart than that
    let double: Vec<u64> = single.iter().map(|w| u64::from(*w) << 32 | 0x1234_5678).collect();
    let mut compared = 0;
    for (mean, low, high) in UNLIKELY {
        for (mean, std) in [(mean, 1.0), (0.0, 1.0), (1.0, 1e-3)] {
            let law = Distribution::TruncatedNormal { mean, std, low, high };
            let mirror = Distribution::TruncatedNormal { mean: -mean, std, low: -high, high: -low };
            // some are too narrow to have a float32 in them
            if law.map::<f32>().is_ok() {
                let x = map::<f32>(law, &single);
                assert!(x.is_sorted(), "{law:?}");
                let complement: Vec<u32> = single.iter().map(|w| !w).collect();
                assert!(x.iter().zip(map::<f32>(mirror, &complement)).all(|(x, y)| *x == -y));
                compared += 1;
            }
            let x = map::<f64>(law, &double);
            assert!(x.is_sorted(), "{law:?}");
            let complement: Vec<u64> = double.iter().map(|w| !w).collect();
            assert!(x.iter().zip(map::<f64>(mirror, &complement)).all(|(x, y)| *x == -y));
            let (first, last) = (mean + std * low, mean + std * high);
            assert!(x.iter().all(|x| (first..=last).contains(x)), "{law:?}");
        }
    }
    assert!(compared > 20);
}

#[test]
fn bad_parameters_are_refused() {
    use Distribution::{Normal, TruncatedNormal, Uniform};
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let refused = [
        Uniform { low: 1.0, high: 0.0 },
        Uniform { low: nan, high: 1.0 },
        Uniform { low: -inf, high: 1.0 },
        Uniform { low: -1.7e308, high: 1.7e308 },
        Normal { mean: nan, std: 1.0 },
        Normal { mean: 0.0, std: -1.0 },
        Normal { mean: 0.0, std: nan },
        Normal { mean: 0.0, std: inf },
        TruncatedNormal { mean: 0.0, std: 1.0, low: 2.0, high: 2.0 },
        TruncatedNormal { mean: 0.0, std: 1.0, low: nan, high: 2.0 },
        TruncatedNormal { mean: 0.0, std: 1e300, low: 1e10, high: inf },
        TruncatedNormal { mean: 1e308, std: 5e307, low: 20.0, high: inf },
    ];
    for distribution in refused {
        assert!(matches!(distribution.checked(), Err(Error::Invalid(_))), "{distribution:?}");
    }
    // fits float64, but not float32
    let wide = Normal { mean: 0.0, std: 1e38 };
    assert!(wide.map::<f64>().is_ok());
    assert!(matches!(wide.map::<f32>(), Err(Error::Invalid(_))));
    // fits float32, but not float16
    let wide = Normal { mean: 0.0, std: 5000.0 };
    assert!(wide.map::<f32>().is_ok() && wide.map::<bf16>().is_ok());
    assert!(matches!(wide.map::<f16>(), Err(Error::Invalid(_))));
}

#[test]
fn a_stop_ends_the_work() {
    let region = Region::whole(&[1 << 22]).unwrap();
    let mut out = vec![0_f32; 1 << 22];
    for threads in [1, 2] {
        let stream = Stream::new(0, None);
        let result = fill(&stream, DISTRIBUTIONS[2], &region, &mut out, threads, &|| true);
        assert_eq!(result, Err(Error::Interrupted));
    }
}

#[test]
fn items_are_handed_out_once_each() {
    for threads in [1, 2, 5] {
        let mut seen = vec![0_u8; 1000];
        parallel::for_each(threads, seen.iter_mut(), NEVER, |x| *x += 1).unwrap();
        assert!(seen.iter().all(|x| *x == 1));
    }
}

/// An axis length and a selection of it.
fn axis() -> impl Strategy<Value = (u64, Axis)> {
    (1_u64..40).prop_flat_map(|n| {
        (0..n, prop_oneof![-7_i64..=-1, 1_i64..=7], 0..=n).prop_map(move |(start, step, wanted)| {
            let room = if step > 0 { n - 1 - start } else { start } / step.unsigned_abs() + 1;
            (n, Axis { start, step, len: wanted.min(room) })
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    /// A region holds the elements that its axes name, in C order.
    #[test]
    fn regions_equal_slices_of_the_whole(axes in prop::collection::vec(axis(), 0..4)) {
        let (shape, selection): (Vec<u64>, Vec<Axis>) = axes.into_iter().unzip();
        let mut wanted = vec![0_u64];
        for (n, axis) in shape.iter().zip(&selection) {
            wanted = wanted
                .iter()
                .flat_map(|at| {
                    (0..axis.len).map(move |i| {
                        at * n + axis.start.wrapping_add_signed(axis.step * i as i64)
                    })
                })
                .collect();
        }
        let region = Region::new(&shape, &selection).unwrap();
        prop_assert_eq!(region.len(), wanted.len() as u64);
        let all = whole::<f32>(DISTRIBUTIONS[2], &shape, 1);
        let expected: Vec<f32> = wanted.iter().map(|i| all[*i as usize]).collect();
        prop_assert_eq!(bits(&part::<f32>(DISTRIBUTIONS[2], &region, 2)), bits(&expected));
        let all = whole::<f64>(DISTRIBUTIONS[1], &shape, 1);
        let expected: Vec<f64> = wanted.iter().map(|i| all[*i as usize]).collect();
        prop_assert_eq!(bits(&part::<f64>(DISTRIBUTIONS[1], &region, 1)), bits(&expected));
    }

    /// What reaches outside is refused.
    #[test]
    fn regions_stay_inside(n in 1_u64..20, start in 0_u64..25, step in -3_i64..=3, len in 1_u64..20) {
        let last = start as i64 + step * (len as i64 - 1);
        let inside = start < n && (0..n as i64).contains(&last);
        prop_assert_eq!(Region::new(&[n], &[Axis { start, step, len }]).is_ok(), inside);
    }
}
