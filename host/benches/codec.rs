//! Compressors on an update of 1.66 million weights, to bytes and back: `cargo bench --bench codec`.
//!
//! Everything that an upload passes is in it: the scan for thresholds or norms, the copy into the plugin's memory, the call
//! of each frame, the check of what comes back. One thread; the counter is bytes of the update, not of the message.

use colla::client::ClientId;
use colla::plugin;
use colla::random::{Purpose, Stream};
use colla::stages::{Address, ClientSlots, Codec, Sender, StageSpec};
use colla::train::{Layout, TensorInfo, TensorRole};
use divan::{Bencher, counter::BytesCount};

const WEIGHTS: usize = 1_663_370;
const OF: Address = Address { round: 1, sender: Sender::Client(ClientId(3)), vector: 0 };

const COMPRESSORS: [&str; 4] = ["topk:ratio=0.01", "topk:ratio=0.1", "qsgd:bits=4", "qsgd:bits=8"];

fn main() {
    divan::main();
}

fn update() -> Vec<f32> {
    let mut stream = Stream::new(1, Purpose::InitialWeights, 0, 0);
    (0..WEIGHTS).map(|_| 0.01 * stream.normal() as f32).collect()
}

fn codec(compressor: &str) -> Codec {
    let spec = plugin::parse_spec(compressor).expect("a plugin and its parameters");
    let plugin = plugin::load(&spec, &[]).expect("a shipped plugin");
    let spec = StageSpec { plugin, position: 0, initial_weights: vec![0.0; WEIGHTS].into() };
    let tensor = TensorInfo { name: "w".into(), shape: vec![WEIGHTS], role: TensorRole::Weight, offset: 0 };
    Codec::new(&spec, 1, &Layout { tensors: vec![tensor] }).expect("both sides")
}

#[divan::bench(args = COMPRESSORS, sample_count = 30)]
fn encode(bencher: Bencher, compressor: &str) {
    let (update, mut codec, mut none) = (update(), codec(compressor), ClientSlots::default());
    let bytes = BytesCount::of_slice(&update);
    bencher.counter(bytes).bench_local(|| codec.encode(&update, OF, &mut none).expect("a message"));
}

#[divan::bench(args = COMPRESSORS, sample_count = 30)]
fn decode(bencher: Bencher, compressor: &str) {
    let (mut update, mut codec) = (update(), codec(compressor));
    codec.encode(&update, OF, &mut ClientSlots::default()).expect("a message");
    let bytes = BytesCount::of_slice(&update);
    bencher.counter(bytes).bench_local(|| codec.decode(&mut update, OF).expect("a vector"));
}
