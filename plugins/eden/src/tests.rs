use super::*;
use colla_plugin_sdk::testing::{Testbed, Vectors, close};

/// E[(z − c(z))²], the distortion of Max's quantisers: his table of 1960, N = 2, 4, 8, 16.
const DISTORTION: [f64; 4] = [0.363_380, 0.117_482, 0.034_548, 0.009_501];

fn plugin(bits: i64, unbiased: bool) -> Testbed<Eden> {
    Testbed::new(&[("bits", bits.into()), ("unbiased", unbiased.into())])
}

fn update(n: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 7_919) % 1_013) as f32 / 506.0 - 0.7 + if i == 3 { 20.0 } else { 0.0 }).collect()
}

fn square(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x).powi(2)).sum()
}

fn through(plugin: &mut Testbed<Eden>, values: &[f32]) -> Vec<f32> {
    let encoded = plugin.encode(values, values.len()).unwrap();
    plugin.decode(&encoded, &[values.len()]).unwrap()
}

/// Each centroid is the mean of the normal distribution between the borders halfway to its neighbours, Lloyd's condition:
/// with φ the density, ∫ z·φ = φ(a) − φ(b), and ∫ φ by Simpson's rule.
#[test]
fn the_centroids_are_the_fixed_point_of_lloyds_iteration() {
    let density = |z: f64| (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
    for half in CENTROIDS {
        for (i, &centroid) in half.iter().enumerate() {
            let border = |i: usize| (half[i] + half[i - 1]) / 2.0;
            let (a, b) = (if i == 0 { 0.0 } else { border(i) }, if i + 1 == half.len() { 40.0 } else { border(i + 1) });
            let h = (b - a) / 20_000.0;
            let weight = |k: usize| if k == 0 || k == 20_000 { 1.0 } else { [2.0, 4.0][k % 2] };
            let mass = (0..=20_000).map(|k| weight(k) * density(a + k as f64 * h)).sum::<f64>() * h / 3.0;
            let mean = (density(a) - density(b)) / mass;
            assert!((mean - centroid).abs() < 1e-7, "{centroid} of {}: {mean}", half.len());
        }
    }
}

#[test]
fn codes_are_those_of_the_nearest_centroid() {
    for bits in 1..=4 {
        let eden = Eden { bits, unbiased: true, rotations: 1 };
        let all: Vec<f64> = (0..1 << bits).map(|code| eden.centroid(code)).collect();
        assert!(all.is_sorted() && all.iter().eq(all.iter().rev().map(|c| -c).collect::<Vec<_>>().iter()), "{all:?}");
        for i in -4_000..4_000 {
            let y = i as f32 * 1.013e-3;
            let distance = |c: &f64| (c - f64::from(y)).abs();
            let nearest = all.iter().map(distance).fold(f64::INFINITY, f64::min);
            assert!(distance(&all[eden.code(y) as usize]) <= nearest + 1e-12, "{bits} bits: {y}");
        }
    }
}

#[test]
fn the_error_is_the_papers_for_each_number_of_bits_and_either_scale() {
    let values = update(16_384);
    for (bits, distortion) in (1..=4).zip(DISTORTION) {
        for (unbiased, expected) in [(true, 1.0 / (1.0 - distortion) - 1.0), (false, distortion)] {
            let mut plugin = plugin(bits, unbiased);
            let encoded = plugin.encode(&values, 16_384).unwrap();
            assert_eq!(encoded[0].len(), 4 + 16_384 * bits as usize / 8);
            let decoded = plugin.decode(&encoded, &[16_384]).unwrap();
            let off: Vec<f32> = decoded.iter().zip(&values).map(|(a, b)| a - b).collect();
            let error = square(&off) / square(&values);
            assert!((error / expected - 1.0).abs() < 0.04, "{bits} bits, unbiased {unbiased}: {error} for {expected}");
        }
    }
}

#[test]
fn the_mean_of_many_draws_is_the_update() {
    let (n, draws, values) = (1_000, 2_000, update(1_000));
    for bits in [1, 3] {
        let (mut sums, mut squares) = (vec![0.0f64; n], vec![0.0f64; n]);
        for round in 0..draws {
            let mut plugin = plugin(bits, true);
            plugin.circumstances(round, 5);
            for (i, got) in through(&mut plugin, &values).into_iter().enumerate() {
                sums[i] += f64::from(got);
                squares[i] += f64::from(got).powi(2);
            }
        }
        let (draws, mut worst) = (draws as f64, 0.0f64);
        for i in 0..n {
            let mean = sums[i] / draws;
            let error = ((squares[i] / draws - mean * mean) / draws).sqrt();
            worst = worst.max((mean - f64::from(values[i])).abs() / error);
        }
        // The largest of 1,000 normal deviates is above 5 once in 1,700 such tests.
        assert!(worst < 5.0, "{bits} bits: {worst} standard errors");
    }
}

#[test]
fn a_single_large_value_is_exact() {
    // One transform spreads it over coordinates of equal magnitude, which one bit describes up to the scale.
    let mut plugin = Testbed::<Eden>::new(&[("rotations", 1i64.into())]);
    let mut values = [0.0; 64];
    values[17] = -3.0;
    let decoded = through(&mut plugin, &values);
    assert!(decoded.iter().zip(values).all(|(got, sent)| (got - sent).abs() < 1e-6), "{decoded:?}");
}

#[test]
fn tiny_and_huge_updates_keep_their_precision_and_zero_ones_are_four_bytes() {
    let expected = through(&mut plugin(4, true), &update(512));
    for scale in [1e-30f32, 1e6, 1e30] {
        let scaled: Vec<f32> = update(512).iter().map(|x| x * scale).collect();
        for (got, value) in through(&mut plugin(4, true), &scaled).iter().zip(&expected) {
            assert!((got / scale - value).abs() < 1e-4, "{scale}: {got} for {value}");
        }
    }
    let encoded = plugin(2, true).encode(&[0.0; 100], 100).unwrap();
    assert_eq!(encoded, [[0; 4]]);
    assert_eq!(plugin(2, true).decode(&encoded, &[100]).unwrap(), [0.0; 100]);
}

#[test]
fn frames_are_padded_to_a_power_of_two_of_at_least_eight() {
    for (n, padded) in [(1, 8), (8, 8), (9, 16), (1_000, 1_024)] {
        let encoded = plugin(4, true).encode(&update(n), n).unwrap();
        assert_eq!(encoded[0].len(), 4 + padded / 2);
    }
}

#[test]
fn hostile_frames_are_refused_with_their_reason() {
    let check = |scale: f32, codes: &[u8], expected: &str| {
        let bytes = [&scale.to_le_bytes()[..], codes].concat();
        assert_eq!(plugin(1, true).decode(&[bytes], &[9]).unwrap_err().message, expected);
    };
    check(f32::NAN, &[0, 0], "the frame's scale is negative or not finite");
    check(-1.0, &[0, 0], "the frame's scale is negative or not finite");
    check(1.0, &[0], "the encoded piece ends early: 2 bytes wanted, 1 left");
    check(1.0, &[0, 0, 0], "the encoded piece has 1 bytes too many");
    // Sixteen centroids of magnitude 1.51 have a coordinate of at least that, however they are rotated.
    let bytes = [&f32::MAX.to_le_bytes()[..], &[0; 4]].concat();
    let error = plugin(2, true).decode(&[bytes], &[16]).unwrap_err();
    assert_eq!(error.message, "the frame's scale takes its values beyond f32");
    let error = plugin(1, true).encode(&[1.0, f32::INFINITY], 2).unwrap_err();
    assert_eq!(error.message, "the update is not finite");
}

/// `tests/vectors/methods/codecs.json`: what NumPy makes of the formulas above.
#[test]
fn what_is_decoded_is_that_of_an_independent_implementation() {
    let file = Vectors::read(include_str!("../../../tests/vectors/methods/codecs.json"));
    let values = file.floats("values");
    for case in file.cases("eden") {
        let mut plugin = Testbed::<Eden>::new(&[
            ("bits", case.i64("bits").into()),
            ("unbiased", case.bool("unbiased").into()),
            ("rotations", case.i64("rotations").into()),
        ]);
        plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
        let encoded = plugin.encode(&values, values.len()).unwrap();
        let decoded = plugin.decode(&encoded, &[values.len()]).unwrap();
        close(&decoded, &case.floats("decoded"), 1e-5);
    }
}

/// `tests/vectors/methods/public.json`: what the authors' own code, in OpenFL, makes of the same signs.
#[test]
fn what_is_decoded_is_that_of_the_authors_implementation() {
    let file = Vectors::read(include_str!("../../../tests/vectors/methods/public.json"));
    for case in file.cases("eden") {
        let values = file.floats(case.str("given"));
        let mut plugin =
            Testbed::<Eden>::new(&[("bits", case.i64("bits").into()), ("rotations", case.i64("rotations").into())]);
        plugin.circumstances(file.i64("round") as u64, file.i64("client") as u64);
        close(&through(&mut plugin, &values), &case.floats("decoded"), 1e-5);
    }
}
