//! The raw words of the stream for statistical batteries: `words INPUT [SEED] [reversed]` writes them to standard
//! output, 32 bits, little-endian, for ever. `tools/battery.py` pipes them into dieharder and TestU01.
//!
//! An input is a sequence of rounds. A round takes one superblock from each of several sources and writes their
//! words in turn, word 0 of every source, then word 1, so that words which must not be related are neighbours.

use std::env;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::process::ExitCode;

use initcore::philox::{Blocks, LANES};
use initcore::simd::Portable;
use initcore::stream::{SUPERBLOCK, Stream};

/// Gives the superblocks of a round, one for each source.
type Rounds = Box<dyn FnMut(u64) -> Vec<Blocks>>;

/// Sources in one round.
const SOURCES: u64 = 64;

const USAGE: &str = "usage: words INPUT [SEED] [reversed]
  INPUT     stream   the words of one parameter
            doubles  the same in the order in which float64 takes them: high half, low half
            seeds    64 seeds in a row: SEED, SEED + 1, ...
            first    the first 64 words of every seed: SEED, SEED + 1, ...
            bits     SEED and the 64 seeds that differ from it in one bit
            names    no name, then layers.0.weight, layers.1.weight, ...
            shards   64 windows of one parameter, 2^32 elements apart
            twin     defective on purpose: 64 seeds in a row, but the last source is the first once more
            lcg      defective on purpose: x -> 1664525 x + 1013904223 mod 2^32
  SEED      0 where it is not given
  reversed  the bits of each word in reverse order";

fn rounds(input: &str, seed: u64) -> Option<Rounds> {
    let unnamed = |seed| Stream::new(seed, None);
    let stream = unnamed(seed);
    Some(match input {
        "stream" => lockstep([stream]),
        "doubles" => Box::new(move |s| vec![doubles(&stream.superblock(Portable, s))]),
        "seeds" => lockstep((0..SOURCES).map(|i| unnamed(seed.wrapping_add(i)))),
        "first" => Box::new(move |round| {
            let seeds = (0..SOURCES).map(|i| seed.wrapping_add(round * SOURCES + i));
            seeds.map(|seed| unnamed(seed).superblock(Portable, 0)).collect()
        }),
        "bits" => lockstep([stream].into_iter().chain((0..64).map(|bit| unnamed(seed ^ 1 << bit)))),
        "names" => lockstep([stream].into_iter().chain(
            (1..SOURCES).map(|i| Stream::new(seed, Some(&format!("layers.{}.weight", i - 1)))),
        )),
        "shards" => Box::new(move |s| {
            let windows = (0..SOURCES).map(|i| i * ((1 << 32) / SUPERBLOCK as u64));
            windows.map(|start| stream.superblock(Portable, start + s)).collect()
        }),
        "twin" => lockstep((0..SOURCES - 1).chain([0]).map(|i| unnamed(seed.wrapping_add(i)))),
        "lcg" => {
            let mut x = seed as u32;
            Box::new(move |_| {
                vec![superblock(|_| {
                    x = x.wrapping_mul(1664525).wrapping_add(1013904223);
                    x
                })]
            })
        }
        _ => return None,
    })
}

/// Superblock `s` of every stream.
fn lockstep(streams: impl IntoIterator<Item = Stream>) -> Rounds {
    let streams: Vec<_> = streams.into_iter().collect();
    Box::new(move |s| streams.iter().map(|stream| stream.superblock(Portable, s)).collect())
}

/// The words of a superblock, rearranged: both halves of element 0, of element 1, ...
fn doubles(blocks: &Blocks) -> Blocks {
    superblock(|i| {
        let (element, half) = (i / 2, i % 2);
        blocks[2 * (element / LANES) + half][element % LANES]
    })
}

/// Word `i` is `word(i)`.
fn superblock(mut word: impl FnMut(usize) -> u32) -> Blocks {
    std::array::from_fn(|w| std::array::from_fn(|l| word(w * LANES + l)))
}

/// Writes until nobody reads any more.
fn write(mut rounds: Rounds, reversed: bool) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    for round in 0.. {
        let sources = rounds(round);
        for i in 0..SUPERBLOCK {
            for blocks in &sources {
                let word = blocks[i / LANES][i % LANES];
                let word = if reversed { word.reverse_bits() } else { word };
                out.write_all(&word.to_le_bytes())?;
            }
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut args: Vec<_> = env::args().skip(1).collect();
    let reversed = args.pop_if(|last| last == "reversed").is_some();
    let rounds = match args.as_slice() {
        [input] => rounds(input, 0),
        [input, seed] => seed.parse().ok().and_then(|seed| rounds(input, seed)),
        _ => None,
    };
    let Some(rounds) = rounds else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    match write(rounds, reversed) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            eprintln!("words: {error}");
            ExitCode::FAILURE
        }
        _ => ExitCode::SUCCESS,
    }
}
