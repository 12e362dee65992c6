use super::*;
use colla_plugin_sdk::abi::{op, status};
use colla_plugin_sdk::testing::Testbed;

fn plugin(multiplier: f64, restart: i64, completion: bool) -> Testbed<DpTree> {
    Testbed::new(&[
        ("noise-multiplier", multiplier.into()),
        ("restart", restart.into()),
        ("completion", completion.into()),
    ])
}

/// The noise of one round.
fn noise(plugin: &mut Testbed<DpTree>, round: u64, n: usize) -> Vec<f32> {
    plugin.circumstances(round, 0);
    plugin.post_begin(round, Some(0.5)).unwrap();
    plugin.apply(&vec![0.0; n], n).unwrap()
}

/// How often each node is in the noise of the running sum after each round.
fn nodes_after(tree: &Tree, rounds: u64) -> Vec<std::collections::BTreeMap<u16, f64>> {
    let mut nodes = std::collections::BTreeMap::new();
    let mut after = Vec::new();
    for round in 1..=rounds {
        for change in tree.changes(round).unwrap() {
            *nodes.entry(change.node).or_insert(0.0) += change.sign;
        }
        nodes.retain(|_, count| *count != 0.0);
        after.push(nodes.clone());
    }
    after
}

#[test]
fn a_running_sum_has_the_nodes_of_its_binary_form() {
    let after = nodes_after(&Tree { rounds: 0, completed: true }, 300);
    for (index, nodes) in after.iter().enumerate() {
        let t = index as u64 + 1;
        // In-order numbers: node k of level ℓ covers the rounds k·2^ℓ + 1 ..= (k + 1)·2^ℓ.
        let expected: Vec<u16> = (0..10)
            .rev()
            .filter(|level| t >> level & 1 == 1)
            .map(|level| ((((t >> level) - 1) << (level + 1)) + (1 << level) - 1) as u16)
            .collect();
        assert!(nodes.values().all(|&count| count == 1.0) && nodes.keys().copied().eq(expected), "{t}: {nodes:?}");
    }
}

#[test]
fn rounds_of_the_small_tree_are_the_hand_computed_ones() {
    let tree = Tree { rounds: 0, completed: true };
    let check = |round, expected: &[i32]| {
        let changes = tree.changes(round).unwrap();
        let found: Vec<i32> = changes.iter().map(|change| change.sign as i32 * (i32::from(change.node) + 1)).collect();
        assert_eq!(found, expected, "round {round}");
    };
    // Numbers, plus one: leaves 1, 3, 5, 7, pairs 2 and 6, the root of four 4.
    check(1, &[1]);
    check(2, &[2, -1]);
    check(3, &[5]);
    check(4, &[4, -5, -2]);
    check(5, &[9]);
    check(8, &[8, -13, -10, -4]);
}

#[test]
fn a_restart_keeps_the_last_noise_and_completion_makes_it_one_node() {
    // Trees of 5 rounds: after round 5 the nodes of 101 in binary, or the root of eight rounds alone.
    let plain = nodes_after(&Tree { rounds: 5, completed: false }, 20);
    assert_eq!(plain[4].keys().copied().collect::<Vec<_>>(), [3, 8]);
    assert_eq!(plain[5].len(), 3);
    assert_eq!(plain[19].len(), 8);
    let completed = nodes_after(&Tree { rounds: 5, completed: true }, 20);
    assert_eq!(completed[3].keys().copied().collect::<Vec<_>>(), [3]);
    assert_eq!(completed[4].keys().copied().collect::<Vec<_>>(), [7]);
    assert_eq!(completed[19].keys().copied().collect::<Vec<_>>(), [7, 23, 39, 55]);
    // A tree of a power of two is complete by itself.
    let four = |completed| nodes_after(&Tree { rounds: 4, completed }, 12);
    assert_eq!(four(true), four(false));
    // Trees of one round are independent noise in each.
    assert_eq!(nodes_after(&Tree { rounds: 1, completed: true }, 9)[8].len(), 9);
}

#[test]
fn the_running_sum_has_the_variance_of_its_nodes() {
    let n = 20_000;
    let mut plugin = plugin(2.0, 0, true);
    let mut sum = vec![0.0f64; n];
    for round in 1..=16u64 {
        sum.iter_mut().zip(noise(&mut plugin, round, n)).for_each(|(sum, noise)| *sum += f64::from(noise));
        let variance = sum.iter().map(|x| x * x).sum::<f64>() / n as f64;
        // σ = 2·0.5 = 1; five standard errors of a variance, √(2/n).
        let expected = f64::from(round.count_ones());
        assert!((variance / expected - 1.0).abs() < 5.0 * (2.0 / n as f64).sqrt(), "{round}: {variance}");
    }
}

#[test]
fn a_resumed_run_and_other_cuts_draw_the_same_noise() {
    let mut lived = plugin(1.0, 6, true);
    let all: Vec<Vec<f32>> = (1..=9).map(|round| noise(&mut lived, round, 3_000)).collect();
    let saved = lived.call(op::SAVE, &Map::new()).unwrap();
    let mut resumed = plugin(1.0, 6, true);
    resumed.call(op::LOAD, &saved).unwrap();
    assert_eq!(noise(&mut resumed, 9, 3_000), all[8]);
    resumed.post_begin(8, Some(0.5)).unwrap();
    assert_eq!(resumed.apply(&[0.0; 3_000], 77).unwrap(), all[7]);
    let error = resumed.post_begin(10, Some(0.25)).unwrap_err();
    assert!(error.code == status::E_STATE && error.message.contains("has changed since the tree began"), "{error}");
}

#[test]
fn a_data_plane_instance_learns_its_round_through_sync_and_no_noise_leaves_every_bit() {
    let (mut control, mut data) = (plugin(1.0, 0, true), plugin(1.0, 0, true));
    let reply = control.post_begin(3, Some(0.5)).unwrap();
    assert_eq!(data.call(op::SYNC, &reply), Ok(Map::new()));
    assert_eq!(control.apply(&[1.0; 9], 9), data.apply(&[1.0; 9], 9));
    let mut silent = plugin(0.0, 0, true);
    silent.post_begin(1, Some(0.5)).unwrap();
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&silent.apply(&[1.5, -0.0, 3e38], 2).unwrap()), bits(&[1.5, -0.0, 3e38]));
}

#[test]
fn what_cannot_be_is_refused_with_what_to_do() {
    let error = plugin(1.0, 0, true).post_begin(1, None).unwrap_err();
    assert!(error.code == status::E_STATE && error.message.contains("plugin `clip`"), "{error}");
    assert_eq!(
        plugin(1.0, 0, true).post_begin(0, Some(1.0)).unwrap_err().message,
        "rounds count from 1, this one is 0"
    );
    let early = plugin(1.0, 0, true).apply(&[1.0], 1).unwrap_err();
    assert_eq!(early.message, "the round has not begun: APPLY came before POST_BEGIN");
    assert!(Tree { rounds: 0, completed: true }.changes(32_768).is_ok());
    for (rounds, round) in [(0, 32_769), (0, 65_536), (0, 1 << 63), (100, 25_601), (3, u64::MAX)] {
        let error = Tree { rounds, completed: true }.changes(round).unwrap_err();
        assert!(error.message.contains("set `restart`"), "{error}");
    }
}
