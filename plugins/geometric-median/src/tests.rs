use super::*;
use colla_plugin_sdk::Value;
use colla_plugin_sdk::abi::status;
use colla_plugin_sdk::testing::Testbed;

fn median(parameters: &[(&str, Value)], rows: &[Vec<f32>], examples: &[f64]) -> Vec<f64> {
    Testbed::<GeometricMedian>::new(parameters).decide(rows, examples).unwrap().remove(0)
}

fn uniform(rows: &[Vec<f32>]) -> Vec<f64> {
    median(&[], rows, &vec![1.0; rows.len()])
}

fn point(coefficients: &[f64], rows: &[Vec<f32>]) -> Vec<f64> {
    let coordinate = |i: usize| coefficients.iter().zip(rows).map(|(c, row)| c * f64::from(row[i])).sum();
    (0..rows[0].len()).map(coordinate).collect()
}

/// The mean distance, from the coordinates and not from the matrix.
fn objective(point: &[f64], rows: &[Vec<f32>]) -> f64 {
    let distance = |row: &Vec<f32>| point.iter().zip(row).map(|(v, x)| (v - f64::from(*x)).powi(2)).sum::<f64>().sqrt();
    rows.iter().map(distance).sum::<f64>() / rows.len() as f64
}

/// Values from −1 to 1 without a pattern that matters.
fn scattered(k: usize, n: usize) -> Vec<Vec<f32>> {
    (0..k)
        .map(|k| (0..n).map(|i| ((i * 7_919 + k * 104_729 + i * i % 97) % 10_007) as f32 / 5_003.0 - 1.0).collect())
        .collect()
}

#[test]
fn the_median_of_a_triangle_is_its_fermat_point() {
    // Equilateral: the centre. Right-angled isosceles: t·(1, 1) with t = (3 − √3)/6.
    let height = 0.75f32.sqrt();
    let centre = uniform(&[vec![0.0, 0.0], vec![1.0, 0.0], vec![0.5, height]]);
    assert!(centre.iter().all(|c| (c - 1.0 / 3.0).abs() < 1e-7), "{centre:?}");
    let rows = [vec![0.0, 0.0], vec![1.0, 0.0], vec![0.0, 1.0]];
    let fermat = point(&uniform(&rows), &rows);
    assert!(fermat.iter().all(|x| (x - (3.0 - 3f64.sqrt()) / 6.0).abs() < 1e-8), "{fermat:?}");
}

#[test]
fn an_update_that_is_the_median_has_a_coefficient_of_exactly_one() {
    // On a line it is the median; a corner of more than 120 degrees is the Fermat point.
    assert_eq!(uniform(&[3.0, 0.0, 7.0, 1.0, 100.0].map(|x| vec![x])), [1.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(uniform(&[vec![-5.0, 1.0], vec![0.0, 0.0], vec![5.0, 1.0]]), [0.0, 1.0, 0.0]);
    // Two of three are the same: they are the majority.
    assert_eq!(uniform(&[vec![0.0, 9.0], vec![4.0, 2.0], vec![4.0, 2.0]]), [0.0, 1.0, 0.0]);
    assert_eq!(uniform(&[vec![1.0], vec![1.0]]), [1.0, 0.0]);
    assert_eq!(uniform(&[vec![0.0; 3], vec![0.0; 3], vec![0.0; 3]]), [1.0, 0.0, 0.0]);
    assert_eq!(uniform(&[vec![2.5, -1.0]]), [1.0]);
}

#[test]
fn weights_count_as_that_many_copies_of_an_update() {
    let rows = scattered(4, 6);
    let weighted = median(&[("weights", "num-examples".into())], &rows, &[3.0, 1.0, 2.0, 1.0]);
    let copies: Vec<Vec<f32>> = [0, 0, 0, 1, 2, 2, 3].map(|k: usize| rows[k].clone()).to_vec();
    let (a, b) = (point(&weighted, &rows), point(&uniform(&copies), &copies));
    assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-7), "{a:?} {b:?}");
}

#[test]
fn no_point_near_the_median_has_a_smaller_sum_of_distances() {
    for (k, n) in [(5, 40), (11, 3), (20, 200)] {
        let rows = scattered(k, n);
        let coefficients = uniform(&rows);
        assert!((coefficients.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let best = point(&coefficients, &rows);
        let least = objective(&best, &rows);
        for (i, step) in (0..n).flat_map(|i| [(i, 1e-3), (i, -1e-3), (i, 1e-4), (i, -1e-4)]) {
            let mut other = best.clone();
            other[i] += step;
            assert!(objective(&other, &rows) > least, "{k} rows of {n}: coordinate {i} by {step}");
        }
    }
}

#[test]
fn the_coefficients_follow_the_order_of_the_updates() {
    let rows = scattered(7, 20);
    let order = [4, 0, 6, 2, 1, 5, 3];
    let (plain, permuted) = (uniform(&rows), uniform(&order.map(|k| rows[k].clone())));
    for (given, &k) in permuted.iter().zip(&order) {
        assert!((given - plain[k]).abs() < 1e-8);
    }
}

#[test]
fn huge_hostile_updates_move_the_median_no_farther_than_large_ones() {
    let mut rows = scattered(9, 30);
    rows[1] = vec![1e4; 30];
    rows[7] = vec![-1e4; 30];
    let large = point(&uniform(&rows), &rows);
    rows[1] = vec![1e30; 30];
    rows[7] = vec![-1e30; 30];
    let huge = point(&uniform(&rows), &rows);
    assert!(large.iter().zip(&huge).all(|(a, b)| (a - b).abs() < 1e-3), "{large:?} {huge:?}");
    assert!(huge.iter().all(|x| x.abs() <= 1.0));
}

#[test]
fn few_iterations_stop_early_and_a_coarse_tolerance_does_too() {
    let rows = scattered(9, 30);
    let exact = objective(&point(&uniform(&rows), &rows), &rows);
    let after = |parameters: &[(&str, Value)]| objective(&point(&median(parameters, &rows, &[1.0; 9]), &rows), &rows);
    let (one, three) = (after(&[("max-iterations", 1i64.into())]), after(&[("max-iterations", 3i64.into())]));
    assert!(one > three && three > exact, "{one} {three} {exact}");
    assert_eq!(after(&[("tolerance", 1.0.into())]), after(&[("max-iterations", 2i64.into())]));
}

#[test]
fn updates_without_examples_cannot_be_weighed_by_them() {
    let mut plugin = Testbed::<GeometricMedian>::new(&[("weights", "num-examples".into())]);
    assert_eq!(plugin.decide(&scattered(3, 2), &[0.0; 3]).unwrap_err().code, status::E_NUMERIC);
}
