//! The ways to give a truncated normal: where its bounds are measured, and whose standard deviation is meant.
//!
//! All are resolved to the one form that [`Distribution::TruncatedNormal`] has, by exactly rounded operations, so that
//! the same arguments are the same law on every machine.

use crate::distribution::Distribution;
use crate::error::{Result, invalid};
use crate::gaussian::truncated_std;
use crate::named::named;

named! {
    /// Where bounds are measured.
    Bounds, "bounds",
    /// In standard deviations of the parent, from its mean.
    Sigma = "sigma",
    /// As values.
    Absolute = "absolute"
}

named! {
    /// Whose standard deviation is given.
    StdOf, "std_of",
    /// That of the normal distribution before truncation.
    Parent = "parent",
    /// That of the values, after truncation.
    Result = "result"
}

/// The normal distribution of this mean, truncated to `low ..= high`.
///
/// # Errors
/// As [`Distribution::checked`]; or no parent has values of that standard deviation.
pub fn truncated_normal(
    mean: f64,
    std: f64,
    low: f64,
    high: f64,
    bounds: Bounds,
    std_of: StdOf,
) -> Result<Distribution> {
    let law = |std, low, high| Distribution::TruncatedNormal { mean, std, low, high }.checked();
    if bounds == Bounds::Sigma {
        law(std, low, high)?;
        return match std_of {
            StdOf::Parent => law(std, low, high),
            StdOf::Result => law(std / truncated_std(low, high), low, high),
        };
    }
    Distribution::Normal { mean, std }.checked()?;
    if low.is_nan() || high.is_nan() || low >= high {
        return invalid!("low must be below high, got low={low}, high={high}");
    }
    for (name, bound) in [("low", low), ("high", high)] {
        if bound.is_finite() && !(bound - mean).is_finite() {
            return invalid!("{name} - mean must be finite, got {name}={bound:e}, mean={mean:e}");
        }
    }
    if std == 0.0 {
        // every value is the mean
        if mean < low || mean > high {
            return invalid!(
                "with std=0 the mean must lie between low={low} and high={high}, got {mean}"
            );
        }
        return law(0.0, f64::NEG_INFINITY, f64::INFINITY);
    }
    let std = match std_of {
        StdOf::Parent => std,
        StdOf::Result => parent_std(mean, std, low, high)?,
    };
    let (first, last) = in_sigmas(mean, std, low, high);
    if first >= last {
        return invalid!(
            "low={low} and high={high} are one number in units of std={std:e} around mean={mean}"
        );
    }
    law(std, first, last)
}

/// Bounds in units of `std` around the mean, so that neither `mean + std * bound` is outside `low ..= high`, whatever
/// the rounding.
fn in_sigmas(mean: f64, std: f64, low: f64, high: f64) -> (f64, f64) {
    let (mut first, mut last) = ((low - mean) / std, (high - mean) / std);
    // a few steps: each quotient and product is off by half a unit in the last place
    while mean + std * first < low {
        first = first.next_up();
    }
    while mean + std * last > high {
        last = last.next_down();
    }
    (first, last)
}

/// The standard deviation that a normal distribution must have for its values between `low` and `high` to have this one.
///
/// It grows with that of the values, and is never smaller: a bracket, and in it regula falsi (the Illinois variant),
/// whose steps are exactly rounded operations.
fn parent_std(mean: f64, std: f64, low: f64, high: f64) -> Result<f64> {
    // the limit of wide parents is a uniform distribution
    let largest = (high - low) / 12f64.sqrt();
    let beyond = || -> Result<f64> {
        invalid!(
            "std={std} cannot be reached between low={low} and high={high}: the largest possible is \
             (high - low) / sqrt(12) = {largest}"
        )
    };
    if std >= largest {
        return beyond();
    }
    // relative to what is asked for; in units of a narrow parent, bounds may be one number and leave no spread at all
    let excess = |parent: f64| {
        let (first, last) = ((low - mean) / parent, (high - mean) / parent);
        if first < last { parent * truncated_std(first, last) / std - 1.0 } else { -1.0 }
    };
    let mut left = (std, excess(std));
    if left.1 >= 0.0 {
        return Ok(std); // hardly truncated
    }
    let mut right = left;
    while right.1 < 0.0 {
        left = right;
        right.0 *= 2.0;
        if !right.0.is_finite() {
            return beyond();
        }
        right.1 = excess(right.0);
    }
    let (mut kept_left, mut kept_right) = (false, false);
    while right.1 != 0.0 && left.0.next_up() < right.0 {
        let secant = left.0 - left.1 * ((right.0 - left.0) / (right.1 - left.1));
        let middle = secant.clamp(left.0.next_up(), right.0.next_down());
        let found = (middle, excess(middle));
        if found.1 < 0.0 {
            // halving the value of an end that stays draws the next step towards it
            right.1 *= if kept_right { 0.5 } else { 1.0 };
            (left, kept_left, kept_right) = (found, false, true);
        } else {
            left.1 *= if kept_left { 0.5 } else { 1.0 };
            (right, kept_left, kept_right) = (found, true, false);
        }
    }
    Ok(right.0)
}
