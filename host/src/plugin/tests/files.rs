//! Files that are no plugins, damaged files, and manifests that contradict themselves.

use super::*;

#[test]
fn files_that_are_no_plugins_are_named_for_what_they_are() {
    refused(load_bytes(b""), "it is empty");
    refused(
        load_bytes(b"(module (memory 1))"),
        "it is text (it begins with `(module (memory 1))`), not a plugin binary",
    );
    refused(load_bytes("größer".repeat(200).as_bytes()), "it is text (it begins with `größergröß");
    refused(load_bytes(&[0x89, b'P', b'N', b'G', 0, 255]), "it is neither a WebAssembly module nor a shared library");
    refused(load_bytes(b"\0asm\x0d\0\x01\0rest"), "it is a WebAssembly component; plugins are core modules");
    refused(load_bytes(b"\0asm\x02\0\0\0"), "it is a WebAssembly module of an unknown version");
    refused(load_bytes(b"\0asm\x01\0"), "it is a truncated WebAssembly module");
    refused(load_bytes(&Guest::new().module()), "it has no `colla.manifest` section, so it is no plugin");
    refused(load_bytes(b"\x7fELF\x02\x01\x01\0"), "it is no readable shared library, or truncated");
    refused(load_bytes(b"MZ\0\0"), "it is no readable shared library, or truncated");
    refused(load_bytes(b"\xca\xfe\xba\xbe\0\0\0\x02"), "it holds several architectures");
    let folder = tempfile::tempdir().unwrap();
    let path = Some(folder.path().to_path_buf());
    refused(load(&config::Plugin { path, ..Default::default() }, &[]), "it is a directory");
}

#[test]
fn a_program_without_a_manifest_is_no_plugin() {
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    match PluginFile::from_bytes(program.into()) {
        Ok(file) => assert!(file.manifest().unwrap_err().contains("it has no `colla.manifest` section")),
        Err(message) => assert!(message.contains("a native plugin may have 67108864; strip it"), "{message}"),
    }
}

#[test]
fn a_file_cut_anywhere_is_refused_without_a_panic() {
    let bytes = Guest::new().bytes();
    for end in 0..bytes.len() {
        let loaded = PluginFile::from_bytes(bytes[..end].to_vec().into()).and_then(|file| file.manifest());
        assert!(loaded.is_err(), "the first {end} of {} bytes pass", bytes.len());
    }
    // With the manifest in front, the cuts reach the checks of the module. What follows the code (data, names) may be
    // absent from a valid module, so a cut between those sections is for the hash to find.
    let module = Guest::new().module();
    let mut front = with_section(module[..8].to_vec(), "colla.manifest", MANIFEST.as_bytes());
    let shift = front.len() - 8;
    front.extend_from_slice(&module[8..]);
    assert!(load_bytes(&front).is_ok());
    let sections = wasmparser::Parser::new(0).parse_all(&module).map(|payload| payload.unwrap().as_section());
    let sections: Vec<_> = sections.flatten().map(|(id, range)| (id, range.end + shift)).collect();
    let code_end = sections.iter().find(|(id, _)| *id == 10).unwrap().1;
    assert!(sections.len() >= 8);
    for end in shift + 8..front.len() {
        if end < code_end || !sections.iter().any(|(_, boundary)| *boundary == end) {
            refused(load_bytes(&front[..end]), "loading plugin");
        }
    }
}

#[test]
fn no_flipped_bit_makes_the_loader_panic() {
    let bytes = Guest::new().bytes();
    let mut survivors = 0;
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        if let Err(error) = load_bytes(&flipped) {
            assert!([3, 5].contains(&crate::error::exit_code(&error)), "byte {at}: {error}");
        } else {
            survivors += 1;
        }
    }
    // Many flips give another valid module: that is why the hash, not validity, is a plugin's identity.
    assert!(survivors > 0 && survivors < bytes.len());
}

#[test]
fn the_manifest_may_be_padded_with_zeros_but_must_be_there_once() {
    let padded = [MANIFEST.as_bytes(), &[0; 100]].concat();
    assert!(load_bytes(&with_section(Guest::new().module(), "colla.manifest", &padded)).is_ok());
    let twice = with_section(Guest::new().bytes(), "colla.manifest", MANIFEST.as_bytes());
    refused(load_bytes(&twice), "it has two `colla.manifest` sections");
    let long = with_section(Guest::new().module(), "colla.manifest", &[b' '; 70_000]);
    refused(load_bytes(&long), "its manifest has 70000 bytes; at most 65536 are read");
    refused(load_bytes(&with_section(Guest::new().module(), "colla.manifest", b"{\xff}")), "its manifest is not UTF-8");
}

/// The manifest with `from` replaced by `to` is refused with these words.
#[track_caller]
fn lie(from: &str, to: &str, words: &str) {
    assert!(MANIFEST.contains(from));
    match Manifest::parse(&MANIFEST.replace(from, to)) {
        Ok(_) => panic!("accepted: {to}"),
        Err(message) => assert!(message.contains(words), "{message}\nlacks: {words}"),
    }
}

#[test]
fn manifests_that_are_not_what_they_must_be_are_refused() {
    lie("{", "", "its manifest is not valid JSON: ");
    lie("\"abi\":\"1.0\",", "", "its manifest has no text field `abi`, for example \"1.0\"");
    lie("\"version\":\"0.1.0\",", "", "its manifest is wrong at `.`: missing field `version`");
    lie("\"summary\"", "\"sumary\"", "its manifest is wrong at `sumary`: unknown field `sumary`");
    lie(
        "\"aggregate\"",
        "\"agregate\"",
        "its manifest is wrong at `kinds[0]`: unknown variant `agregate`, expected one of",
    );
    lie("\"rows\"", "\"columns\"", "its manifest is wrong at `reduce[0]`: unknown variant `columns`, expected one of");
    lie("[\"aggregate\"]", "[]", "`kinds` is empty; name at least one role");
    lie("[\"aggregate\"]", "[\"aggregate\",\"aggregate\"]", "names a role twice");
    lie("\"guest\"", "\"Guest\"", "`name` is `Guest`; use 1 to 64 lower-case letters");
    lie("\"guest\"", "\"../guest\"", "`name` is `../guest`; use");
    lie("0.1.0", "0.1.0\\u001b[2J", "the text `0.1.0[2J` has characters that do not print");
}

#[test]
fn manifests_that_contradict_themselves_are_refused() {
    lie("[\"aggregate\"]", "[\"client\"]", "`reduce` is given, but `kinds` has no \"aggregate\"");
    lie("[\"rows\"]", "[\"rows\",\"gram\"]", "is no known combination");
    lie("[\"aggregate\"]", "[\"aggregate\",\"compress\"]", "a compressor must give `max_encoded`");
    let codec = |max: &str| format!("[\"aggregate\"],\"max_encoded\":{max}");
    lie("[\"aggregate\"]", &codec(r#"{"num":1,"den":1,"plus":0}"#), "`max_encoded` is given, but `kinds` has no");
    let codec = "[\"aggregate\",\"compress\"],\"max_encoded\":{\"num\":1,\"den\":0,\"plus\":0}";
    lie("[\"aggregate\"]", codec, "`max_encoded.den` is 0");
    lie(
        "\"default\":0.5",
        "\"default\":1.5",
        "the default of parameter `beta` is 1.5, but it must be at least 0 and at most 1",
    );
    lie("\"default\":0.5", "\"default\":true", "the default of parameter `beta` is true, but it must be a number");
    lie("\"min\":0", "\"min\":2", "parameter `beta` allows nothing: min 2, max 1");
    lie("\"min\":0,", "\"exclusive_min\":true,", "parameter `beta` excludes a bound that it does not give");
    lie("\"float\"", "\"choice\"", "parameter `beta` is no number, but has `min` or `max`");
    lie("\"doc\"", "\"choices\":[\"a\"],\"doc\"", "`choices` belong to the type \"choice\" and only to it");
    lie("\"beta\"", "\"blake3\"", "parameter `blake3` has a name that the host uses itself");
    lie("\"beta\"", "\"error-feedback\"", "parameter `error-feedback` has a name that the host uses itself");
    let beta = r#"{"name":"beta","type":"float","default":0.5,"min":0,"max":1,"doc":"d"}"#;
    lie(beta, &format!("{beta},{beta}"), "`params` has two entries named `beta`");
    let many: Vec<String> = (0..65).map(|i| beta.replace("beta", &format!("p{i}"))).collect();
    lie(beta, &many.join(","), "`params` has 65 entries; at most 64 are allowed");
    let state = |init: &str| format!(r#""state":[{{"name":"m","scope":"server","init":{init}}}],"summary""#);
    lie("\"summary\"", &state("1e99"), "state `m` belongs to the role server-step, which `kinds` does not name");
}

#[test]
fn declarations_of_state_vectors_and_stages_that_cannot_hold_are_refused() {
    let says = |kinds: &str, fields: &str, expected: &str| {
        let manifest = MANIFEST.replace("[\"aggregate\"]", kinds).replace("\"reduce\":[\"rows\"],", "");
        let manifest = manifest.replace("\"summary\"", &format!("{fields},\"summary\""));
        let answer = Manifest::parse(&manifest).err().unwrap_or_else(|| "fine".into());
        assert!(answer.contains(expected), "{answer} for {manifest}");
    };
    let state = |scope: &str, rest: &str| format!(r#""state":[{{"name":"m","scope":"{scope}"{rest}}}]"#);
    let server = |rest: &str| state("server", rest);
    let client = |rest: &str| state("client", rest);
    says(r#"["server-step"]"#, &server(r#","init":1e99"#), "state `m` starts from 1e99, which no 32-bit float holds");
    says(r#"["server-step"]"#, &server(r#","init":"gamma""#), "state `m` starts from `gamma`, which is no numeric");
    says(r#"["server-step"]"#, &server(r#","init":"beta""#), "fine");
    says(r#"["server-step"]"#, &server(r#","init":"initial-weights""#), "fine");
    says(r#"["server-step"]"#, &server(r#","init":"received-weights""#), "which the server has none of");
    says(r#"["client"]"#, &client(r#","init":"received-weights""#), "fine");
    says(r#"["client"]"#, &client(r#","broadcast":true"#), "only slots of scope server can be");
    says(r#"["client"]"#, &client(r#","shape":"piece""#), "which client slots of compressors have");
    let own = |rest: &str| client(&format!(r#","shape":"norm"{rest}"#));
    let layers = r#","requires":["normalisation-layers"]"#;
    says(r#"["client"]"#, &(own("") + layers), "fine");
    says(r#"["client"]"#, &own(""), "`requires` must name \"normalisation-layers\"");
    says(r#"["server-step"]"#, &(server(r#","shape":"norm""#) + layers), "which client slots of the role client have");
    let codec = r#","max_encoded":{"num":1,"den":1,"plus":0}"#;
    says(r#"["compress"]"#, &(own("") + layers + codec), "which client slots of the role client have");
    let both = r#""state":[{"name":"m","scope":"client"},{"name":"n","scope":"client","shape":"norm"}]"#;
    says(r#"["client"]"#, &(both.to_owned() + layers), "fine");
    says(r#"["aggregate"]"#, &client(""), "belongs to the role client or compress");
    let vectors = r#""vectors":[{"name":"delta-c"}]"#;
    says(r#"["client"]"#, vectors, "`kinds` must name both");
    says(r#"["client","server-step"]"#, vectors, "fine");
    says(r#"["client"]"#, r#""personal":"v""#, "`personal` is `v`; it must be a slot of scope client");
    says(r#"["client"]"#, r#""attacks":["training"]"#, "`attacks` is given, but `kinds` has no \"attack\"");
    says(r#"["attack"]"#, r#""attacks":["updates","updates"]"#, "names a part twice");
    says(r#"["client"]"#, r#""max_header":8"#, "`max_header` is given, but `kinds` has no \"normalize\"");
    says(r#"["normalize"]"#, r#""max_header":5000"#, "`max_header` is 5000; at most 4096 bytes");
    says(r#"["post"]"#, r#""norm":"keeps""#, "`kinds` has neither");
    says(r#"["normalize"]"#, r#""norm":"keeps","norm_bound":"beta""#, "but `norm` is not \"bounds\"");
    says(r#"["normalize"]"#, r#""norm":"bounds","norm_bound":"gamma""#, "which is no numeric parameter");
    says(r#"["normalize"]"#, r#""norm":"bounds","norm_bound":"beta""#, "fine");
    says(r#"["mix","aggregate"]"#, r#""rng":false"#, "only one of mix and aggregate");
    says(r#"["client"]"#, r#""requires":["luck"]"#, "unknown variant `luck`");
    let noise =
        |mechanism: &str, rest: &str| format!(r#""privacy":{{"mechanism":"{mechanism}","noise":"beta"{rest}}}"#);
    let bounded = r#","requires":["norm-bound","uniform-weights","fixed-denominator"]"#;
    says(r#"["post"]"#, &(noise("gaussian", "") + bounded), "fine");
    says(r#"["post"]"#, &noise("gaussian", ""), "`privacy` is given, but `requires` lacks \"norm-bound\"");
    says(r#"["client"]"#, &noise("gaussian", ""), "one of the role post, which `kinds` does not name");
    says(r#"["aggregate"]"#, &noise("count", ""), "fine");
    says(r#"["normalize"]"#, &noise("local-gaussian", ""), "fine");
    says(
        r#"["normalize"]"#,
        &noise("local-gaussian", "").replace("beta", "gamma"),
        "`privacy.noise` is `gamma`, which is no",
    );
    says(r#"["post"]"#, &(noise("tree", "") + bounded), "if and only if its mechanism is \"tree\"");
    says(r#"["aggregate"]"#, &noise("count", r#","restart":"beta""#), "if and only if its mechanism is \"tree\"");
}
