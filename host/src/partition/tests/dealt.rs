//! `samples-per-client`: rows that are dealt more than once.

use super::*;
use crate::error::exit_code;

fn dealt(num_clients: usize, samples: usize) -> Config {
    Config { num_clients, samples_per_client: Some(samples), ..of_kind(PartitionKind::Iid) }
}

fn holders(partition: &Partition, rows: usize) -> Vec<usize> {
    let mut holders = vec![0; rows];
    partition.train.rows().iter().for_each(|&row| holders[row as usize] += 1);
    holders
}

#[test]
fn every_client_holds_exactly_as_many_distinct_rows_and_every_row_is_dealt_equally_often() {
    // (rows, clients, samples): few clients; passes that end inside a client; clients that hold nearly everything.
    for (rows, clients, samples) in
        [(100, 7, 10), (100, 40, 10), (103, 250, 10), (11, 500, 10), (10, 30, 10), (5, 9, 1)]
    {
        let data = even(rows as u32, 5);
        for seed in 0..4 {
            let partition = create(&Config { seed, ..dealt(clients, samples) }, &data).unwrap();
            assert!(partition.train.is_sound(clients, rows, true), "{rows}, {clients}, {samples}, seed {seed}");
            assert!(partition.train.sizes().all(|size| size == samples));
            let (least, most) = (clients * samples / rows, (clients * samples).div_ceil(rows));
            let holders = holders(&partition, rows);
            assert!(holders.iter().all(|held| (least..=most).contains(held)), "{holders:?}");
        }
    }
}

#[test]
fn dealing_every_row_once_gives_the_blocks_of_iid() {
    let data = even(100, 5);
    let sorted = |config: &Config| {
        let partition = create(config, &data).unwrap();
        let client = |client| {
            let mut rows = partition.train.client(client).to_vec();
            rows.sort_unstable();
            rows
        };
        (0..20).map(client).collect::<Vec<_>>()
    };
    assert_eq!(sorted(&dealt(20, 5)), sorted(&Config { num_clients: 20, ..of_kind(PartitionKind::Iid) }));
}

#[test]
fn the_first_clients_do_not_change_when_more_come() {
    let data = even(100, 5);
    let (few, many) = (create(&dealt(15, 10), &data).unwrap(), create(&dealt(90, 10), &data).unwrap());
    assert!((0..15).all(|client| few.train.client(client) == many.train.client(client)));
}

#[test]
fn any_two_rows_meet_equally_often() {
    // 6 rows, 2 a client, 30,000 clients: each of the 15 pairs meets 2,000 times on average, sd 43 if pairs were free.
    let partition = create(&dealt(30_000, 2), &even(6, 3)).unwrap();
    let mut pairs = [0u32; 36];
    for client in 0..30_000 {
        let [a, b] = partition.train.client(client) else { panic!("two rows") };
        pairs[(a.min(b) * 6 + a.max(b)) as usize] += 1;
    }
    let met: Vec<u32> = pairs.into_iter().filter(|&count| count > 0).collect();
    assert!(met.len() == 15 && met.iter().all(|count| count.abs_diff(2_000) < 215), "{met:?}");
}

#[test]
fn rows_may_be_held_out_of_what_was_dealt() {
    let partition = create(&Config { test_fraction: 0.3, ..dealt(50, 10) }, &even(100, 5)).unwrap();
    let Some(OwnTest::HeldOut(held)) = &partition.own_test else { panic!("held-out rows") };
    assert!(partition.train.sizes().all(|size| size == 7) && held.sizes().all(|size| size == 3));
}

#[test]
fn the_summary_says_how_many_clients_hold_a_row() {
    let data = even(100, 5);
    let text = |config: &Config| create(config, &data).unwrap().summary(&data).to_string();
    assert!(text(&dealt(167, 10)).contains("clients of a row:    mean 16.7"));
    assert!(text(&dealt(9, 10)).contains("rows not used:       10"));
}

#[test]
fn what_cannot_be_dealt_is_refused() {
    let data = even(100, 5);
    for (config, expected) in [
        (
            dealt(10, 101),
            "config `partition.samples-per-client = 101`: `labels` has 100 training rows and no client holds one twice; use a \
             value from 1 to 100",
        ),
        (
            dealt(10, 0),
            "config `partition.samples-per-client = 0`: `labels` has 100 training rows and no client holds one twice; use a \
             value from 1 to 100",
        ),
        (
            dealt(1 << 31, 2),
            "config `partition.num-clients = 2147483648`: with `samples-per-client = 2` there can be at most 2147483648 rows \
             in all; use a value from 1 to 1073741824",
        ),
        (
            Config { min_partition_size: 11, ..dealt(10, 10) },
            "config `partition.min-partition-size = 11`: every client holds `samples-per-client = 10` rows; use a value from \
             1 to 10, or leave it out",
        ),
        (
            Config { samples_per_client: Some(5), ..of_kind(PartitionKind::Shards) },
            "config `partition.samples-per-client`: kind `shards` does not use it; leave it out; `shards` uses \
             `shards-per-client`, `num-clients`, `min-partition-size`, `test-fraction`, `seed`",
        ),
    ] {
        let error = create(&config, &data).unwrap_err();
        assert_eq!((error.to_string().as_str(), exit_code(&error)), (expected, 3));
    }
}
