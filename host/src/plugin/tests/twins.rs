//! The shipped plugins do the same work, bit for bit, as WASM and as native libraries built from the same sources.
//!
//! The native ones are built here by `cargo dev plugins --native`.

use super::*;
use colla_plugin_sdk::abi::{op, table};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

/// Not a multiple of any vector width, so that remainders count too.
const N: usize = SHAPE[0] * SHAPE[1];
/// Of the model's only tensor.
const SHAPE: [usize; 2] = [17, 59];
const K: usize = 7;

/// A finite float of each sign, size and kind that updates have: zeros, subnormals, ties.
fn values(seed: u64, n: usize) -> Vec<f32> {
    let mut stream = crate::random::Stream::new(seed, crate::random::Purpose::Cohort, 0, 0);
    (0..n)
        .map(|i| match i % 11 {
            0 => 0.0,
            1 => -0.0,
            2 => f32::from_bits(stream.next_u32() & 0x807f_ffff),
            3 => (stream.below(5) as f32) - 2.0,
            _ => stream.normal() as f32,
        })
        .collect()
}

fn layout() -> Map {
    use colla_plugin_sdk::Value;
    let shape = SHAPE.map(|dimension| Value::I64(dimension as i64)).to_vec();
    let one = |value: Value| vec![value];
    Map::new()
        .with("len", N as i64)
        .with("names", one("weight".into()))
        .with("shapes", one(Value::List(shape)))
        .with("roles", one("weight".into()))
        .with("offsets", one(Value::I64(0)))
}

/// What is known of the clients, in rows of so many columns.
fn cohort(columns: usize) -> Vec<f64> {
    let row = |k: usize| [10.0 + k as f64, 5.0, 0.5, 0.0, 0.75, 0.3 * k as f64, 2.0 + k as f64];
    (0..K).flat_map(|k| row(k)[..columns].to_vec()).collect()
}

/// An instance and everything that it has answered so far.
struct Driver {
    instance: Box<dyn Instance>,
    transcript: Vec<u8>,
}

impl Driver {
    fn call(&mut self, op: u32, message: Map) -> Option<Map> {
        let reply = self.instance.call(op, &message);
        self.transcript.extend(match &reply {
            Ok(map) => map.encode(),
            Err(failure) => failure.to_string().into_bytes(),
        });
        reply.ok()
    }

    /// The block's outcome, then the contents of what it may have written.
    fn block(&mut self, op: u32, block: &Block<'_>) -> Option<Done> {
        let done = self.instance.block(op, block);
        self.transcript.extend(match &done {
            Ok(done) => format!("{done:?}").into_bytes(),
            Err(failure) => failure.to_string().into_bytes(),
        });
        for span in block.states.iter().chain(block.rows_out).copied().chain(block.out) {
            self.transcript.extend(bytemuck::cast_slice::<f32, u8>(self.instance.floats(span)));
        }
        if let Some(span) = block.mix_out {
            self.transcript.extend(bytemuck::cast_slice::<f64, u8>(self.instance.doubles(span)));
        }
        if let (Some(span), Ok(done)) = (block.output, &done) {
            self.transcript.extend(&self.instance.bytes(span.buffer)[span.start..span.start + done.output_len]);
        }
        done.ok()
    }

    fn floats(&mut self, seed: u64, n: usize) -> Span {
        let span = span(self.instance.alloc(4 * n).unwrap(), 0, n);
        self.instance.floats_mut(span).copy_from_slice(&values(seed, n));
        span
    }

    fn doubles(&mut self, values: &[f64]) -> Span {
        let span = span(self.instance.alloc(8 * values.len()).unwrap(), 0, values.len());
        self.instance.doubles_mut(span).copy_from_slice(values);
        span
    }

    fn aggregate(&mut self) {
        // Before training and after it; a rule that needs what is not there yet refuses the first.
        for columns in [table::COLUMNS, table::COLUMNS_AFTER] {
            let table = cohort(columns);
            let (places, out) = (self.doubles(&table), self.doubles(&[0.0; K]));
            self.block(op::WEIGH, &Block { k: K, table: Some(places), mix_out: Some(out), ..Block::default() });
            let weights = self.instance.doubles(out).to_vec();
            let sums = Map::new().with("weight_sum", 91.0).with("accepted", 7i64).with("cohort", 7i64);
            let sums = sums.with("num_clients", 100i64).with("expected_cohort", 7.0).with("weights", weights);
            self.call(op::DENOMINATOR, sums.with("columns", columns as i64).with("table", table));
        }
        self.decide();
        let rows: Vec<Span> = (0..K).map(|k| self.floats(k as u64, N)).collect();
        let (weights, out) = (self.doubles(&[13.0; K]), self.floats(99, N));
        self.block(
            op::REDUCE,
            &Block { n: N, rows: &rows, weights: Some(weights), out: Some(out), ..Block::default() },
        );
    }

    /// DECIDE_PLAN and DECIDE on a Gram matrix, of which the plugin sees as much as it asked for.
    fn decide(&mut self) {
        let Some(plan) = self.call(op::DECIDE_PLAN, Map::new().with("rows", K as i64)) else { return };
        let extra = plan.list("extra").unwrap_or_default().len();
        let rows: Vec<Vec<f32>> = (0..K + extra).map(|k| values(20 + k as u64, N)).collect();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let gram: Vec<f64> = rows.iter().flat_map(|a| rows.iter().map(|b| dot(a, b)).collect::<Vec<_>>()).collect();
        let rows_out = plan.i64("rows_out").unwrap_or(1) as usize;
        let (table, weights) = (self.doubles(&gram), self.doubles(&vec![13.0; rows.len()]));
        let mixing = self.doubles(&vec![f64::NAN; rows_out * rows.len()]);
        let (table, weights, mix_out) = (Some(table), Some(weights), Some(mixing));
        self.block(op::DECIDE, &Block { k: rows.len(), table, weights, mix_out, ..Block::default() });
    }

    fn attack(&mut self) {
        for classes in [2i64, 10] {
            let message = Map::new().with("round", 3i64).with("client", 5i64).with("num_examples", 9i64);
            self.call(op::ATTACK_BEGIN, message.with("num_classes", classes));
        }
        let rows: Vec<Span> = (0..K).map(|k| self.floats(k as u64, N)).collect();
        let (base, out, table) = (self.floats(30, N), self.floats(31, N), self.doubles(&[10.0, 3.0, 1.0]));
        for rows in [&rows[..], &[]] {
            let (table, base, out) = (Some(table), Some(base), Some(out));
            self.block(op::ATTACK, &Block { n: N, rows, k: rows.len(), table, base, out, ..Block::default() });
        }
    }

    fn select(&mut self) {
        let table: Vec<f64> =
            (0..20).flat_map(|k| [f64::from(k * 7 % 5), f64::from(k) / 3.0, f64::from(k % 4)]).collect();
        let (table, chosen) = (self.doubles(&table), self.doubles(&[0.0; 6]));
        self.block(op::SELECT, &Block { k: 20, table: Some(table), mix_out: Some(chosen), ..Block::default() });
    }

    fn server_step(&mut self, slots: usize, vectors: usize) {
        let begin = Map::new().with("round", 2i64).with("accepted", 7i64).with("num_clients", 100i64);
        let begin = begin.with("cohort", 7i64).with("expected_cohort", 7.0).with("denominator", 91.0);
        self.call(op::STEP_BEGIN, begin.with("weight_sum", 91.0).with("aggregate_norm2", 2.5));
        let rows: Vec<Span> = (0..=vectors).map(|row| self.floats(50 + row as u64, N)).collect();
        let (base, out) = (self.floats(2, N), self.floats(3, N));
        // Second moments are not negative.
        let states: Vec<Span> = (0..slots).map(|slot| self.floats(10 + slot as u64, N)).collect();
        for &state in &states {
            self.instance.floats_mut(state).iter_mut().for_each(|value| *value = value.abs());
        }
        let block = Block { n: N, rows: &rows, base: Some(base), states: &states, out: Some(out), ..Block::default() };
        self.block(op::STEP, &block);
    }

    fn client(&mut self, slots: usize, vectors: usize) {
        let begin = Map::new().with("round", 2i64).with("client", 3i64).with("num_examples", 40i64);
        self.call(op::CLIENT_BEGIN, begin.with("broadcast", Map::new()));
        let (local, received) = (self.floats(1, N), self.floats(2, N));
        let states: Vec<Span> = (0..slots).map(|slot| self.floats(10 + slot as u64, N)).collect();
        let rows_out: Vec<Span> = (0..vectors).map(|vector| self.floats(40 + vector as u64, N)).collect();
        let table = Some(self.doubles(&[40.0, 5.0, 0.5, 0.0, 0.75]));
        let (rows, base) = ([local], Some(received));
        let block = Block { n: N, rows: &rows, base, table, states: &states, rows_out: &rows_out, ..Block::default() };
        self.block(op::CLIENT_END, &block);
    }

    /// POST_BEGIN as a data-plane instance gets it, by SYNC as well.
    fn post(&mut self) {
        let begin =
            Map::new().with("round", 2i64).with("cohort", 7i64).with("accepted", 7i64).with("num_clients", 100i64);
        let begin = begin.with("expected_cohort", 7.0).with("sampling", "poisson").with("weight_sum", 91.0);
        let begin = begin.with("max_weight", 13.0).with("denominator", 91.0).with("norm_bound", 1.0);
        if let Some(reply) = self.call(op::POST_BEGIN, begin.with("sensitivity", 0.25)) {
            self.call(op::SYNC, reply);
        }
    }

    /// The measures that any of the plans may ask for, of one frame that is the whole vector.
    fn measures(&mut self, vector: &[f32]) -> Vec<f64> {
        let plan = self.call(op::SCAN_PLAN, Map::new().with("n", vector.len() as i64).with("vector", 0i64)).unwrap();
        let k = plan.i64("k").unwrap_or(1) as usize;
        let mut magnitudes: Vec<f32> = vector.iter().map(|value| value.abs()).collect();
        magnitudes.sort_by(|a, b| b.total_cmp(a));
        let above = magnitudes.iter().filter(|&&value| value > magnitudes[k - 1]).count();
        let named = |name: &str| match name {
            "norm2" => vec![vector.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()],
            "norm_inf" => vec![f64::from(magnitudes[0])],
            "sum" => vec![vector.iter().map(|&value| f64::from(value)).sum()],
            _ => vec![f64::from(magnitudes[k - 1]), (k - above) as f64, k as f64],
        };
        let names = plan.list("measures").unwrap().iter();
        let mut measures: Vec<f64> = names
            .flat_map(|name| if let colla_plugin_sdk::Value::Str(name) = name { named(name) } else { vec![] })
            .collect();
        let own = plan.i64("scan").unwrap_or(0) as usize;
        if own > 0 {
            let (frame, before, after) =
                (self.floats(5, N), self.doubles(&vec![0.0; own]), self.doubles(&vec![0.0; own]));
            let rows = &[frame];
            let block = Block { n: N, rows, table: Some(before), mix_out: Some(after), ..Block::default() };
            self.block(op::SCAN, &block).unwrap();
            measures.extend_from_slice(self.instance.doubles_mut(after));
        }
        measures
    }

    /// `state`: elements of the compressor's client slot; 0 if it has none.
    fn stage(&mut self, capacity: Option<usize>, max_header: usize, state: usize) {
        let vector = values(5, N);
        let measures = self.measures(&vector);
        let table = Some(self.doubles(&measures));
        let piece = self.floats(5, N);
        let Some(capacity) = capacity else {
            let header = (max_header > 0).then(|| span(self.instance.alloc(max_header).unwrap(), 0, max_header));
            let block = Block { n: N, table, out: Some(piece), output: header, ..Block::default() };
            if let (Some(done), Some(header)) = (self.block(op::APPLY, &block), header) {
                let input = Some(span(header.buffer, 0, done.output_len));
                self.block(op::UNDO, &Block { n: N, input, out: Some(piece), ..Block::default() });
            }
            return;
        };
        let output = span(self.instance.alloc(capacity).unwrap(), 0, capacity);
        let states: Vec<Span> = if state > 0 { vec![self.floats(60, state)] } else { Vec::new() };
        let block = Block { n: N, table, rows: &[piece], states: &states, output: Some(output), ..Block::default() };
        let encoded = self.block(op::ENCODE, &block).unwrap().output_len;
        let (input, decoded) = (span(output.buffer, 0, encoded), self.floats(6, N));
        self.block(op::DECODE, &Block { n: N, input: Some(input), out: Some(decoded), ..Block::default() });
        // Bytes from the network may be anything: each form must refuse the same ones.
        for at in 0..encoded.min(40) {
            self.instance.bytes_mut(output.buffer)[at] ^= 0x55;
            self.block(op::DECODE, &Block { n: N, input: Some(input), out: Some(decoded), ..Block::default() });
        }
    }
}

/// Everything that a plugin answers when it is driven through all operations of its roles.
fn transcript(plugin: &Plugin) -> Vec<u8> {
    let mut instance = plugin.instantiate(2, 42, 20 * N).unwrap();
    instance.set_callbacks(Callbacks { run_seed: 42, position: 2, round: 2, client: 3 });
    let mut driver = Driver { instance, transcript: Vec::new() };
    let manifest = plugin.manifest();
    let layout = driver.call(op::LAYOUT, layout()).unwrap();
    let slots = |scope: StateScope| manifest.state.iter().filter(move |slot| slot.scope == scope);
    driver.call(op::ROUND_BEGIN, Map::new().with("round", 2i64));
    for role in &manifest.kinds {
        match role {
            Role::Client => {
                let broadcast = slots(StateScope::Server).filter(|slot| slot.broadcast).count();
                driver.client(slots(StateScope::Client).count() + broadcast, manifest.vectors.len());
            }
            Role::Aggregate => driver.aggregate(),
            Role::ServerStep => driver.server_step(slots(StateScope::Server).count(), manifest.vectors.len()),
            Role::Normalize => driver.stage(None, manifest.max_header, 0),
            Role::Post => {
                driver.post();
                driver.stage(None, 0, 0);
            }
            Role::Compress => {
                let max = manifest.max_encoded.unwrap();
                let of_piece = match layout.list("piece_state") {
                    Some([colla_plugin_sdk::Value::I64(elements)]) => *elements as usize,
                    _ => N,
                };
                let state = slots(StateScope::Client).next().map_or(0, |_| of_piece);
                driver.stage(Some(N * max.num / max.den + max.plus), 0, state);
            }
            Role::Mix => driver.decide(),
            Role::Attack => driver.attack(),
            Role::Select => driver.select(),
        }
    }
    driver.call(op::SAVE, Map::new());
    driver.call(99, Map::new());
    driver.transcript
}

/// Path and hash of the native form of each shipped plugin, built by the contributors' own command.
fn natives() -> BTreeMap<String, (PathBuf, String)> {
    let built = Command::new(env!("CARGO"))
        .args(["run", "--release", "--quiet", "--bin", "colla-dev", "--", "plugins", "--native"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let row = |line: &str| match line.split('\t').collect::<Vec<_>>()[..] {
        [name, hash, path] => Some((name.to_owned(), (PathBuf::from(path), hash.to_owned()))),
        _ => None,
    };
    String::from_utf8_lossy(&built.stdout).lines().filter_map(row).collect()
}

#[test]
fn wasm_and_native_forms_of_the_shipped_plugins_answer_alike_bit_for_bit() {
    let natives = natives();
    for name in shipped_names() {
        let wasm = load(&parse_spec(name).unwrap(), &[]).unwrap();
        let expected = transcript(&wasm);
        assert_eq!(expected, transcript(&wasm), "{name}: a new instance answers the same");
        let (path, hash) = natives.get(name).unwrap_or_else(|| panic!("`{name}` is built"));
        let spec = config::Plugin { path: Some(path.clone()), ..Default::default() };
        let native = load(&spec, std::slice::from_ref(hash)).unwrap();
        assert_eq!((native.form(), native.manifest()), (Form::Native, wasm.manifest()));
        let same = transcript(&native) == expected;
        assert!(same, "{name}: the forms differ; if sources changed, run `cargo dev plugins` and `--native` first");
    }
}

#[test]
fn refusals_of_wrong_network_bytes_and_unknown_operations_are_reported_alike() {
    let plugin = load(&parse_spec("topk:ratio=0.5").unwrap(), &[]).unwrap();
    let text = String::from_utf8_lossy(&transcript(&plugin)).into_owned();
    assert!(text.contains("plugin `topk`, DECODE: it failed with E_ARG"), "decoding damaged bytes is refused");
    assert!(text.contains("an unknown operation: it failed with E_UNSUPPORTED"), "unknown operations are refused");
}
