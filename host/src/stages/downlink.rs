//! Role compress downwards: the weights become bytes on the server and weights again on the clients.
//!
//! Server and clients share a replica r of the weights w. It starts at the initial weights; each round the server sends
//! w − r and everybody adds what is decoded, so clients train from r, and what one message loses is in the next one
//! (DoubleSqueeze, Tang et al., arXiv:1905.05957, has the same memory on the server). The server's own step acts on w.
//!
//! Where in the flow: before the cohort trains. A client that missed messages is charged all of them, or the plain
//! replica if that is smaller; so is one that never took part, which has nothing to add them to.
//! What it never does: touch the server's weights.

use super::{
    StageSpec,
    codec::Codec,
    failure,
    slots::ClientSlots,
    stage::{Address, Sender},
};
use crate::{client::ClientId, finite::first_not_finite, train::Layout, wire};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};
use std::collections::BTreeMap;

pub struct Downlink {
    codec: Codec,
    /// What every client that followed all messages has, P values.
    replica: Vec<f32>,
    /// w − r, then what is decoded of it.
    difference: Vec<f32>,
    /// Bytes of all messages so far.
    sent: u64,
    /// The value of `sent` when a client took part last.
    had: BTreeMap<ClientId, u64>,
}

impl Downlink {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout, initial_weights: &[f32]) -> Result<Self> {
        Ok(Downlink {
            codec: Codec::new(spec, run_seed, layout)?,
            replica: initial_weights.to_vec(),
            difference: vec![0.0; initial_weights.len()],
            sent: 0,
            had: BTreeMap::new(),
        })
    }

    /// Sends what the replica lacks of the weights, and returns the new replica.
    /// Errors: a plugin failure, also when the replica would no longer be finite.
    pub fn send(&mut self, round: u64, weights: &[f32], broadcasts: &[Map]) -> Result<&[f32]> {
        self.codec.sync(broadcasts)?;
        for ((difference, w), r) in self.difference.iter_mut().zip(weights).zip(&self.replica) {
            *difference = w - r;
        }
        // The server has no slots of a client.
        let of = Address { round, sender: Sender::Server, vector: 0 };
        self.codec.encode(&self.difference, of, &mut ClientSlots::default())?;
        self.sent += self.codec.bytes();
        self.codec.decode(&mut self.difference, of)?;
        for (r, decoded) in self.replica.iter_mut().zip(&self.difference) {
            *r += decoded;
        }
        match first_not_finite(&self.replica) {
            None => Ok(&self.replica),
            Some(index) => {
                let message =
                    format!("with it weight {index} of the clients is {}; weights must be finite", self.replica[index]);
                Err(failure(self.codec.name(), op::DECODE, message).into())
            }
        }
    }

    /// Bytes that bring a client of this round's cohort to the replica, and notes that it has it now.
    pub fn charge(&mut self, client: ClientId) -> u64 {
        let plain = wire::plain_bytes(self.replica.len());
        self.had.insert(client, self.sent).map_or(plain, |had| plain.min(self.sent - had))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config, plugin,
        train::{TensorInfo, TensorRole},
    };

    fn downlink(name: &str, parameters: &str, initial: &[f32]) -> Downlink {
        let given = config::Plugin { parameters: toml::from_str(parameters).unwrap(), ..config::Plugin::shipped(name) };
        let spec =
            StageSpec { plugin: plugin::load(&given, &[]).unwrap(), position: 0, initial_weights: initial.into() };
        let tensor = TensorInfo { name: "w".into(), shape: vec![initial.len()], role: TensorRole::Weight, offset: 0 };
        Downlink::new(&spec, 42, &Layout { tensors: vec![tensor] }, initial).unwrap()
    }

    fn values(seed: u64, len: usize) -> Vec<f32> {
        let mut stream = crate::random::Stream::new(seed, crate::random::Purpose::Cohort, 0, 0);
        (0..len).map(|_| stream.normal() as f32).collect()
    }

    /// (w − r) and r + (w − r) round once each, to half of 2⁻²³ of their results at most.
    #[test]
    fn a_lossless_message_brings_the_replica_to_the_weights_within_two_roundings() {
        let (r, w) = (values(1, 70_000), values(2, 70_000));
        let mut downlink = downlink("topk", "ratio = 1\ndirection = 'down'", &r);
        let replica = downlink.send(1, &w, &[]).unwrap();
        for ((r, w), replica) in r.iter().zip(&w).zip(replica) {
            let bound = f64::from((w - r).abs() + replica.abs()) / f64::from(1 << 24);
            assert!((f64::from(*replica) - f64::from(*w)).abs() <= bound, "{w} from {r} gives {replica}");
        }
    }

    #[test]
    fn what_one_message_loses_is_in_the_next_ones() {
        // One value of four a message: the largest first.
        let w = [4.0, -3.0, 2.0, -1.0];
        let mut downlink = downlink("topk", "ratio = 0.25\ndirection = 'down'", &[0.0; 4]);
        let expected = [[4.0, 0.0, 0.0, 0.0], [4.0, -3.0, 0.0, 0.0], [4.0, -3.0, 2.0, 0.0], w];
        for (round, expected) in (1..).zip(expected) {
            assert_eq!(downlink.send(round, &w, &[]).unwrap(), expected);
        }
    }

    #[test]
    fn a_client_is_charged_what_it_missed_or_the_plain_weights_if_they_are_smaller() {
        // A message: the length of its one piece (4), a count (4), one index (2) and one value (4).
        let message = 14;
        let plain = 4 * 10;
        let mut downlink = downlink("topk", "ratio = 0.1\ndirection = 'down'", &[0.0; 10]);
        let send = |downlink: &mut Downlink| drop(downlink.send(1, &values(1, 10), &[]).unwrap().to_vec());
        let (often, seldom) = (ClientId(0), ClientId(1));
        send(&mut downlink);
        assert_eq!((downlink.charge(often), downlink.charge(seldom)), (plain, plain), "nobody had anything");
        send(&mut downlink);
        assert_eq!(downlink.charge(often), message);
        send(&mut downlink);
        assert_eq!(downlink.charge(seldom), 2 * message);
        send(&mut downlink);
        assert_eq!(downlink.charge(often), 2 * message);
        send(&mut downlink);
        send(&mut downlink);
        assert_eq!(downlink.charge(seldom), plain, "three messages of 14 are more than 40");
    }
}
