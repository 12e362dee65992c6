//! Our encodings against the committed bytes of `tests/vectors/abi/`, which an independent script wrote.

use crate::abi::RawBlock;
use crate::{Map, Plan, ScanPlan, Term, Value};
use std::mem::transmute;

const MAPS: &str = include_str!("../../../tests/vectors/abi/maps.json");
const BLOCKS: &str = include_str!("../../../tests/vectors/abi/blocks.json");
const PAGE: &str = include_str!("../../../docs/abi.md");

fn maps() -> Vec<(&'static str, Map)> {
    let list = |items: &[Value]| Value::List(items.to_vec());
    vec![
        ("empty", Map::new()),
        ("bool", Map::new().with("on", true).with("off", false)),
        (
            "i64",
            Map::new()
                .with("zero", 0i64)
                .with("minus-one", -1i64)
                .with("one", 1i64)
                .with("64", 64i64)
                .with("largest", i64::MAX)
                .with("smallest", i64::MIN),
        ),
        (
            "f64",
            Map::new().with("half", 0.5).with("third", 1.0 / 3.0).with("minus-zero", -0.0).with("inf", f64::INFINITY),
        ),
        ("str", Map::new().with("", "").with("µ", "Δ = Σ nₖ·Δₖ").with("long", "x".repeat(200))),
        ("bytes", Map::new().with("b", vec![0u8, 1, 127, 128, 255])),
        ("list", Map::new().with("l", list(&[3i64.into(), "three".into(), list(&[])]))),
        ("map", Map::new().with("m", Map::new().with("inner", Map::new()).with("x", 2.0))),
        (
            "arrays",
            Map::new()
                .with("doubles", vec![1.0, -2.5])
                .with("floats", vec![1.0f32, -2.5, 0.1])
                .with("none", Vec::<f32>::new()),
        ),
        ("plan", Plan::with_terms([Term::Prox { mu: 0.01 }, Term::ClipGrad { max_norm: 10.0 }]).encode()),
        ("scan-plan", ScanPlan::none().norm2().kth_abs(1000).encode()),
    ]
}

#[test]
fn maps_encode_to_the_committed_bytes_and_back() {
    let committed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(MAPS).unwrap();
    assert_eq!(committed.len(), maps().len());
    for (name, map) in maps() {
        let bytes = unhex(committed[name].as_str().unwrap());
        assert_eq!(map.encode(), bytes, "{name}");
        assert_eq!(Map::decode(&bytes), Some(map), "{name}");
        assert_eq!(Map::decode(&[&bytes[..], &[0]].concat()), None, "{name} with a byte too many");
        if bytes.len() > 1 {
            assert_eq!(Map::decode(&bytes[..bytes.len() - 1]), None, "{name} with a byte too few");
        }
    }
}

#[test]
fn filled_blocks_lie_in_memory_as_the_committed_bytes() {
    let committed: serde_json::Value = serde_json::from_str(BLOCKS).unwrap();
    // SAFETY: the layout has no padding (asserted beside the struct), so all bytes are initialised.
    let (small, large) = unsafe {
        (transmute::<RawBlock<u32>, [u8; 104]>(filled(104)), transmute::<RawBlock<u64>, [u8; 144]>(filled(144)))
    };
    assert_eq!(small[..], unhex(committed["block32"]["hex"].as_str().unwrap()));
    assert_eq!(large[..], unhex(committed["block64"]["hex"].as_str().unwrap()));
}

/// Rows like ``| `k` | u32 | 28 | 28 | rows |`` of the page against the script's table.
#[test]
fn the_page_gives_every_field_its_offsets() {
    let committed: serde_json::Value = serde_json::from_str(BLOCKS).unwrap();
    let section = PAGE.split("\n## ").find(|section| section.starts_with("7. The block")).unwrap();
    let mut documented = 0;
    for line in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let field = cells[1].trim_matches('`');
        for (block, cell) in [("block32", cells[3]), ("block64", cells[4])] {
            assert_eq!(committed[block]["offsets"][field].as_u64(), cell.parse().ok(), "{field} in {block}");
        }
        documented += 1;
    }
    assert_eq!(documented, committed["block32"]["offsets"].as_object().unwrap().len());
}

fn filled<P: From<u8>>(size: u32) -> RawBlock<P> {
    RawBlock {
        size,
        flags: 0,
        offset: 0x0102_0304_0506_0708,
        vector: 0x1111_1111,
        unit: 0x1212_1212,
        n: 0x1313_1313,
        k: 0x1414_1414,
        rows: 0xA1.into(),
        weights: 0xA2.into(),
        table: 0xA3.into(),
        base: 0xA4.into(),
        states: 0xA5.into(),
        out: 0xA6.into(),
        rows_out: 0xA7.into(),
        mix_out: 0xA8.into(),
        input: 0xA9.into(),
        output: 0xAA.into(),
        table_len: 0x2121_2121,
        n_states: 0x2222_2222,
        n_rows_out: 0x2323_2323,
        mix_len: 0x2424_2424,
        input_len: 0x2525_2525,
        output_cap: 0x2626_2626,
        output_len: 0x2727_2727,
        state_n: 0x2828_2828,
    }
}

fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
