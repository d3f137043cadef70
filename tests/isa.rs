//! Instruction sets: the one in use is the one asked for, an absent one is refused, and all give the same bits.
//! A process of its own, and one test at a time, since a level is forced for the whole process.

use std::sync::Mutex;

use half::{bf16, f16};
use initcore::Error;
use initcore::dispatch::Isa;
use initcore::distribution::Distribution;
use initcore::fill::fill;
use initcore::nn::Run;
use initcore::nn::diagnosis::{LayerArrays, diagnose_layer};
use initcore::nn::real::Real;
use initcore::parallel::NEVER;
use initcore::region::Region;
use initcore::sample::Sample;
use initcore::stream::Stream;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const DISTRIBUTIONS: [Distribution; 8] = [
    Distribution::Constant(0.5),
    Distribution::Uniform { low: -0.3, high: 0.7 },
    Distribution::Normal { mean: 0.1, std: 2.0 },
    Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: -2.0, high: 2.0 },
    Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: 1.5, high: f64::INFINITY },
    Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low: 12.0, high: f64::INFINITY },
    Distribution::TruncatedNormal { mean: 0.0, std: 1e28, low: -1e-28, high: -1e-30 },
    Distribution::TruncatedNormal { mean: 0.1, std: 1e28, low: -1e-30, high: 3e-30 },
];

#[test]
fn the_level_in_use_is_the_one_asked_for() {
    let _guard = ONE_AT_A_TIME.lock();
    let before = Isa::current().unwrap();
    let asked = std::env::var("INITCORE_ISA").ok().filter(|name| !name.is_empty());
    let best = Isa::available().next().expect("the baseline is always there");
    assert_eq!(before.name(), asked.as_deref().unwrap_or(best.name()));
    for isa in Isa::ALL {
        assert_eq!(isa.force().is_ok(), isa.is_available(), "{isa:?}");
        assert_eq!(Isa::current().unwrap() == isa, isa.is_available(), "{isa:?}");
    }
    assert_eq!(Isa::Neon.is_available(), cfg!(target_arch = "aarch64"));
    before.force().unwrap();
}

#[test]
fn an_absent_isa_is_refused() {
    for isa in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        assert!(matches!(isa.force(), Err(Error::Invalid(_))));
    }
    assert!(matches!(Isa::parse("sse9"), Err(Error::Invalid(_))));
}

/// The values of a distribution, as bits of float64.
fn bits<T: Sample>(distribution: Distribution) -> Vec<u64> {
    // every kind of lane, all kinds of unlikely values, and a ragged end
    let mut out = vec![T::ZERO; (1 << 18) + 5];
    let region = Region::whole(&[out.len() as u64]).unwrap();
    fill(&Stream::new(42, Some("w")), distribution, &region, &mut out, 1, NEVER).unwrap();
    out.iter().map(|x| x.to_f64().to_bits()).collect()
}

#[test]
fn every_isa_gives_the_same_bits() {
    let _guard = ONE_AT_A_TIME.lock();
    let before = Isa::current().unwrap();
    #[cfg(target_arch = "x86_64")]
    assert!(Isa::available().count() >= 2, "only the baseline here: nothing would be compared");
    for distribution in DISTRIBUTIONS {
        let results: Vec<_> = Isa::available()
            .map(|isa| {
                isa.force().unwrap();
                [
                    bits::<f32>(distribution),
                    bits::<f64>(distribution),
                    bits::<f16>(distribution),
                    bits::<bf16>(distribution),
                ]
            })
            .collect();
        assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{distribution:?}");
    }
    before.force().unwrap();
}

/// All numbers of a layer's diagnosis that come without a matrix product.
fn statistics<T: Real>() -> String {
    let values: Vec<T> = (0..67 * 53).map(|i| T::narrow((f64::from(i) * 12.9898).sin())).collect();
    let some = Some(values.as_slice());
    let (rows, threshold, none) = (67, 0.3, None);
    let arrays = LayerArrays {
        y: &values,
        rows,
        slope: some,
        threshold,
        dz: some,
        weight: some,
        bias: none,
        weight_gradient: some,
        bias_gradient: none,
    };
    let layer = diagnose_layer(&arrays, Run::SERIAL).unwrap();
    format!("{:?}", (layer.outputs.moments, layer.slopes, layer.copies, layer.weight_norm))
}

#[test]
fn every_isa_gives_the_same_statistics() {
    let _guard = ONE_AT_A_TIME.lock();
    let before = Isa::current().unwrap();
    let results: Vec<_> = Isa::available()
        .map(|isa| {
            isa.force().unwrap();
            statistics::<f32>() + &statistics::<f64>()
        })
        .collect();
    assert!(results.windows(2).all(|pair| pair[0] == pair[1]), "{results:?}");
    before.force().unwrap();
}
