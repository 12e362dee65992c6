//! Role normalize: a transform of the update on the client, in place.

use super::{StageSpec, stage::Stage};
use crate::{client::ClientId, plugin::Block, train::Layout};
use anyhow::Result;
use colla_plugin_sdk::{Map, abi::op};

pub struct Normalizer(Stage);

impl Normalizer {
    pub fn new(spec: &StageSpec, run_seed: u64, layout: &Layout) -> Result<Self> {
        Stage::new(spec, run_seed, layout).map(Normalizer)
    }

    pub fn sync(&mut self, broadcasts: &[Map]) -> Result<()> {
        self.0.sync(broadcasts)
    }

    pub fn apply(&mut self, update: &mut [f32], round: u64, client: ClientId) -> Result<()> {
        let stage = &mut self.0;
        let mut scan = stage.begin(update, round, client);
        for unit in 0..stage.pieces.len() {
            let range = stage.pieces[unit].clone();
            let piece = &mut update[range.clone()];
            let (data, table) = stage.load(&mut scan, piece);
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                table: Some(table),
                out: Some(data),
                ..Block::default()
            };
            stage.instance.block(op::APPLY, &block)?;
            stage.store(data, op::APPLY, piece)?;
        }
        Ok(())
    }
}
