use super::*;
use colla_plugin_sdk::testing::Testbed;
use colla_plugin_sdk::{Map, abi::op, abi::status};

fn plugin(server_rate: f64) -> Testbed<Scaffold> {
    Testbed::new(&[("server-learning-rate", server_rate.into())])
}

#[test]
fn a_step_of_the_client_adds_the_common_variate_and_takes_its_own_off() {
    let client = Map::new().with("round", 3u32).with("client", 17u32).with("num_examples", 42u32);
    let plan = plugin(1.0).call(op::CLIENT_BEGIN, &client).unwrap();
    let terms = [Term::Linear { slot: "c", scale: 1.0 }, Term::Linear { slot: "c_i", scale: -1.0 }];
    assert_eq!(plan, Plan::with_terms(terms).encode());
}

#[test]
fn the_new_variate_is_the_hand_computed_one() {
    // c_i = 3, c = 1, x = 10, y = 8, four steps of 0.25: c_i⁺ = 3 - 1 + 2/1 = 4. The second weight: 0 - 1 + (0 - 6)/1.
    let mut states = [vec![3.0, 0.0], vec![1.0, 1.0]];
    let vectors = plugin(1.0).client_end(&[8.0, 6.0], &[10.0, 0.0], &mut states, 1, [4.0, 1.0]).unwrap();
    assert_eq!(states[0], [4.0, -7.0]);
    assert_eq!(vectors, [[1.0, -7.0]]);
}

/// With c = cᵢ = 0 the variate is the mean gradient: y = x − Σ η·g.
#[test]
fn the_first_variate_is_the_mean_gradient() {
    let mut states = [vec![0.0], vec![0.0]];
    // Gradients 2, 4 and 6 at rate 0.5: y = 1 - 0.5·12 = -5.
    plugin(1.0).client_end(&[-5.0], &[1.0], &mut states, 1, [3.0, 1.5]).unwrap();
    assert_eq!(states[0], [4.0]);
}

#[test]
fn the_server_moves_by_the_mean_update_and_the_variate_by_the_sum_over_all_clients() {
    let mut plugin = plugin(0.5);
    // 100 clients.
    plugin.step_begin(1).unwrap();
    let mut states = [vec![2.0, 0.0]];
    let moved = plugin.step_with_sums(&[1.0, 1.0], &[4.0, -2.0], &[vec![50.0, -100.0]], &mut states).unwrap();
    assert_eq!(moved, [3.0, 0.0]);
    assert_eq!(states, [[2.5, -1.0]]);
}

#[test]
fn cutting_the_model_elsewhere_changes_nothing() {
    let values = |salt: usize| -> Vec<f32> { (0..100).map(|i| ((i * 37 + salt * 101) % 97) as f32 * 0.013).collect() };
    let end = |range: std::ops::Range<usize>| {
        let mut states = [values(1)[range.clone()].to_vec(), values(2)[range.clone()].to_vec()];
        let (local, received) = (&values(3)[range.clone()], &values(4)[range]);
        let vectors = plugin(1.0).client_end(local, received, &mut states, 1, [7.0, 0.7]).unwrap();
        (states[0].clone(), vectors[0].clone())
    };
    let (whole, left, right) = (end(0..100), end(0..33), end(33..100));
    assert_eq!(whole, ([left.0, right.0].concat(), [left.1, right.1].concat()));
}

#[test]
fn a_client_without_a_step_and_a_step_before_the_round_are_refused() {
    let mut states = [vec![0.0], vec![0.0]];
    let error = plugin(1.0).client_end(&[1.0], &[1.0], &mut states, 1, [0.0, 0.0]).unwrap_err();
    let expected = "the learning rates of the client's 0 steps do not sum to a positive, finite number; a control variate \
                    needs a step";
    assert_eq!(error.message, expected);
    let early = plugin(1.0).step_with_sums(&[1.0], &[1.0], &[vec![1.0]], &mut [vec![0.0]]).unwrap_err();
    assert_eq!(early.code, status::E_STATE);
}

#[test]
fn a_data_plane_instance_learns_the_number_of_clients_through_sync() {
    let (mut control, mut data) = (plugin(1.0), plugin(1.0));
    let reply = control.step_begin(7).unwrap();
    data.call(op::SYNC, &reply).unwrap();
    let step = |plugin: &mut Testbed<Scaffold>| {
        let mut states = [vec![1.0]];
        let moved = plugin.step_with_sums(&[1.0], &[3.0], &[vec![7.0]], &mut states).unwrap();
        (moved, states)
    };
    assert_eq!(step(&mut control), step(&mut data));
}
