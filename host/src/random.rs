//! Counter-based random streams: every draw is a pure function of (seed, purpose, round, client, position).
//!
//! What is this: Philox4x32-10 (Salmon et al., SC 2011) and the distributions that the host needs, all through
//! `libm`, never the platform's mathematics, so that the same seed gives the same bits everywhere.
//! Where in the flow: used by partitioning, sampling, initialisation, batch order and the plugins' `rand_fill`.
//! What it never does: keep hidden state; a [`Stream`] is a value with a position.

/// What a stream is for. Streams of different purposes are independent. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Partition,
    TestSplit,
    Cohort,
    InitialWeights,
    BatchOrder,
    EvaluationCohort,
    /// Which clients are hostile.
    Attackers,
    /// Which training rows the server holds itself.
    RootRows,
    /// The data set that is drawn.
    SyntheticData,
    /// Which clients of a cohort are late.
    Stragglers,
    /// How much of its work a late client does.
    StragglerWork,
    /// The vector on which a compressor with error feedback is tried.
    FeedbackTrial,
    /// Batch order of a personal phase: its number in the run (below 2²⁴).
    PersonalOrder {
        phase: u32,
    },
    /// A plugin's own stream: its position in the run (0..256) and the stream number it chose (below 2¹⁶).
    Plugin {
        position: u8,
        stream: u16,
    },
}

impl Purpose {
    fn word(self) -> u32 {
        match self {
            Purpose::Partition => 1 << 24,
            Purpose::TestSplit => 2 << 24,
            Purpose::Cohort => 3 << 24,
            Purpose::InitialWeights => 4 << 24,
            Purpose::BatchOrder => 5 << 24,
            Purpose::EvaluationCohort => 7 << 24,
            Purpose::Attackers => 8 << 24,
            Purpose::RootRows => 9 << 24,
            Purpose::SyntheticData => 11 << 24,
            Purpose::Stragglers => 12 << 24,
            Purpose::StragglerWork => 13 << 24,
            Purpose::FeedbackTrial => 14 << 24,
            Purpose::PersonalOrder { phase } => 10 << 24 | phase,
            Purpose::Plugin { position, stream } => 6 << 24 | u32::from(position) << 16 | u32::from(stream),
        }
    }
}

/// Ten rounds of Philox4x32 on one 128-bit counter under a 64-bit key.
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let p0 = u64::from(counter[0]) * 0xD251_1F53;
        let p1 = u64::from(counter[2]) * 0xCD9E_8D57;
        counter =
            [(p1 >> 32) as u32 ^ counter[1] ^ key[0], p1 as u32, (p0 >> 32) as u32 ^ counter[3] ^ key[1], p0 as u32];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// A stream of 2³⁴ words. Reading it in pieces or out of order gives the same words.
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    words: [u32; 3],
    position: u64,
}

impl Stream {
    /// `client` and `round` are 0 where they mean nothing for the purpose; both keep their low 32 bits.
    pub fn new(seed: u64, purpose: Purpose, round: u64, client: u64) -> Self {
        Stream {
            key: [seed as u32, (seed >> 32) as u32],
            words: [purpose.word(), round as u32, client as u32],
            position: 0,
        }
    }

    /// The same stream, to be read from word `position` on.
    pub fn at(mut self, position: u64) -> Self {
        self.position = position;
        self
    }

    /// The four words of block `index`.
    pub fn block(&self, index: u64) -> [u32; 4] {
        philox4x32([index as u32, self.words[0], self.words[1], self.words[2]], self.key)
    }

    pub fn next_u32(&mut self) -> u32 {
        let word = self.block(self.position / 4)[(self.position % 4) as usize];
        self.position += 1;
        word
    }

    pub fn next_u64(&mut self) -> u64 {
        let (block, word) = (self.position / 4, (self.position % 4) as usize);
        if word == 3 {
            return u64::from(self.next_u32()) | u64::from(self.next_u32()) << 32;
        }
        // Both words are in one block.
        let words = self.block(block);
        self.position += 2;
        u64::from(words[word]) | u64::from(words[word + 1]) << 32
    }

    /// Uniform in [0, 1), a multiple of 2⁻⁵³.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform integer below `bound`, unbiased (Lemire's multiplication with rejection). `bound` must be positive.
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        loop {
            let wide = u128::from(self.next_u64()) * u128::from(bound);
            // The threshold is below the bound, so most draws need not divide to find it.
            if wide as u64 >= bound || wide as u64 >= bound.wrapping_neg() % bound {
                return (wide >> 64) as u64;
            }
        }
    }

    /// Standard normal by Box–Muller, one value for two uniforms, so that value `i` never depends on value `i − 1`.
    pub fn normal(&mut self) -> f64 {
        let (u, v) = (1.0 - self.uniform(), self.uniform());
        libm::sqrt(-2.0 * libm::log(u)) * libm::cos(std::f64::consts::TAU * v)
    }

    /// Gamma(shape, 1), shape > 0, by Marsaglia and Tsang (2000); below 1 through Gamma(shape + 1)·U^(1/shape).
    /// Returned as a natural logarithm: for a small shape the value itself underflows.
    pub fn ln_gamma_variate(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let u = 1.0 - self.uniform();
            return self.ln_gamma_variate(shape + 1.0) + libm::log(u) / shape;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / libm::sqrt(9.0 * d);
        loop {
            let x = self.normal();
            let v = 1.0 + c * x;
            if v <= 0.0 {
                continue;
            }
            let v = v * v * v;
            let u = 1.0 - self.uniform();
            if libm::log(u) < 0.5 * x * x + d - d * v + d * libm::log(v) {
                return libm::log(d * v);
            }
        }
    }

    /// One draw from Dirichlet(alpha), computed from logarithms so that it sums to 1 however small alpha is.
    pub fn dirichlet(&mut self, alpha: &[f64]) -> Vec<f64> {
        let logs: Vec<f64> = alpha.iter().map(|&a| self.ln_gamma_variate(a)).collect();
        let largest = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let shares: Vec<f64> = logs.iter().map(|&l| libm::exp(l - largest)).collect();
        let sum: f64 = shares.iter().sum();
        shares.into_iter().map(|s| s / sum).collect()
    }

    /// Fisher–Yates, from the end.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }

    /// `count` distinct values of `0..n`, ascending. `count` must not exceed `n`; all values need no draw.
    /// Floyd's algorithm: time and memory O(count), whatever `n`.
    pub fn choose(&mut self, n: u64, count: usize) -> Vec<u64> {
        debug_assert!(count as u64 <= n);
        if count as u64 == n {
            return (0..n).collect();
        }
        let mut chosen = std::collections::BTreeSet::new();
        for top in n - count as u64..n {
            let pick = self.below(top + 1);
            if !chosen.insert(pick) {
                chosen.insert(top);
            }
        }
        chosen.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known-answer vectors of the Random123 distribution (kat_vectors, philox4x32-10).
    #[test]
    fn philox_gives_the_published_known_answers() {
        assert_eq!(philox4x32([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox4x32([u32::MAX; 4], [u32::MAX; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox4x32([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn a_stream_read_from_a_position_continues_the_whole_stream() {
        let stream = Stream::new(42, Purpose::Cohort, 3, 0);
        let whole: Vec<u32> = (0..20).scan(stream.clone(), |s, _| Some(s.next_u32())).collect();
        let tail: Vec<u32> = (0..13).scan(stream.clone().at(7), |s, _| Some(s.next_u32())).collect();
        assert_eq!(whole[7..], tail);
        for start in 0..8 {
            let pair = stream.clone().at(start as u64).next_u64();
            assert_eq!([pair as u32, (pair >> 32) as u32], whole[start..start + 2], "from word {start}");
        }
    }

    /// 4,096 draws of streams that differ in one word: correlations of independent ones have the standard deviation
    /// 1/64, and 5 of them are exceeded once in 1.7 million.
    #[test]
    fn streams_of_other_seeds_purposes_rounds_and_clients_are_uncorrelated() {
        let plugin = |position, stream| Purpose::Plugin { position, stream };
        let purposes = [
            Purpose::Partition,
            Purpose::TestSplit,
            Purpose::Cohort,
            Purpose::InitialWeights,
            Purpose::BatchOrder,
            Purpose::EvaluationCohort,
            Purpose::Attackers,
            Purpose::RootRows,
            Purpose::SyntheticData,
            Purpose::FeedbackTrial,
            Purpose::PersonalOrder { phase: 1 },
            Purpose::PersonalOrder { phase: 2 },
            plugin(0, 0),
            plugin(0, 1),
            plugin(1, 0),
        ];
        let mut streams: Vec<Stream> = purposes.map(|purpose| Stream::new(42, purpose, 3, 5)).into();
        streams.extend(
            [(43, 3, 5), (42, 4, 5), (42, 3, 6), (42, 5, 3), (42 << 32, 3, 5)]
                .map(|(seed, round, client)| Stream::new(seed, Purpose::Cohort, round, client)),
        );
        let centred = |mut stream: Stream| (0..4_096).map(|_| stream.uniform() - 0.5).collect::<Vec<f64>>();
        let draws: Vec<Vec<f64>> = streams.into_iter().map(centred).collect();
        for (i, a) in draws.iter().enumerate() {
            for (j, b) in draws.iter().enumerate().skip(i + 1) {
                let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                let correlation = product * 12.0 / 4_096.0;
                assert!(correlation.abs() < 5.0 / 64.0, "streams {i} and {j}: {correlation}");
            }
        }
    }

    #[test]
    fn dirichlet_moments_are_those_of_the_distribution() {
        // Mean 1/K, variance (1/K)(1 − 1/K)/(Kα + 1): 0.1 and 0.015 for K = 10, α = 0.5.
        let (k, draws) = (10, 20_000);
        let mut stream = Stream::new(7, Purpose::Partition, 0, 0);
        let (mut sum, mut sum2) = (0.0, 0.0);
        for _ in 0..draws {
            let share = stream.dirichlet(&vec![0.5; k])[3];
            sum += share;
            sum2 += share * share;
        }
        let mean = sum / draws as f64;
        let variance = sum2 / draws as f64 - mean * mean;
        assert!((mean - 0.1).abs() < 0.003, "mean {mean}");
        assert!((variance - 0.015).abs() < 0.0008, "variance {variance}");
    }

    #[test]
    fn choose_takes_distinct_values_with_equal_frequency() {
        let mut counts = [0u32; 20];
        for round in 0..20_000 {
            let picked = Stream::new(1, Purpose::Cohort, round, 0).choose(20, 5);
            assert!(picked.windows(2).all(|w| w[0] < w[1]));
            picked.iter().for_each(|&p| counts[p as usize] += 1);
        }
        // Binomial(20000, 1/4): sd 61, so 5 sd is 306.
        assert!(counts.iter().all(|&c| c.abs_diff(5_000) < 306), "{counts:?}");
    }
}
