//! The tables that `make prove` prints, and writes to docs/proof.md.

use initcore::distribution::Distribution;

/// What was found wrong; everything is tried before anything fails.
#[derive(Default)]
pub struct Failures(Vec<String>);

impl Failures {
    pub fn check(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            let what = what();
            println!("FAILED: {what}");
            self.0.push(what);
        }
    }

    pub fn report(self) {
        assert!(self.0.is_empty(), "{} failures:\n{}", self.0.len(), self.0.join("\n"));
    }
}

/// A Markdown table.
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(head: &[&str]) -> Self {
        let words = head.iter().map(|word| (*word).to_owned()).collect();
        let rule = head.iter().map(|_| "---".to_owned()).collect();
        Self { rows: vec![words, rule] }
    }

    /// Adds a row, and prints it: the next one may take a while.
    pub fn row(&mut self, row: Vec<String>) {
        println!("{}", line(&row));
        self.rows.push(row);
    }

    pub fn markdown(&self) -> String {
        self.rows.iter().map(|row| line(row) + "\n").collect()
    }
}

fn line(row: &[String]) -> String {
    format!("| {} |", row.join(" | "))
}

/// Two digits.
pub fn scientific(x: f64) -> String {
    format!("{x:.1e}")
}

/// How a distribution is called in the tables.
pub fn label(distribution: Distribution) -> String {
    match distribution {
        Distribution::Constant(value) => format!("constant {value}"),
        Distribution::Uniform { low, high } => format!("uniform [{low}, {high})"),
        Distribution::Normal { mean, std } => format!("normal, mean {mean}, std {std}"),
        Distribution::TruncatedNormal { mean: 0.0, std: 1.0, low, high } => {
            format!("normal in [{low}, {high}]")
        }
        Distribution::TruncatedNormal { mean, std, low, high } => {
            format!("normal, mean {mean}, std {std}, in [{low}, {high}] std")
        }
    }
}

/// docs/proof.md: the tables and how to read them.
pub fn document(accuracies: &Table, narrows: &Table, moments: &Table, tails: &Table) -> String {
    let [accuracies, narrows, moments, tails] =
        [accuracies, narrows, moments, tails].map(Table::markdown);
    format!(
        "\
# What is proved

A value is a function of one word (and two for float64). There are 2^32 words, so every map that is computed in float32 can be
tried on all of them. `make prove` does so, on all cores, and writes this page; the figures are those of stream v1 and the
same on every machine. `tests/prove/` has the code.

For every map in the tables below and each of float32, float16 and bfloat16, **all 2^32 words**:

- give a finite value inside the bounds: `low <= x < high` for the uniform laws, `low <= x <= high` for the truncated ones;
- are in order, exactly: a larger word never gives a smaller value;
- are symmetric, bit for bit, where the law is: the complement of a word gives the negative of its value.

## float32: errors

Against the exact value of each word: the quantile function to about 2^-50, from the error functions of the crate `libm`,
themselves compared with numbers of 60 digits. Uniform values have 24 bits by definition; their reference is
`low + (high - low) floor(word / 2^8) / 2^24`.

Errors are in units of the last place of the value. Where a law is not symmetric about 0, small values are differences, and their
unit is that of the mean or of half a standard deviation; for uniform laws it is that of the larger bound. An exactly rounded
map has a largest error of 0.5 and, where values are close, a mean of 0.25; the column `rounded exactly` counts the words that
get the very number that such a map would give, up to that unit.

{accuracies}
Every multiple of 2^-24 in [0, 1) is the uniform float32 value of exactly 256 words.

## float16 and bfloat16

Every value is the float32 value, rounded once to nearest even; the bound next to it where that would pass it. For every
number of the type, the words below the rounding boundary above it are counted and compared with the law (the
exact probability of the same, times 2^32): the largest difference in words. Allowed are one word (256 for uniform laws)
and as many as the error of the float32 map moves.

{narrows}
## Moments

Mean (in standard deviations), variance (relative), skewness and kurtosis: the exact figures of the 2^32 values less those of
the law. For float32 that is the law at 2^32 equally spaced probabilities, from the middle of the first 2^-32 to the middle of
the last (its variance is below that of the continuous law: by 3.2e-10 for the normal one); for the 16-bit types the
law rounded to the type. The last column compares the differences of all four moments with what errors as
large as the measured (16 bits: allowed) ones could move them if all pulled in one direction.

{moments}
## Tails

Words of the float32 normal map beyond k standard deviations, both sides, and 2^32 times the exact probability.

{tails}"
    )
}
