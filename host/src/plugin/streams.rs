//! The random numbers that plugins draw: `rand_fill` of both forms.
//!
//! Where in the flow: called back from a plugin, over [`crate::random::Stream`].
//! What it never does: remember anything. Element `i` of a stream depends on the run seed, the plugin's position, the
//! scope and `i` only, so a range may be drawn in any pieces, by any instance, in any form of the plugin.

use super::Callbacks;
use crate::random::{Purpose, Stream};
use colla_plugin_sdk::abi::{rand_kind, rand_scope};

/// Most elements of one call: 256 MiB.
const MAX_ELEMENTS: usize = 1 << 26;
/// Words in a stream: the block counter has 32 bits, a block four words.
const STREAM_WORDS: u64 = 1 << 34;

/// One request, as the plugin made it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub scope: u32,
    pub stream: u32,
    pub offset: u64,
    pub kind: u32,
    pub n: usize,
}

impl Request {
    /// Bytes that the request fills, four for each element. `None`: a number in it is out of range.
    pub fn bytes(&self) -> Option<usize> {
        let words = u64::try_from(self.n).ok()?.checked_add(self.offset)?.checked_mul(self.words_per_element()?)?;
        let fits = self.n <= MAX_ELEMENTS && words <= STREAM_WORDS;
        let known = self.scope <= rand_scope::CLIENT && self.stream <= u32::from(u16::MAX);
        (fits && known).then_some(self.n * 4)
    }

    fn words_per_element(&self) -> Option<u64> {
        match self.kind {
            rand_kind::U32 | rand_kind::UNIFORM => Some(1),
            rand_kind::NORMAL => Some(2),
            _ => None,
        }
    }
}

/// Fills `out`, which has [`Request::bytes`] bytes, with elements `offset..offset + n`, little-endian.
///
/// U32: word `i`. UNIFORM: `(word i >> 8)·2⁻²⁴`. NORMAL: Box–Muller in f64, `√(−2 ln u)·cos(2πv)` with
/// `u = (word 2i + 1)·2⁻³²` and `v = word 2i+1 · 2⁻³²`, rounded to f32.
pub(super) fn fill(callbacks: &Callbacks, request: &Request, out: &mut [u8]) {
    let stream = stream_of(callbacks, request);
    match request.kind {
        rand_kind::U32 => fill_words(&stream, request.offset, out, |word| word),
        rand_kind::UNIFORM => fill_words(&stream, request.offset, out, |word| uniform(word).to_bits()),
        _ => fill_normals(&stream, request.offset, out),
    }
}

/// RUN is (round 0, client 0), ROUND (round, 0), CLIENT (round, client + 1): rounds count from 1, and with the 1 a
/// round's own numbers are not those of its client 0.
fn stream_of(callbacks: &Callbacks, request: &Request) -> Stream {
    let (round, client) = match request.scope {
        rand_scope::RUN => (0, 0),
        rand_scope::ROUND => (callbacks.round, 0),
        _ => (callbacks.round, callbacks.client.wrapping_add(1)),
    };
    let purpose = Purpose::Plugin { position: callbacks.position, stream: request.stream as u16 };
    Stream::new(callbacks.run_seed, purpose, round, client)
}

fn fill_words(stream: &Stream, offset: u64, out: &mut [u8], convert: impl Fn(u32) -> u32) {
    // The first piece ends where a block ends, so that all others begin with one.
    let into_block = (offset % 4) as usize;
    let (head, rest) = out.split_at_mut(out.len().min((4 - into_block) % 4 * 4));
    let put = |piece: &mut [u8], block: u64, skip: usize| {
        let words = stream.block(block);
        piece
            .chunks_exact_mut(4)
            .zip(&words[skip..])
            .for_each(|(to, &word)| to.copy_from_slice(&convert(word).to_le_bytes()));
    };
    if !head.is_empty() {
        put(head, offset / 4, into_block);
    }
    rest.chunks_mut(16).zip(offset.div_ceil(4)..).for_each(|(piece, block)| put(piece, block, 0));
}

fn fill_normals(stream: &Stream, offset: u64, out: &mut [u8]) {
    let (head, rest) = out.split_at_mut(out.len().min((offset % 2) as usize * 4));
    let put = |to: &mut [u8], words: [u32; 2]| to.copy_from_slice(&normal(words).to_le_bytes());
    if !head.is_empty() {
        let [_, _, u, v] = stream.block(offset / 2);
        put(head, [u, v]);
    }
    for (piece, block) in rest.chunks_mut(8).zip(offset.div_ceil(2)..) {
        let [u0, v0, u1, v1] = stream.block(block);
        let (first, second) = piece.split_at_mut(4);
        put(first, [u0, v0]);
        if !second.is_empty() {
            put(second, [u1, v1]);
        }
    }
}

fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / (1u32 << 24) as f32)
}

fn normal([u, v]: [u32; 2]) -> f32 {
    const SCALE: f64 = 1.0 / (1u64 << 32) as f64;
    let u = (f64::from(u) + 1.0) * SCALE;
    let angle = std::f64::consts::TAU * (f64::from(v) * SCALE);
    ((-2.0 * libm::log(u)).sqrt() * libm::cos(angle)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALLBACKS: Callbacks = Callbacks { run_seed: 42, position: 3, round: 7, client: 11 };

    fn draw(callbacks: &Callbacks, scope: u32, offset: u64, kind: u32, n: usize) -> Vec<u8> {
        let request = Request { scope, stream: 5, offset, kind, n };
        let mut out = vec![0; request.bytes().unwrap()];
        fill(callbacks, &request, &mut out);
        out
    }

    #[test]
    fn elements_do_not_depend_on_how_their_range_is_cut() {
        for kind in [rand_kind::U32, rand_kind::UNIFORM, rand_kind::NORMAL] {
            let whole = draw(&CALLBACKS, rand_scope::CLIENT, 0, kind, 61);
            for start in 0..12 {
                for n in 0..12 {
                    let piece = draw(&CALLBACKS, rand_scope::CLIENT, start as u64, kind, n);
                    assert_eq!(piece, whole[start * 4..(start + n) * 4], "kind {kind}, {n} from {start}");
                }
            }
        }
    }

    #[test]
    fn words_are_those_of_the_hosts_stream() {
        let purpose = Purpose::Plugin { position: 3, stream: 5 };
        let mut stream = Stream::new(42, purpose, 7, 12);
        let expected: Vec<u8> = (0..10).flat_map(|_| stream.next_u32().to_le_bytes()).collect();
        assert_eq!(draw(&CALLBACKS, rand_scope::CLIENT, 0, rand_kind::U32, 10), expected);
    }

    #[test]
    fn run_round_and_client_scopes_are_different_streams_even_for_client_0() {
        let callbacks = Callbacks { client: 0, ..CALLBACKS };
        let drawn: std::collections::BTreeSet<_> =
            (0..3).map(|scope| draw(&callbacks, scope, 0, rand_kind::U32, 4)).collect();
        assert_eq!(drawn.len(), 3);
        let next_round = Callbacks { round: 8, ..callbacks };
        assert_eq!(draw(&callbacks, rand_scope::RUN, 0, 0, 4), draw(&next_round, rand_scope::RUN, 0, 0, 4));
        assert_ne!(draw(&callbacks, rand_scope::ROUND, 0, 0, 4), draw(&next_round, rand_scope::ROUND, 0, 0, 4));
    }

    #[test]
    fn box_muller_gives_the_values_computed_by_hand() {
        // u = 2⁻³², v = 0: √(64 ln 2) = 6.660437; u = 1: exactly 0; u = 1/2, v = 1/2: −√(2 ln 2) = −1.177410.
        assert!((normal([0, 0]) - 6.660_437).abs() < 1e-5);
        assert_eq!(normal([u32::MAX, 123]), 0.0);
        assert!((normal([(1 << 31) - 1, 1 << 31]) + 1.177_41).abs() < 1e-5);
        assert_eq!((uniform(0), uniform(u32::MAX), uniform(1 << 31)), (0.0, 1.0 - 1.0 / 16_777_216.0, 0.5));
    }

    #[test]
    fn normal_moments_are_those_of_the_standard_normal() {
        let bytes = draw(&CALLBACKS, rand_scope::RUN, 1, rand_kind::NORMAL, 100_000);
        let values: Vec<f64> = bytes.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect();
        let moment = |power: i32| values.iter().map(|x| x.powi(power)).sum::<f64>() / values.len() as f64;
        // Standard errors at 100,000 draws: 0.0032, 0.0045 and 0.031.
        assert!(moment(1).abs() < 0.015 && (moment(2) - 1.0).abs() < 0.02 && (moment(4) - 3.0).abs() < 0.15);
    }

    #[test]
    fn requests_out_of_range_are_refused() {
        let fine = Request { scope: 0, stream: 0, offset: 0, kind: 0, n: 4 };
        assert_eq!(fine.bytes(), Some(16));
        for wrong in [
            Request { scope: 3, ..fine },
            Request { stream: 65_536, ..fine },
            Request { kind: 3, ..fine },
            Request { n: MAX_ELEMENTS + 1, ..fine },
            Request { offset: STREAM_WORDS - 3, ..fine },
            Request { offset: u64::MAX, ..fine },
            Request { offset: STREAM_WORDS / 2 - 3, kind: rand_kind::NORMAL, ..fine },
        ] {
            assert_eq!(wrong.bytes(), None, "{wrong:?}");
        }
    }
}
