//! A host of a few lines, for the unit tests of plugins: `cargo test` in the plugin's crate, feature `testing`.
//!
//! A [`Testbed`] goes the whole way of a native plugin: the manifest's defaults, `colla_plugin_v1`, raw blocks, the real
//! function table. It plays the host's part for one vector: measures, pieces, capacities, random numbers.
//! It is for tests and panics where a test should fail; what the plugin answers comes back as [`Result`].

mod vectors;

pub use vectors::{Vectors, close};

use crate::abi::{self, HostV1, PluginV1, RawBlock, RawSlice, measure, op, status};
use crate::export::{self, Exported};
use crate::{Error, Map, Result, Value};
use std::marker::PhantomData;
use std::mem::size_of;
use std::ptr::null_mut;

/// One created instance of a plugin.
pub struct Testbed<T: Exported> {
    table: &'static PluginV1,
    context: *mut u8,
    host: *mut TestHost,
    capacity: Option<[usize; 3]>,
    max_header: usize,
    plugin: PhantomData<T>,
}

#[derive(Default)]
struct TestHost {
    round: u64,
    client: u64,
    log: Vec<(u32, String)>,
}

/// The vectors of one block. `f32` vectors must be `n` long, states equally long; what is empty is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fields {
    pub offset: u64,
    pub vector: u32,
    pub unit: u32,
    pub n: usize,
    /// Clients where there are no rows.
    pub k: usize,
    pub rows: Vec<Vec<f32>>,
    pub weights: Vec<f64>,
    pub table: Vec<f64>,
    pub base: Vec<f32>,
    pub states: Vec<Vec<f32>>,
    pub out: Vec<f32>,
    pub rows_out: Vec<Vec<f32>>,
    pub mix_out: Vec<f64>,
    pub input: Vec<u8>,
    /// As long as its capacity; cut to what was written.
    pub output: Vec<u8>,
}

impl<T: Exported> Testbed<T> {
    /// With the manifest's defaults, except for these parameters.
    pub fn new(parameters: &[(&str, Value)]) -> Self {
        Self::try_new(parameters).unwrap_or_else(|error| panic!("create: {error}"))
    }

    pub fn try_new(parameters: &[(&str, Value)]) -> Result<Self> {
        let manifest: serde_json::Value = serde_json::from_slice(T::MANIFEST).expect("manifest.json is JSON");
        let mut resolved = Map::new();
        for declared in manifest["params"].as_array().into_iter().flatten() {
            let name = declared["name"].as_str().expect("a parameter has a name");
            let given = parameters.iter().find(|(given, _)| *given == name).map(|(_, value)| value.clone());
            resolved = resolved.with(name, given.unwrap_or_else(|| default(declared)));
        }
        for (name, _) in parameters {
            assert!(resolved.get(name).is_some(), "the manifest has no parameter `{name}`");
        }
        let capacity = manifest["max_encoded"]
            .as_object()
            .map(|max| ["num", "den", "plus"].map(|part| max[part].as_u64().expect("a whole number") as usize));
        let max_header = manifest["max_header"].as_u64().unwrap_or(0) as usize;
        let config = resolved.encode();
        let host = Box::into_raw(Box::<TestHost>::default());
        let mut context = null_mut();
        // SAFETY: the host table is static, and the pointers live through the calls.
        let (table, code) = unsafe {
            let table = &*export::native::<T>(&HOST);
            (table, (table.create)(config.as_ptr(), config.len(), host.cast(), &mut context))
        };
        let testbed = Testbed { table, context, host, capacity, max_header, plugin: PhantomData };
        if code == status::OK { Ok(testbed) } else { Err(testbed.error(code)) }
    }

    /// Round and client of the random numbers from now on.
    pub fn circumstances(&mut self, round: u64, client: u64) {
        // SAFETY: the host is this testbed's own and not in use between calls.
        let host = unsafe { &mut *self.host };
        (host.round, host.client) = (round, client);
    }

    /// What the plugin has logged, with levels.
    pub fn log(&self) -> &[(u32, String)] {
        // SAFETY: as above.
        unsafe { &(*self.host).log }
    }

    pub fn call(&mut self, operation: u32, message: &Map) -> Result<Map> {
        let message = message.encode();
        // SAFETY: the context is this testbed's own; the pointers live through the calls.
        unsafe {
            self.checked((self.table.call)(self.context, operation, message.as_ptr(), message.len()))?;
            let reply = self.slice(self.table.reply);
            Ok(Map::decode(&reply).expect("the reply is an encoded map"))
        }
    }

    /// A data operation; returns the fields as it left them.
    pub fn block(&mut self, operation: u32, mut fields: Fields) -> Result<Fields> {
        let state_n = fields.states.first().map_or(0, Vec::len);
        let n = fields.n;
        let lists = [(&mut fields.rows, n), (&mut fields.rows_out, n), (&mut fields.states, state_n)];
        let [mut rows, mut rows_out, mut states] = lists.map(|(vectors, len)| {
            assert!(vectors.iter().all(|vector| vector.len() == len), "vectors of {len} elements");
            vectors.iter_mut().map(|vector| vector.as_mut_ptr().cast::<u8>()).collect::<Vec<_>>()
        });
        let mut raw = RawBlock {
            size: size_of::<RawBlock<*mut u8>>() as u32,
            flags: 0,
            offset: fields.offset,
            vector: fields.vector,
            unit: fields.unit,
            n: n as u32,
            k: rows.len().max(fields.k) as u32,
            rows: pointer(&mut rows),
            weights: pointer(&mut fields.weights),
            table: pointer(&mut fields.table),
            base: pointer(&mut fields.base),
            states: pointer(&mut states),
            out: pointer(&mut fields.out),
            rows_out: pointer(&mut rows_out),
            mix_out: pointer(&mut fields.mix_out),
            input: pointer(&mut fields.input),
            output: pointer(&mut fields.output),
            table_len: fields.table.len() as u32,
            n_states: states.len() as u32,
            n_rows_out: rows_out.len() as u32,
            mix_len: fields.mix_out.len() as u32,
            input_len: fields.input.len() as u32,
            output_cap: fields.output.len() as u32,
            output_len: 0,
            state_n: state_n as u32,
        };
        // SAFETY: every pointer is a vector's of `fields`, of the length given with it, and they are all different.
        self.checked(unsafe { (self.table.block)(self.context, operation, &mut raw) })?;
        fields.output.truncate(raw.output_len as usize);
        Ok(fields)
    }

    /// WEIGH, for clients given as rows of [`abi::table`].
    pub fn weigh<const COLUMNS: usize>(&mut self, cohort: &[[f64; COLUMNS]]) -> Result<Vec<f64>> {
        let k = cohort.len();
        let fields = Fields { k, table: cohort.concat(), mix_out: vec![0.0; k], ..Fields::default() };
        Ok(self.block(op::WEIGH, fields)?.mix_out)
    }

    /// DENOMINATOR after WEIGH gave `weights` for this cohort, all of which took part, of 100 clients.
    pub fn denominator<const COLUMNS: usize>(&mut self, cohort: &[[f64; COLUMNS]], weights: &[f64]) -> Result<f64> {
        let k = cohort.len() as i64;
        let message = Map::new()
            .with("weight_sum", weights.iter().sum::<f64>())
            .with("accepted", k)
            .with("cohort", k)
            .with("num_clients", 100i64)
            .with("expected_cohort", k as f64)
            .with("columns", COLUMNS as i64)
            .with("table", cohort.concat())
            .with("weights", weights.to_vec());
        let reply = self.call(op::DENOMINATOR, &message)?;
        Ok(reply.f64("denominator").expect("the reply holds `denominator`"))
    }

    /// DECIDE_PLAN, then DECIDE on the plain Gram matrix of `rows` and of the extra rows (root: the mean of the rows;
    /// previous: zeros): the mixing matrix, one list per row that comes out.
    pub fn decide(&mut self, rows: &[Vec<f32>], examples: &[f64]) -> Result<Vec<Vec<f64>>> {
        let plan = self.call(op::DECIDE_PLAN, &Map::new().with("rows", rows.len() as i64))?;
        let mut all = rows.to_vec();
        let mut weights = examples.to_vec();
        for extra in plan.list("extra").unwrap_or_default() {
            let n = rows[0].len();
            let root = (0..n).map(|i| rows.iter().map(|row| row[i]).sum::<f32>() / rows.len() as f32).collect();
            all.push(if *extra == Value::from(abi::extra_row::ROOT) { root } else { vec![0.0; n] });
            weights.push(0.0);
        }
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>();
        let table = all.iter().flat_map(|a| all.iter().map(|b| dot(a, b)).collect::<Vec<_>>()).collect();
        let rows_out = plan.i64("rows_out").expect("the reply holds `rows_out`") as usize;
        let (k, mix_out) = (all.len(), vec![0.0; rows_out * all.len()]);
        let done = self.block(op::DECIDE, Fields { k, weights, table, mix_out, ..Fields::default() })?;
        Ok(done.mix_out.chunks(k).map(<[f64]>::to_vec).collect())
    }

    /// ATTACK_BEGIN of a client with ten examples, where the data have so many classes: what each class is taken for.
    pub fn relabel(&mut self, num_classes: u64) -> Result<Vec<u64>> {
        let message = Map::new().with("round", 1i64).with("client", 0i64).with("num_examples", 10i64);
        let plan = self.call(op::ATTACK_BEGIN, &message.with("num_classes", num_classes as i64))?;
        let phases = plan.list("phases").expect("the reply is a plan");
        let map = |value: &Value| match value {
            Value::Map(map) => map.clone(),
            other => panic!("{other:?} is no map"),
        };
        let terms = phases.iter().flat_map(|phase| map(phase).list("terms").unwrap_or_default().to_vec());
        let relabel = terms.map(|term| map(&term)).find(|term| term.str("term") == Some("relabel"));
        let Some(relabel) = relabel else { return Ok((0..num_classes).collect()) };
        let label = |value: &Value| match value {
            Value::I64(label) => *label as u64,
            other => panic!("{other:?} is no label"),
        };
        Ok(relabel.list("labels").expect("the term has `labels`").iter().map(label).collect())
    }

    /// ATTACK of the first of `attackers` attackers in one piece.
    pub fn attack(&mut self, honest: &[Vec<f32>], own: &[f32], attackers: usize) -> Result<Vec<f32>> {
        let n = own.len();
        let table = vec![(honest.len() + attackers) as f64, attackers as f64, 0.0];
        let (rows, base) = (honest.to_vec(), own.to_vec());
        Ok(self.block(op::ATTACK, Fields { n, rows, base, table, out: vec![f32::NAN; n], ..Fields::default() })?.out)
    }

    /// SELECT of `size` clients, given as (examples, last loss, last round).
    pub fn select(&mut self, clients: &[[f64; abi::select_table::COLUMNS]], size: usize) -> Result<Vec<f64>> {
        let (k, table, mix_out) = (clients.len(), clients.concat(), vec![f64::NAN; size]);
        Ok(self.block(op::SELECT, Fields { k, table, mix_out, ..Fields::default() })?.mix_out)
    }

    /// REDUCE over rows of equal length.
    pub fn reduce(&mut self, rows: &[Vec<f32>]) -> Result<Vec<f32>> {
        let n = rows.first().map_or(0, Vec::len);
        let fields = Fields { n, rows: rows.to_vec(), out: vec![f32::NAN; n], ..Fields::default() };
        Ok(self.block(op::REDUCE, fields)?.out)
    }

    /// STEP_BEGIN of a round in which all 10 clients of the cohort took part, of 100.
    pub fn step_begin(&mut self, round: u32) -> Result<Map> {
        let message = Map::new()
            .with("round", round)
            .with("accepted", 10u32)
            .with("cohort", 10u32)
            .with("num_clients", 100u32)
            .with("expected_cohort", 10.0)
            .with("weight_sum", 10.0)
            .with("denominator", 10.0)
            .with("aggregate_norm2", 1.0);
        self.call(op::STEP_BEGIN, &message)
    }

    /// STEP over a whole model; the states are updated.
    pub fn step(&mut self, weights: &[f32], update: &[f32], states: &mut [Vec<f32>]) -> Result<Vec<f32>> {
        self.step_with_sums(weights, update, &[], states)
    }

    /// STEP of a plugin with vectors of its own, whose raw sums are `sums`.
    pub fn step_with_sums(
        &mut self,
        weights: &[f32],
        update: &[f32],
        sums: &[Vec<f32>],
        states: &mut [Vec<f32>],
    ) -> Result<Vec<f32>> {
        let n = weights.len();
        let rows = std::iter::once(update.to_vec()).chain(sums.iter().cloned()).collect();
        let (base, out) = (weights.to_vec(), vec![f32::NAN; n]);
        let done = self.block(op::STEP, Fields { n, rows, base, states: states.to_vec(), out, ..Fields::default() })?;
        states.clone_from_slice(&done.states);
        Ok(done.out)
    }

    /// POST_BEGIN of a round with a fixed cohort of 10 clients of 100 that count the same; `sensitivity` as the host knows it.
    pub fn post_begin(&mut self, round: u64, sensitivity: Option<f64>) -> Result<Map> {
        let message = Map::new()
            .with("round", round as i64)
            .with("accepted", 10u32)
            .with("cohort", 10u32)
            .with("num_clients", 100u32)
            .with("expected_cohort", 10.0)
            .with("sampling", "fixed")
            .with("weight_sum", 10.0)
            .with("max_weight", 1.0)
            .with("denominator", 10.0);
        let message = match sensitivity {
            Some(sensitivity) => message.with("norm_bound", 5.0 * sensitivity).with("sensitivity", sensitivity),
            None => message,
        };
        self.call(op::POST_BEGIN, &message)
    }

    /// CLIENT_END of a client with 10 examples that took `steps` steps whose learning rates sum to `lr_sum`: updates the
    /// states and returns its own vectors, of which there are `vectors`.
    pub fn client_end(
        &mut self,
        local: &[f32],
        received: &[f32],
        states: &mut [Vec<f32>],
        vectors: usize,
        [steps, lr_sum]: [f64; 2],
    ) -> Result<Vec<Vec<f32>>> {
        let n = local.len();
        let fields = Fields {
            n,
            rows: vec![local.to_vec()],
            base: received.to_vec(),
            table: vec![10.0, steps, lr_sum, 0.0, 1.0],
            states: states.to_vec(),
            rows_out: vec![vec![f32::NAN; n]; vectors],
            ..Fields::default()
        };
        let done = self.block(op::CLIENT_END, fields)?;
        states.clone_from_slice(&done.states);
        Ok(done.rows_out)
    }

    /// SCAN_PLAN, then APPLY piece by piece.
    pub fn apply(&mut self, vector: &[f32], piece: usize) -> Result<Vec<f32>> {
        Ok(self.apply_with_headers(vector, piece)?.0)
    }

    /// The same, with the side header of each piece.
    pub fn apply_with_headers(&mut self, vector: &[f32], piece: usize) -> Result<(Vec<f32>, Vec<Vec<u8>>)> {
        let mut scan = self.scan(vector)?;
        let (mut applied, mut headers) = (Vec::with_capacity(vector.len()), Vec::new());
        for (index, values) in vector.chunks(piece).enumerate() {
            let (table, output) = (scan.of_piece(values), vec![0; self.max_header]);
            let fields = Fields { table, out: values.to_vec(), output, ..at(index, piece, values.len()) };
            let done = self.block(op::APPLY, fields)?;
            applied.extend(done.out);
            headers.push(done.output);
        }
        Ok((applied, headers))
    }

    /// UNDO piece by piece.
    pub fn undo(&mut self, vector: &[f32], piece: usize, headers: &[Vec<u8>]) -> Result<Vec<f32>> {
        let mut undone = Vec::with_capacity(vector.len());
        for ((index, values), header) in vector.chunks(piece).enumerate().zip(headers) {
            let fields = Fields { out: values.to_vec(), input: header.clone(), ..at(index, piece, values.len()) };
            undone.extend(self.block(op::UNDO, fields)?.out);
        }
        Ok(undone)
    }

    /// SCAN_PLAN, then ENCODE piece by piece.
    pub fn encode(&mut self, vector: &[f32], piece: usize) -> Result<Vec<Vec<u8>>> {
        let mut scan = self.scan(vector)?;
        let [num, den, plus] = self.capacity.expect("the manifest of a compressor has `max_encoded`");
        let pieces = vector.chunks(piece).enumerate().map(|(index, values)| {
            let n = values.len();
            let (table, output) = (scan.of_piece(values), vec![0; n * num / den + plus]);
            Ok(self
                .block(op::ENCODE, Fields { table, rows: vec![values.to_vec()], output, ..at(index, piece, n) })?
                .output)
        });
        pieces.collect()
    }

    /// LAYOUT of a model of tensors with these shapes, one behind the other: the elements of a slot of shape `piece` for
    /// each tensor, where the plugin says them.
    pub fn layout(&mut self, shapes: &[&[usize]]) -> Result<Vec<usize>> {
        let sizes: Vec<usize> = shapes.iter().map(|shape| shape.iter().product()).collect();
        let number = |value: usize| Value::I64(value as i64);
        let shape = |shape: &&[usize]| Value::List(shape.iter().copied().map(number).collect());
        let offsets = sizes.iter().scan(0, |end, size| {
            *end += size;
            Some(number(*end - size))
        });
        let text = |text: String| Value::from(text);
        let message = Map::new()
            .with("len", sizes.iter().sum::<usize>() as i64)
            .with("names", (0..shapes.len()).map(|i| text(format!("tensor{i}"))).collect::<Vec<_>>())
            .with("shapes", shapes.iter().map(shape).collect::<Vec<_>>())
            .with("roles", vec![text("weight".into()); shapes.len()])
            .with("offsets", offsets.collect::<Vec<_>>());
        let reply = self.call(op::LAYOUT, &message)?;
        let elements = reply.list("piece_state").unwrap_or_default().iter();
        Ok(elements.map(|count| if let Value::I64(count) = count { *count as usize } else { 0 }).collect())
    }

    /// SCAN_PLAN, then ENCODE of pieces with these numbers of elements and these states, which are updated; a piece whose
    /// state is empty has none.
    pub fn encode_with_states(
        &mut self,
        vector: &[f32],
        sizes: &[usize],
        states: &mut [Vec<f32>],
    ) -> Result<Vec<Vec<u8>>> {
        let mut scan = self.scan(vector)?;
        let [num, den, plus] = self.capacity.expect("the manifest of a compressor has `max_encoded`");
        let mut offset = 0;
        let mut encoded = Vec::new();
        for (unit, (&n, state)) in sizes.iter().zip(states).enumerate() {
            let values = &vector[offset..offset + n];
            let own = if state.is_empty() { Vec::new() } else { vec![state.clone()] };
            let (table, output) = (scan.of_piece(values), vec![0; n * num / den + plus]);
            let fields = Fields { offset: offset as u64, unit: unit as u32, n, ..Fields::default() };
            let done =
                self.block(op::ENCODE, Fields { table, rows: vec![values.to_vec()], states: own, output, ..fields })?;
            done.states.into_iter().for_each(|own| *state = own);
            encoded.push(done.output);
            offset += n;
        }
        Ok(encoded)
    }

    /// DECODE of pieces with these numbers of elements, joined.
    pub fn decode(&mut self, pieces: &[Vec<u8>], sizes: &[usize]) -> Result<Vec<f32>> {
        let mut vector = Vec::new();
        for (unit, (piece, &n)) in pieces.iter().zip(sizes).enumerate() {
            let fields = Fields { offset: vector.len() as u64, unit: unit as u32, n, ..Fields::default() };
            vector
                .extend(self.block(op::DECODE, Fields { input: piece.clone(), out: vec![f32::NAN; n], ..fields })?.out);
        }
        Ok(vector)
    }

    /// Measures a whole vector as the plan asks, with the stage's own scan.
    fn scan(&mut self, vector: &[f32]) -> Result<Scan> {
        let plan = self.call(op::SCAN_PLAN, &Map::new().with("n", vector.len() as i64).with("vector", 0i64))?;
        let mut own = vec![0.0; plan.i64("scan").unwrap_or(0) as usize];
        for (index, frame) in vector.chunks(abi::FRAME).enumerate() {
            if own.is_empty() {
                break;
            }
            let (rows, mix_out) = (vec![frame.to_vec()], vec![f64::NAN; own.len()]);
            let fields = Fields { rows, table: own.clone(), mix_out, ..at(index, abi::FRAME, frame.len()) };
            own = self.block(op::SCAN, fields)?.mix_out;
        }
        Ok(Scan::new(plan, vector, own))
    }

    fn checked(&self, code: i32) -> Result<()> {
        if code == status::OK { Ok(()) } else { Err(self.error(code)) }
    }

    fn error(&self, code: i32) -> Error {
        let message = self.slice(self.table.last_error);
        Error { code, message: String::from_utf8(message).expect("messages are UTF-8") }
    }

    fn slice(&self, get: unsafe extern "C" fn(*mut u8, *mut RawSlice<*const u8, usize>)) -> Vec<u8> {
        let mut slice = RawSlice { ptr: std::ptr::null(), len: 0 };
        // SAFETY: the context is this testbed's own, or null after a failed create; the plugin's bytes stay until the
        // next call and are copied here.
        unsafe {
            get(self.context, &mut slice);
            std::slice::from_raw_parts(slice.ptr, slice.len).to_vec()
        }
    }
}

impl<T: Exported> Drop for Testbed<T> {
    fn drop(&mut self) {
        // SAFETY: both are this testbed's own and not used again.
        unsafe {
            (self.table.destroy)(self.context);
            drop(Box::from_raw(self.host));
        }
    }
}

fn at(index: usize, piece: usize, n: usize) -> Fields {
    Fields { offset: (index * piece) as u64, unit: index as u32, n, ..Fields::default() }
}

fn pointer<E>(vector: &mut [E]) -> *mut u8 {
    if vector.is_empty() { null_mut() } else { vector.as_mut_ptr().cast() }
}

fn default(declared: &serde_json::Value) -> Value {
    let value = &declared["default"];
    match declared["type"].as_str() {
        Some("float") => value.as_f64().map(Value::F64),
        Some("int") => value.as_i64().map(Value::I64),
        Some("bool") => value.as_bool().map(Value::Bool),
        _ => value.as_str().map(Value::from),
    }
    .unwrap_or_else(|| panic!("the default of {declared} is not of its type"))
}

/// The host's measures of one vector, the slow and obvious way.
struct Scan {
    plan: Map,
    of_pieces: bool,
    whole: Measured,
    own: Vec<f64>,
}

/// The measures of a vector or of a piece.
struct Measured {
    /// Per measure: the values that are the same for each piece; empty for `kth_abs`.
    values: Vec<Vec<f64>>,
    threshold: f32,
    ties_left: usize,
}

impl Scan {
    fn new(plan: Map, vector: &[f32], own: Vec<f64>) -> Self {
        Scan { of_pieces: plan.str("of") == Some("piece"), whole: Measured::new(&plan, vector), plan, own }
    }

    /// `table` of the next piece.
    fn of_piece(&mut self, piece: &[f32]) -> Vec<f64> {
        let mut table = match self.of_pieces {
            true => Measured::new(&self.plan, piece).of_piece(piece),
            false => self.whole.of_piece(piece),
        };
        table.extend(&self.own);
        table
    }
}

impl Measured {
    fn new(plan: &Map, vector: &[f32]) -> Self {
        let doubles = || vector.iter().map(|&x| f64::from(x));
        let mut measured = Measured { values: Vec::new(), threshold: 0.0, ties_left: 0 };
        for name in plan.list("measures").expect("`measures` is a list") {
            let Value::Str(name) = name else { panic!("a measure is a name") };
            measured.values.push(match name.as_str() {
                measure::NORM2 => vec![doubles().map(|x| x * x).sum::<f64>().sqrt()],
                measure::NORM_INF => vec![doubles().fold(0.0, |max, x| max.max(x.abs()))],
                measure::SUM => vec![doubles().sum()],
                measure::KTH_ABS => {
                    let k = (plan.i64("k").expect("`k` beside `kth_abs`") as usize).min(vector.len());
                    let mut magnitudes: Vec<f32> = vector.iter().map(|x| x.abs()).collect();
                    magnitudes.sort_by(|a, b| b.total_cmp(a));
                    measured.threshold = magnitudes[k - 1];
                    measured.ties_left = k - magnitudes.iter().filter(|&&x| x > measured.threshold).count();
                    Vec::new()
                }
                other => panic!("unknown measure `{other}`"),
            });
        }
        measured
    }

    fn of_piece(&mut self, piece: &[f32]) -> Vec<f64> {
        let mut table = Vec::new();
        for values in &self.values {
            table.extend(values);
            if values.is_empty() {
                let count = |keep: fn(f32, f32) -> bool| piece.iter().filter(|x| keep(x.abs(), self.threshold)).count();
                let ties = count(|x, t| x == t).min(self.ties_left);
                self.ties_left -= ties;
                table.extend([f64::from(self.threshold), ties as f64, (ties + count(|x, t| x > t)) as f64]);
            }
        }
        table
    }
}

pub(crate) static HOST: HostV1 = HostV1 { size: size_of::<HostV1>() as u32, abi: abi::ABI_VERSION, log, rand_fill };

unsafe extern "C" fn log(host: *mut u8, level: u32, text: *const u8, len: usize) {
    // SAFETY: the SDK passes this instance's host, and text that is readable during the call.
    let (host, text) = unsafe { (&mut *host.cast::<TestHost>(), std::slice::from_raw_parts(text, len)) };
    host.log.push((level, String::from_utf8_lossy(text).into_owned()));
}

/// Counter-based like the host's, from another generator (SplitMix64), and the sum of twelve uniforms as a normal.
unsafe extern "C" fn rand_fill(
    host: *mut u8,
    scope: u32,
    stream: u32,
    offset: u64,
    kind: u32,
    out: *mut u8,
    n: usize,
) -> i32 {
    // SAFETY: as in `log`.
    let host = unsafe { &*host.cast::<TestHost>() };
    let circumstances = match scope {
        abi::rand_scope::RUN => [0, 0],
        abi::rand_scope::ROUND => [host.round, 0],
        _ => [host.round, host.client],
    };
    let key = [u64::from(scope), u64::from(stream), circumstances[0], circumstances[1]].into_iter().fold(0, mixed);
    let uniform = |bits: u64| (bits >> 40) as f32 / (1u32 << 24) as f32;
    for index in 0..n {
        let bits = mixed(key, offset + index as u64);
        let element = match kind {
            abi::rand_kind::U32 => bits as u32,
            abi::rand_kind::UNIFORM => uniform(bits).to_bits(),
            abi::rand_kind::NORMAL => ((0..12).map(|part| uniform(mixed(bits, part))).sum::<f32>() - 6.0).to_bits(),
            _ => return status::E_ARG,
        };
        // SAFETY: `out` has room for n elements of four bytes.
        unsafe { out.cast::<u32>().add(index).write_unaligned(element) };
    }
    status::OK
}

fn mixed(state: u64, word: u64) -> u64 {
    let mut z = (state ^ word).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
