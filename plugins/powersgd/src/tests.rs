use super::*;
use colla_plugin_sdk::abi::status;
use colla_plugin_sdk::testing::{Testbed, Vectors, close};

fn plugin(rank: i64, shapes: &[&[usize]]) -> Testbed<PowerSgd> {
    let mut plugin = Testbed::new(&[("rank", rank.into())]);
    plugin.layout(shapes).unwrap();
    plugin
}

/// A matrix of this rank: the sum of outer products of vectors without a pattern.
fn matrix(rows: usize, columns: usize, rank: usize) -> Vec<f32> {
    let value = |i: usize, salt: usize| ((i * 7_919 + salt * 104_729) % 1_009) as f32 / 504.0 - 1.0;
    let entry = |i: usize, j: usize| (0..rank).map(|k| value(i, k) * value(j, k + 50)).sum();
    (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

fn norm(a: &[f32]) -> f64 {
    distance(a, &vec![0.0; a.len()])
}

/// Encoded with this state and decoded by another instance.
fn through(rank: i64, shape: &[usize], values: &[f32], state: &mut Vec<f32>) -> Vec<f32> {
    let sizes = [values.len()];
    let encoded = plugin(rank, &[shape]).encode_with_states(values, &sizes, std::slice::from_mut(state)).unwrap();
    plugin(rank, &[shape]).decode(&encoded, &sizes).unwrap()
}

#[test]
fn a_matrix_is_exact_at_its_own_rank_and_above() {
    for (of, at) in [(1, 1), (1, 2), (2, 2), (3, 3), (2, 5)] {
        let exact = matrix(20, 30, of);
        let decoded = through(at, &[20, 30], &exact, &mut vec![0.0; 30 * at as usize]);
        assert!(distance(&decoded, &exact) < 1e-5 * norm(&exact), "rank {of} at {at}");
    }
}

#[test]
fn a_rank_that_saves_nothing_sends_every_bit() {
    let values = matrix(6, 9, 6);
    // 6·9 = 54: at rank 3 the factors have 45 values, at rank 4 they would have 60.
    assert_eq!(plugin(3, &[]).layout(&[&[6, 9]]).unwrap(), [27]);
    for rank in [4, 6, 100] {
        assert_eq!(plugin(rank, &[]).layout(&[&[6, 9]]).unwrap(), [0]);
        assert_eq!(through(rank, &[6, 9], &values, &mut vec![]), values);
    }
}

#[test]
fn vectors_and_scalars_are_sent_as_they_are_and_kernels_as_matrices() {
    let shapes: [&[usize]; 4] = [&[50], &[], &[8, 4, 3, 3], &[40, 40]];
    let mut plugin = plugin(2, &shapes);
    assert_eq!(plugin.layout(&shapes).unwrap(), [0, 0, 72, 80]);
    let sizes = [50, 1, 288, 1_600];
    let values = [matrix(50, 1, 1), vec![3.5], matrix(8, 36, 2), matrix(40, 40, 2)].concat();
    let mut states = [vec![], vec![], vec![0.0; 72], vec![0.0; 80]];
    let encoded = plugin.encode_with_states(&values, &sizes, &mut states).unwrap();
    let bytes: Vec<usize> = encoded.iter().map(Vec::len).collect();
    assert_eq!(bytes, [4 * 50, 4, 4 * 2 * (8 + 36), 4 * 2 * (40 + 40)]);
    let decoded = plugin.decode(&encoded, &sizes).unwrap();
    assert_eq!(decoded[..51], values[..51]);
    assert!(distance(&decoded, &values) < 1e-5 * norm(&values));
}

/// P̂·Qᵀ = P̂·P̂ᵀ·M is a projection: what is lost is orthogonal to what is sent.
#[test]
fn what_is_sent_is_a_projection_of_the_matrix() {
    let values = matrix(25, 40, 12);
    let decoded = through(3, &[25, 40], &values, &mut vec![0.0; 120]);
    let (sent, lost, all) = (norm(&decoded), distance(&decoded, &values), norm(&values));
    assert!(lost > 0.1 * all && (sent * sent + lost * lost - all * all).abs() < 1e-5 * all * all);
}

/// The warm start is subspace iteration: on a matrix that stays the same the error falls to that of the best approximation,
/// here of diag(4, 2, 1, 1, ..) at rank 2: the other ones.
#[test]
fn the_warm_start_finds_the_largest_singular_vectors() {
    let n = 12;
    let diagonal = |i: usize| [4.0, 2.0].get(i).copied().unwrap_or(1.0);
    let values: Vec<f32> = (0..n * n).map(|at| if at / n == at % n { diagonal(at % n) } else { 0.0 }).collect();
    let mut state = vec![0.0; 2 * n];
    let errors: Vec<f64> = (0..12).map(|_| distance(&through(2, &[n, n], &values, &mut state), &values)).collect();
    let best = 10f64.sqrt();
    assert!(errors[0] > 1.05 * best, "{errors:?}");
    assert!(errors.is_sorted_by(|a, b| *b <= a + 1e-6) && (errors[11] - best).abs() < 1e-4, "{errors:?}");
}

#[test]
fn a_column_in_which_the_update_had_nothing_is_drawn_again() {
    // Whole numbers, so that the product has rank 1 to the last bit.
    let whole: Vec<f32> = (0..600).map(|at| ((at / 30 % 7) as f32 - 3.0) * ((at % 30 % 5) as f32 - 2.0)).collect();
    let mut state = vec![0.0; 60];
    through(2, &[20, 30], &whole, &mut state);
    assert!(state[..30].iter().any(|&value| value != 0.0) && state[30..].iter().all(|&value| value == 0.0));
    let exact = matrix(20, 30, 2);
    assert!(distance(&through(2, &[20, 30], &exact, &mut state), &exact) < 1e-5 * norm(&exact));
    let mut idle = vec![0.0; 60];
    assert_eq!(through(2, &[20, 30], &[0.0; 600], &mut idle), [0.0; 600]);
    assert_eq!(idle, [0.0; 60]);
}

#[test]
fn tiny_and_huge_matrices_keep_their_precision() {
    for scale in [1e-30, 1e-20, 1e20, 1e30] {
        let values: Vec<f32> = matrix(20, 30, 2).iter().map(|value| value * scale).collect();
        let decoded = through(2, &[20, 30], &values, &mut vec![0.0; 60]);
        assert!(distance(&decoded, &values) < 1e-5 * norm(&values), "{scale}");
    }
}

#[test]
fn without_a_state_every_time_is_the_first() {
    let values = matrix(20, 30, 7);
    let mut state = vec![0.0; 60];
    let first = through(2, &[20, 30], &values, &mut state);
    assert_eq!(through(2, &[20, 30], &values, &mut vec![]), first);
    assert_ne!(through(2, &[20, 30], &values, &mut state), first);
}

#[test]
fn hostile_pieces_are_refused_with_their_reason() {
    let check = |bytes: Vec<u8>, n: usize, expected: &str| {
        let error = plugin(1, &[&[4, 5]]).decode(&[bytes], &[n]).unwrap_err();
        assert_eq!(error.message, expected);
    };
    check(vec![], 20, "the encoded piece ends early: 16 bytes wanted, 0 left");
    check(vec![0; 35], 20, "the encoded piece ends early: 20 bytes wanted, 19 left");
    check(vec![0; 37], 20, "the encoded piece has 1 bytes too many");
    let poison = |at: usize| [vec![0; 4 * at], f32::NAN.to_le_bytes().to_vec(), vec![0; 4 * (8 - at)]].concat();
    check(poison(3), 20, "value 3 of 4 in the piece is not finite");
    check(poison(8), 20, "value 4 of 5 in the piece is not finite");
    check(vec![0; 36], 21, "piece 0 has 21 values, its tensor has 20");
}

#[test]
fn a_piece_before_the_layout_and_an_update_that_is_not_finite_are_refused() {
    let early = Testbed::<PowerSgd>::new(&[]).decode(&[vec![0; 4]], &[1]).unwrap_err();
    assert_eq!(early.code, status::E_STATE);
    let mut values = matrix(20, 30, 2);
    values[7] = f32::INFINITY;
    let error = plugin(2, &[&[20, 30]]).encode_with_states(&values, &[600], &mut [vec![0.0; 60]]).unwrap_err();
    assert_eq!((error.code, &error.message[..]), (status::E_NUMERIC, "the factors of piece 0 are not finite"));
}

/// `tests/vectors/methods/powersgd.json`: what NumPy makes of Algorithm 1, three updates one after another from a given Q.
#[test]
fn the_products_are_those_of_an_independent_implementation() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/vectors/methods/powersgd.json")).unwrap();
    let floats = |list: &serde_json::Value| -> Vec<f32> {
        list.as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
    };
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 2);
    for case in cases {
        let shape = [0, 1].map(|at| case["shape"][at].as_u64().unwrap() as usize);
        let mut state = floats(&case["q"]);
        for (given, expected) in case["matrices"].as_array().unwrap().iter().zip(case["decoded"].as_array().unwrap()) {
            let (given, expected) = (floats(given), floats(expected));
            let decoded = through(case["rank"].as_i64().unwrap(), &shape, &given, &mut state);
            let apart = decoded.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-5, "{shape:?}: {apart}");
            assert!(distance(&given, &expected) > 0.1 * norm(&given), "the case loses something");
        }
    }
}

/// `tests/vectors/methods/public.json`: what PyTorch's hook of DistributedDataParallel makes of updates that follow each
/// other, with error feedback, warm start and the same first Q.
#[test]
fn the_products_are_those_of_pytorchs_hook_round_after_round() {
    let file = Vectors::read(include_str!("../../../tests/vectors/methods/public.json"));
    for case in file.cases("powersgd") {
        let shape: Vec<usize> = case.integers("shape").into_iter().map(|length| length as usize).collect();
        let mut state = case.floats("q");
        let mut residual = vec![0.0; shape.iter().product()];
        for round in case.cases("rounds") {
            let given: Vec<f32> = round.floats("update").iter().zip(&residual).map(|(new, old)| new + old).collect();
            let decoded = through(case.i64("rank"), &shape, &given, &mut state);
            close(&decoded, &round.floats("decoded"), 1e-5);
            residual = given.iter().zip(&decoded).map(|(given, sent)| given - sent).collect();
            assert!(norm(&residual) > 0.1 * norm(&given), "the case loses something");
        }
    }
}
