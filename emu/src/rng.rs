//! Random streams: one for each purpose, so that a new consumer does not shift the others.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;

/// What a stream is for. Append only: the numbers are part of what a seed means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Purpose {
    /// Jitter of costs, and ties.
    Jitter = 1,
    /// The `random` chooser.
    Choice = 2,
    /// Which spinner sees a free lock first.
    Spinner = 3,
    /// The disk's access times.
    Disk = 4,
    /// How deep a halted CPU sleeps.
    Idle = 5,
    /// The `pct` chooser.
    Priority = 6,
}

/// The stream of `seed` for `purpose`.
pub fn stream(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(purpose as u64);
    rng
}

/// A stream for choices between actors: SplitMix64 (Steele, Lea, Flood: Fast splittable
/// pseudorandom number generators, 2014). A run can be thirty steps long, and is over before ChaCha
/// has made its first block.
#[derive(Clone, Debug)]
pub struct Choices(u64);

impl Choices {
    /// The stream of `seed` for `purpose`.
    #[inline]
    pub fn new(seed: u64, purpose: Purpose) -> Choices {
        // Mixed, so that the streams of neighbouring seeds begin far from each other.
        Choices(mix(seed ^ (purpose as u64) << 56))
    }

    /// The next word.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// An even choice among `count`, which is below 2^32.
    #[inline]
    pub fn below(&mut self, count: u64) -> u64 {
        ((self.next_u64() >> 32) * count) >> 32
    }
}

#[inline]
fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The published outputs for the state 1234567.
    #[test]
    fn the_stream_is_splitmix64() {
        let mut stream = Choices(1_234_567);
        let words: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(words, published);
    }

    #[test]
    fn neighbouring_seeds_choose_differently() {
        let mut all: Vec<[u64; 4]> = (0..1000)
            .map(|seed| {
                let mut stream = Choices::new(seed, Purpose::Choice);
                [(); 4].map(|()| stream.next_u64())
            })
            .collect();
        let firsts = all.iter().filter(|it| it[0] >> 63 == 0).count();
        assert!((440..560).contains(&firsts), "{firsts}");
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 1000);
    }
}
