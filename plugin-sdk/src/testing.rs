//! A host of a few lines, for the unit tests of plugins: `cargo test` in the plugin's crate, feature `testing`.
//!
//! A [`Testbed`] goes the whole way of a native plugin: the manifest's defaults, `colla_plugin_v1`, raw blocks, the real
//! function table. It plays the host's part for one vector: measures, pieces, capacities, random numbers.
//! It is for tests and panics where a test should fail; what the plugin answers comes back as [`Result`].

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
    plugin: PhantomData<T>,
}

#[derive(Default)]
struct TestHost {
    round: u64,
    client: u64,
    log: Vec<(u32, String)>,
}

/// The vectors of one block. `f32` vectors must be `n` long; what is empty is absent.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    pub offset: u64,
    pub n: usize,
    /// Clients where there are no rows.
    pub k: usize,
    pub rows: Vec<Vec<f32>>,
    pub weights: Vec<f64>,
    pub table: Vec<f64>,
    pub base: Vec<f32>,
    pub states: Vec<Vec<f32>>,
    pub out: Vec<f32>,
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
        let config = resolved.encode();
        let host = Box::into_raw(Box::<TestHost>::default());
        let mut context = null_mut();
        // SAFETY: the host table is static, and the pointers live through the calls.
        let (table, code) = unsafe {
            let table = &*export::native::<T>(&HOST);
            (table, (table.create)(config.as_ptr(), config.len(), host.cast(), &mut context))
        };
        let testbed = Testbed { table, context, host, capacity, plugin: PhantomData };
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
        let lists = [&mut fields.rows, &mut fields.states].map(|vectors| {
            assert!(vectors.iter().all(|vector| vector.len() == fields.n), "vectors of n elements");
            vectors.iter_mut().map(|vector| vector.as_mut_ptr().cast::<u8>()).collect::<Vec<_>>()
        });
        let [mut rows, mut states] = lists;
        let mut raw = RawBlock {
            size: size_of::<RawBlock<*mut u8>>() as u32,
            flags: 0,
            offset: fields.offset,
            vector: 0,
            unit: 0,
            n: fields.n as u32,
            k: rows.len().max(fields.k) as u32,
            rows: pointer(&mut rows),
            weights: pointer(&mut fields.weights),
            table: pointer(&mut fields.table),
            base: pointer(&mut fields.base),
            states: pointer(&mut states),
            out: pointer(&mut fields.out),
            rows_out: null_mut(),
            mix_out: pointer(&mut fields.mix_out),
            input: pointer(&mut fields.input),
            output: pointer(&mut fields.output),
            table_len: fields.table.len() as u32,
            n_states: states.len() as u32,
            n_rows_out: 0,
            mix_len: fields.mix_out.len() as u32,
            input_len: fields.input.len() as u32,
            output_cap: fields.output.len() as u32,
            output_len: 0,
            reserved: 0,
        };
        // SAFETY: every pointer is a vector's of `fields`, of the length given with it, and they are all different.
        self.checked(unsafe { (self.table.block)(self.context, operation, &mut raw) })?;
        fields.output.truncate(raw.output_len as usize);
        Ok(fields)
    }

    /// WEIGH, for clients given as (examples, steps, sum of learning rates, staleness).
    pub fn weigh(&mut self, cohort: &[[f64; abi::table::COLUMNS]]) -> Result<Vec<f64>> {
        let k = cohort.len();
        let fields = Fields { k, table: cohort.concat(), mix_out: vec![0.0; k], ..Fields::default() };
        Ok(self.block(op::WEIGH, fields)?.mix_out)
    }

    /// REDUCE over rows of equal length.
    pub fn reduce(&mut self, rows: &[Vec<f32>]) -> Result<Vec<f32>> {
        let n = rows.first().map_or(0, Vec::len);
        let fields = Fields { n, rows: rows.to_vec(), out: vec![f32::NAN; n], ..Fields::default() };
        Ok(self.block(op::REDUCE, fields)?.out)
    }

    /// STEP_BEGIN of a round in which 10 of 100 clients took part.
    pub fn step_begin(&mut self, round: u32) -> Result<Map> {
        let message = Map::new().with("round", round).with("accepted", 10u32).with("num_clients", 100u32);
        self.call(op::STEP_BEGIN, &message.with("weight_sum", 10.0).with("aggregate_norm2", 1.0))
    }

    /// STEP over a whole model; the states are updated.
    pub fn step(&mut self, weights: &[f32], update: &[f32], states: &mut [Vec<f32>]) -> Result<Vec<f32>> {
        let n = weights.len();
        let done = self.block(
            op::STEP,
            Fields {
                n,
                rows: vec![update.to_vec()],
                base: weights.to_vec(),
                states: states.to_vec(),
                out: vec![f32::NAN; n],
                ..Fields::default()
            },
        )?;
        states.clone_from_slice(&done.states);
        Ok(done.out)
    }

    /// SCAN_PLAN, then APPLY piece by piece.
    pub fn apply(&mut self, vector: &[f32], piece: usize) -> Result<Vec<f32>> {
        let mut scan = self.scan(vector)?;
        let mut applied = Vec::with_capacity(vector.len());
        for (index, values) in vector.chunks(piece).enumerate() {
            let fields =
                Fields { table: scan.of_piece(values), out: values.to_vec(), ..at(index, piece, values.len()) };
            applied.extend(self.block(op::APPLY, fields)?.out);
        }
        Ok(applied)
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

    /// DECODE of pieces with these numbers of elements, joined.
    pub fn decode(&mut self, pieces: &[Vec<u8>], sizes: &[usize]) -> Result<Vec<f32>> {
        let mut vector = Vec::new();
        for (piece, &n) in pieces.iter().zip(sizes) {
            let fields = Fields { offset: vector.len() as u64, n, ..Fields::default() };
            vector
                .extend(self.block(op::DECODE, Fields { input: piece.clone(), out: vec![f32::NAN; n], ..fields })?.out);
        }
        Ok(vector)
    }

    fn scan(&mut self, vector: &[f32]) -> Result<Scan> {
        let plan = self.call(op::SCAN_PLAN, &Map::new().with("n", vector.len() as i64).with("vector", 0i64))?;
        Ok(Scan::new(&plan, vector))
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
    Fields { offset: (index * piece) as u64, n, ..Fields::default() }
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
    /// Per measure: the values that are the same for each piece.
    values: Vec<Vec<f64>>,
    threshold: f32,
    ties_left: usize,
}

impl Scan {
    fn new(plan: &Map, vector: &[f32]) -> Self {
        let doubles = || vector.iter().map(|&x| f64::from(x));
        let mut scan = Scan { values: Vec::new(), threshold: 0.0, ties_left: 0 };
        for name in plan.list("measures").expect("`measures` is a list") {
            let Value::Str(name) = name else { panic!("a measure is a name") };
            scan.values.push(match name.as_str() {
                measure::NORM2 => vec![doubles().map(|x| x * x).sum::<f64>().sqrt()],
                measure::NORM_INF => vec![doubles().fold(0.0, |max, x| max.max(x.abs()))],
                measure::SUM => vec![doubles().sum()],
                measure::KTH_ABS => {
                    let k = plan.i64("k").expect("`k` beside `kth_abs`") as usize;
                    let mut magnitudes: Vec<f32> = vector.iter().map(|x| x.abs()).collect();
                    magnitudes.sort_by(|a, b| b.total_cmp(a));
                    scan.threshold = magnitudes[k - 1];
                    scan.ties_left = k - magnitudes.iter().filter(|&&x| x > scan.threshold).count();
                    Vec::new()
                }
                other => panic!("unknown measure `{other}`"),
            });
        }
        scan
    }

    /// `table` of the next piece.
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
