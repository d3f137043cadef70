//! What is left to do when a batch has passed: constant units, samples and cosines, copies among the units, norms.

use super::{Copies, Errors, LayerDiagnosis, Outputs};
use crate::error::{Result, invalid};
use crate::nn::batch::{Batch, cosines, mean_cosine_square};
use crate::nn::real::Real;
use crate::nn::statistics::{Moments, Slopes, worth};
use crate::nn::twins::{BAND, Columns, Key, keys, likeness, norm};
use crate::nn::{CHUNK, Run, for_each, zeros};

/// What is known of a layer once a batch has passed it.
pub(super) struct Parts<'a, T> {
    pub(super) y: Batch<'a, T>,
    pub(super) dz: Option<Batch<'a, T>>,
    pub(super) seen: Seen,
    /// What units are compared by, and the gradients of it; the weights where there is a `fan_in`.
    pub(super) units: Option<Columns<'a, T>>,
    pub(super) gradients: Option<Columns<'a, T>>,
    pub(super) fan_in: Option<usize>,
}

/// Statistics of the outputs, of f'(z) and of dL/dz.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen {
    pub(super) y: Moments,
    pub(super) slopes: Option<Slopes>,
    pub(super) dz: Moments,
}

impl Seen {
    pub(super) fn and(self, other: Self) -> Self {
        let slopes = self.slopes.map_or(other.slopes, |a| other.slopes.map(|b| a.and(b)));
        Self { y: self.y.and(other.y), slopes, dz: self.dz.and(other.dz) }
    }
}

impl<T: Real> Parts<'_, T> {
    fn outputs(&self) -> Result<Outputs<T>> {
        let sample = self.y.sample()?;
        let cosines = cosines(&sample, self.y.width())?;
        Ok(Outputs {
            width: self.y.width(),
            moments: self.seen.y,
            dead: self.y.constant(),
            cosine_square: mean_cosine_square(&cosines),
            sample,
            cosines,
        })
    }

    fn errors(&self) -> Result<Option<Errors<T>>> {
        let errors = |dz: &Batch<'_, T>| Ok(Errors { moments: self.seen.dz, sample: dz.sample()? });
        self.dz.as_ref().map(errors).transpose()
    }

    /// dL/dW, without the bias.
    fn weight_gradient(&self) -> Option<&[T]> {
        self.fan_in.and(self.gradients).map(|gradients| gradients.values)
    }

    fn bias(&self) -> Option<&[T]> {
        self.fan_in.and(self.units).and_then(|units| units.last)
    }

    /// Compares the units by their columns, and those that are equal by their gradients.
    fn copies(&self, keys_of_units: &[Key]) -> Result<Option<Copies>> {
        let Some(units) = self.units else { return Ok(None) };
        let alike = likeness(units, keys_of_units);
        let twins = match self.gradients {
            Some(gradients) if alike.duplicates > 0 => {
                let mut keys_of_gradients = zeros(gradients.width)?;
                keys(gradients, 0, &mut keys_of_gradients);
                Some(alike.twins(&likeness(gradients, &keys_of_gradients)))
            }
            Some(_) => Some(0),
            None => None,
        };
        let (duplicates, flipped, collinear) = (alike.duplicates, alike.flipped, alike.collinear);
        Ok(Some(Copies { duplicates, flipped, collinear, twins }))
    }
}

/// What is found of a layer after the pass, piece by piece.
struct Findings<T> {
    outputs: Result<(Outputs<T>, Option<Errors<T>>)>,
    keys: Vec<Key>,
    gradient: Vec<Moments>,
    copies: Result<Option<Copies>>,
}

impl<T: Real> Findings<T> {
    /// Room for them.
    fn new(parts: &Parts<'_, T>) -> Result<Self> {
        let gradient = parts.weight_gradient().map_or(0, <[T]>::len);
        Ok(Self {
            outputs: invalid!("not found yet"),
            keys: zeros(parts.units.map_or(0, |units| units.width))?,
            gradient: zeros(gradient.div_ceil(CHUNK))?,
            copies: Ok(None),
        })
    }

    fn diagnosis(self, parts: &Parts<'_, T>) -> Result<LayerDiagnosis<T>> {
        let (outputs, errors) = self.outputs?;
        let gradient = self.gradient.into_iter().fold(Moments::default(), Moments::and);
        Ok(LayerDiagnosis {
            fan_in: parts.fan_in,
            outputs,
            slopes: parts.seen.slopes,
            errors,
            copies: self.copies?,
            weight_norm: parts.fan_in.map(|_| norm(&self.keys)),
            bias_norm: parts.bias().map(|bias| Moments::of(bias).norm()),
            weight_gradient: parts.weight_gradient().map(|_| gradient),
            update_ratio: None,
        })
    }
}

/// A piece of the work after the pass.
enum Job<'a, T> {
    Outputs(&'a Parts<'a, T>, &'a mut Result<(Outputs<T>, Option<Errors<T>>)>),
    Keys(Columns<'a, T>, usize, &'a mut [Key]),
    Gradient(&'a [T], &'a mut Moments),
}

impl<T: Real> Job<'_, T> {
    fn run(self) {
        match self {
            Self::Outputs(parts, to) => {
                *to = parts.outputs().and_then(|outputs| Ok((outputs, parts.errors()?)));
            }
            Self::Keys(columns, first, to) => keys(columns, first, to),
            Self::Gradient(values, to) => *to = Moments::of(values),
        }
    }
}

/// What is left to do of several layers, all pieces of which threads share.
pub(super) fn finish<T: Real>(
    layers: &[Parts<'_, T>],
    run: Run<'_>,
) -> Result<Vec<LayerDiagnosis<T>>> {
    let work = |parts: &Parts<'_, T>| parts.units.map_or(0, |units| 2 * units.values.len());
    let run = worth(run, layers.iter().map(work).sum());
    let mut findings = layers.iter().map(Findings::new).collect::<Result<Vec<_>>>()?;
    let mut jobs = Vec::new();
    for (parts, found) in layers.iter().zip(&mut findings) {
        jobs.push(Job::Outputs(parts, &mut found.outputs));
        if let Some(units) = parts.units {
            let bands = found.keys.chunks_mut(BAND).enumerate();
            jobs.extend(bands.map(|(i, keys)| Job::Keys(units, i * BAND, keys)));
        }
        let chunks = parts.weight_gradient().unwrap_or_default().chunks(CHUNK);
        jobs.extend(chunks.zip(&mut found.gradient).map(|(dw, to)| Job::Gradient(dw, to)));
    }
    for_each(run, jobs.len(), jobs.into_iter(), Job::run)?;
    for_each(run, layers.len(), layers.iter().zip(&mut findings), |(parts, found)| {
        found.copies = parts.copies(&found.keys);
    })?;
    layers.iter().zip(findings).map(|(parts, found)| found.diagnosis(parts)).collect()
}
