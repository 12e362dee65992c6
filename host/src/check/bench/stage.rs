//! Stages: normalize, compress and post, piece by piece with their measures.

use super::{Bench, DATA, part, ranges, round_message};
use crate::{
    check::inputs::Input,
    plugin::{Block, Span, StateScope, StateShape, Unit},
    stages::{OwnScan, Scan, ScanPlan, capacity, failure},
};
use anyhow::Result;
use colla_plugin_sdk::{
    Map,
    abi::{FRAME, op},
};
use std::ops::Range;

impl Bench {
    /// What APPLY makes of an update, the side headers, and what UNDO makes of it again.
    pub(super) fn normalized(&mut self, input: &Input, cut: usize) -> Result<Vec<f64>> {
        let (applied, headers) = self.apply(&input.rows[0], cut)?;
        let mut answer = super::doubles(applied.clone());
        if self.manifest.max_header > 0 {
            answer.extend(headers.iter().flatten().map(|&byte| f64::from(byte)));
            answer.extend(super::doubles(self.undo(&applied, &headers, cut)?));
        }
        Ok(answer)
    }

    /// The bytes of two updates of one client, and what the second is decoded to.
    pub(super) fn compressed(&mut self, input: &Input) -> Result<Vec<f64>> {
        let first = self.encode(&input.rows[0])?;
        let second = self.encode(&input.rows[1])?;
        let mut answer: Vec<f64> = first.iter().chain(&second).flatten().map(|&byte| f64::from(byte)).collect();
        answer.extend(super::doubles(self.decode(&second)?));
        Ok(answer)
    }

    /// POST_BEGIN, then APPLY on the aggregate.
    pub(super) fn post(&mut self, aggregate: &[f32], cut: usize) -> Result<Vec<f32>> {
        let cohort = self.cohort;
        let message = round_message(1, cohort)
            .with("accepted", cohort as i64)
            .with("sampling", "fixed")
            .with("weight_sum", cohort as f64)
            .with("max_weight", 1.0)
            .with("denominator", cohort as f64)
            .with("norm_bound", 1.0)
            .with("sensitivity", 2.0 / cohort as f64);
        let begun = self.call(op::POST_BEGIN, &message)?;
        self.sync(&begun)?;
        Ok(self.apply(aggregate, cut)?.0)
    }

    /// Whether the pieces that APPLY sees are ranges whose ends do not matter to it.
    pub fn applies_anywhere(&mut self) -> Result<bool> {
        let of_pieces = self.scan_reply()?.str("of") == Some("piece");
        Ok(self.manifest.unit == Unit::Range && self.manifest.max_header == 0 && !of_pieces)
    }

    /// SCAN_PLAN and APPLY, piece by piece, with the side header of each.
    pub fn apply(&mut self, vector: &[f32], cut: usize) -> Result<(Vec<f32>, Vec<Vec<u8>>)> {
        let mut scan = self.measured(vector)?;
        let (mut applied, mut headers, mut row) = (Vec::with_capacity(vector.len()), Vec::new(), Vec::new());
        let pieces = self.pieces(cut);
        let max_header = self.manifest.max_header;
        let side = self.data();
        let header = side.room(max_header);
        for (unit, range) in pieces.into_iter().enumerate() {
            let piece = &vector[range.clone()];
            scan.table(piece, &mut row);
            let (data, table) = (side.put(piece), side.put_table(&row));
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                table: Some(table),
                out: Some(data),
                output: (header.len > 0).then_some(header),
                ..Block::default()
            };
            let done = side.instance.block(op::APPLY, &block)?;
            applied.extend(side.instance.floats(data));
            headers.push(side.instance.bytes(header.buffer)[..done.output_len].to_vec());
        }
        Ok((applied, headers))
    }

    /// UNDO of what [`Bench::apply`] gave, or with other headers in their place.
    pub fn undo(&mut self, vector: &[f32], headers: &[Vec<u8>], cut: usize) -> Result<Vec<f32>> {
        let mut undone = Vec::with_capacity(vector.len());
        let pieces = self.pieces(cut);
        let side = self.receiver();
        for (unit, range) in pieces.into_iter().enumerate() {
            let input = side.put_bytes(headers.get(unit).map_or(&[], |header| header));
            let data = side.put(&vector[range.clone()]);
            let (offset, unit) = (range.start as u64, unit as u32);
            let block = Block { offset, unit, n: data.len, input: Some(input), out: Some(data), ..Block::default() };
            side.must_do(op::UNDO, &block)?;
            undone.extend(side.instance.floats(data));
        }
        Ok(undone)
    }

    /// SCAN_PLAN and ENCODE: the bytes of each piece. Client slots go on from where they were.
    pub fn encode(&mut self, vector: &[f32]) -> Result<Vec<Vec<u8>>> {
        let mut scan = self.measured(vector)?;
        let (mut encoded, mut row) = (Vec::new(), Vec::new());
        for (unit, range) in self.pieces(FRAME).into_iter().enumerate() {
            let piece = &vector[range.clone()];
            scan.table(piece, &mut row);
            let states = self.states_of(unit, &range);
            let room = capacity(self.manifest.max_encoded, piece.len());
            let side = self.data();
            let (data, table, output) = (side.put(piece), side.put_table(&row), side.room(room));
            let block = Block {
                offset: range.start as u64,
                unit: unit as u32,
                n: data.len,
                rows: &[data],
                table: Some(table),
                states: &states,
                output: Some(output),
                ..Block::default()
            };
            let done = side.instance.block(op::ENCODE, &block)?;
            encoded.push(side.instance.bytes(output.buffer)[..done.output_len].to_vec());
        }
        Ok(encoded)
    }

    /// DECODE of what [`Bench::encode`] gave, or of something else in its place.
    pub fn decode(&mut self, pieces: &[Vec<u8>]) -> Result<Vec<f32>> {
        let mut answer = Vec::with_capacity(self.layout.len());
        let ranges = self.pieces(FRAME);
        let side = self.receiver();
        for (unit, range) in ranges.into_iter().enumerate() {
            let input = side.put_bytes(pieces.get(unit).map_or(&[], |piece| piece));
            let data = side.blank(range.len());
            let (offset, unit) = (range.start as u64, unit as u32);
            let block = Block { offset, unit, n: data.len, input: Some(input), out: Some(data), ..Block::default() };
            side.must_do(op::DECODE, &block)?;
            answer.extend(side.instance.floats(data));
        }
        Ok(answer)
    }

    /// The client slots' parts for a piece; none where it has none.
    fn states_of(&self, unit: usize, range: &Range<usize>) -> Vec<Span> {
        let slots = self.slots_of(StateScope::Client);
        let of_slot = |slot: &super::Slot| match slot.declared.shape {
            StateShape::Model | StateShape::Norm => Some(part(slot.span, range)),
            StateShape::Piece => slot.pieces.get(unit).filter(|own| !own.is_empty()).map(|own| part(slot.span, own)),
        };
        slots.filter_map(of_slot).collect()
    }

    /// The measures that the plugin asks for, of a vector.
    fn measured(&mut self, vector: &[f32]) -> Result<Scan> {
        let reply = self.scan_reply()?;
        let plan = ScanPlan::from_reply(&reply, vector.len())
            .map_err(|problem| failure(&self.name, op::SCAN_PLAN, problem))?;
        if plan.table_len() > super::DOUBLES {
            let message = format!("asked for {} values of measures", plan.table_len());
            return Err(failure(&self.name, op::SCAN_PLAN, message).into());
        }
        let own = if plan.own() == 0 { Vec::new() } else { self.own_scan(plan.own(), vector)? };
        Ok(plan.scan(vector, own))
    }

    /// SCAN of a vector, which gives so many values.
    fn own_scan(&mut self, values: usize, vector: &[f32]) -> Result<Vec<f64>> {
        let instance = self.sides[DATA].instance.as_mut();
        let scan = match self.own_scan.take() {
            Some((room, scan)) if room == values => scan,
            _ => OwnScan::new(instance, &self.name, values, vector.len())?,
        };
        let answer = scan.run(instance, 0, vector);
        self.own_scan = Some((values, scan));
        answer
    }

    fn scan_reply(&mut self) -> Result<Map> {
        let message = Map::new().with("n", self.layout.len() as i64).with("vector", 0i64);
        Ok(self.data().instance.call(op::SCAN_PLAN, &message)?)
    }

    fn pieces(&self, cut: usize) -> Vec<Range<usize>> {
        match self.manifest.unit {
            Unit::Range => ranges(self.layout.len(), cut).collect(),
            Unit::Tensor => self.layout.tensors.iter().map(|t| t.offset..t.offset + t.len()).collect(),
            Unit::Whole => std::iter::once(0..self.layout.len()).collect(),
        }
    }
}
