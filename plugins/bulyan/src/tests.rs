use super::*;
use colla_plugin_sdk::Value;
use colla_plugin_sdk::abi::status;
use colla_plugin_sdk::testing::Testbed;

fn line(points: &[f32]) -> Vec<Vec<f32>> {
    points.iter().map(|&x| vec![x]).collect()
}

/// Indices of the selected updates, in the order of the rows that come out.
fn selected(parameters: &[(&str, Value)], points: &[f32]) -> Vec<usize> {
    let mixed = Testbed::<Bulyan>::new(parameters).decide(&line(points), &vec![1.0; points.len()]).unwrap();
    let of_row = |row: &Vec<f64>| {
        assert_eq!(row.iter().filter(|&&c| c != 0.0).count(), 1, "{row:?}");
        row.iter().position(|&c| c == 1.0).expect("a coefficient of exactly one")
    };
    mixed.iter().map(of_row).collect()
}

/// n = 7, f = 1, θ = 5. Scores with four neighbours: 0: 1 + 4 + 25 + 36 = 66; 1: 1 + 1 + 16 + 25 = 43; 2: 1 + 4 + 9 + 16 = 30;
/// 5: 1 + 9 + 9 + 16 = 35; 6: 1 + 4 + 16 + 25 = 46; 8: 4 + 9 + 36 + 49 = 98; 50: beyond all.
const LINE: [f32; 7] = [0.0, 1.0, 2.0, 5.0, 6.0, 8.0, 50.0];

#[test]
fn one_pass_selects_the_lowest_scores() {
    assert_eq!(selected(&[("selection", "multi-krum".into())], &LINE), [0, 1, 2, 3, 4]);
}

/// 2 goes first. Left 0, 1, 5, 6, 8, 50 with three neighbours: 0: 1 + 25 + 36; 1: 1 + 16 + 25 = 42;
/// 5: 1 + 9 + 16 = 26; 6: 1 + 4 + 25 = 30; 8: 4 + 9 + 49 = 62. 5 goes. Left 0, 1, 6, 8, 50 with two: 0: 1 + 36 = 37;
/// 1: 1 + 25 = 26; 6: 4 + 25 = 29; 8: 4 + 49. 1 goes. Left 0, 6, 8, 50 with one: 0: 36; 6: 4; 8: 4. 6 is nearer to the next
/// one, 0, and goes. Left 0, 8, 50, still with one: 0: 64; 8: 64. 8 is nearer to 50 and goes.
#[test]
fn repeated_krum_selects_the_hand_computed_ones_in_any_order() {
    assert_eq!(selected(&[], &LINE), [1, 2, 3, 4, 5]);
    let mut reversed = LINE;
    reversed.reverse();
    assert_eq!(selected(&[], &reversed), [1, 2, 3, 4, 5]);
}

/// Repeated Krum sees that the neighbours of a good update are gone; a single pass does not.
#[test]
fn the_two_selections_differ_once_near_neighbours_are_taken() {
    let points = [0.0, 0.1, 0.2, 3.0, 3.5, 4.2, 9.0, 9.9, 11.0, -7.0, -7.7];
    let parameters = |selection: &'static str| [("f", 2i64.into()), ("selection", selection.into())];
    let (paper, flower) =
        (selected(&parameters("repeated-krum"), &points), selected(&parameters("multi-krum"), &points));
    assert_eq!((paper.len(), flower.len()), (7, 7));
    assert_ne!(paper, flower);
}

#[test]
fn each_coordinate_is_the_mean_of_the_values_around_its_median() {
    let mut plugin = Testbed::<Bulyan>::new(&[]);
    // θ = 5, β = 3: around 3 lie 3, 4 and 1; around 0 lie 0, 0.5 and -1, as near as 1 and lower.
    let rows = [vec![0.0, -1.0], vec![1.0, 1.0], vec![3.0, 0.0], vec![4.0, 0.5], vec![100.0, -30.0]];
    assert_eq!(plugin.reduce(&rows).unwrap(), [8.0 / 3.0, (-1.0 + 0.0 + 0.5) / 3.0]);
}

#[test]
fn without_hostile_clients_it_is_the_mean() {
    let f = [("f", 0i64.into())];
    assert_eq!(selected(&f, &[3.0, 1.0, 2.0]), [0, 1, 2]);
    assert_eq!(Testbed::<Bulyan>::new(&f).reduce(&line(&[3.0, 1.0, 2.0])).unwrap(), [2.0]);
}

#[test]
fn huge_hostile_updates_are_not_selected() {
    let mut points = [1.0, 1.1, 0.9, 1.2, 0.8, 1.05, 0.95, 1.15, 0.85, 0.0, 0.0];
    (points[9], points[10]) = (3e38, -3e38);
    let chosen = selected(&[("f", 2i64.into())], &points);
    assert!(chosen.iter().all(|&i| i < 9), "{chosen:?}");
}

#[test]
fn ranges_of_any_length_give_the_same_values() {
    let rows: Vec<Vec<f32>> =
        (0..7).map(|k| (0..203).map(|i| ((i * 31 + k * 17) % 23) as f32 - 11.0).collect()).collect();
    let mut plugin = Testbed::<Bulyan>::new(&[]);
    let whole = plugin.reduce(&rows).unwrap();
    let mut part = |from: usize, to: usize| {
        plugin.reduce(&rows.iter().map(|row| row[from..to].to_vec()).collect::<Vec<_>>()).unwrap()
    };
    assert_eq!([part(0, 45), part(45, 203)].concat(), whole);
}

#[test]
fn too_few_updates_are_refused_with_the_numbers() {
    let refused = Testbed::<Bulyan>::new(&[("f", 2i64.into())]).decide(&line(&[0.0; 10]), &[1.0; 10]).unwrap_err();
    assert_eq!(refused.code, status::E_ARG);
    assert_eq!(refused.message, "10 updates, and `f = 2` needs at least 4f + 3 = 11; use `f` of at most 1");
    assert_eq!(Testbed::<Bulyan>::new(&[]).reduce(&line(&[0.0; 2])).unwrap_err().code, status::E_ARG);
}
