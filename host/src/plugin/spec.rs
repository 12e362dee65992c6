//! The command line's form of a plugin: `FILE` or `NAME`, then perhaps `:name=value,name=value`.
//!
//! Where in the flow: `--plugin` arguments become [`config::Plugin`] values, the same that `[[plugin]]` gives.
//! What it never does: look at files or manifests; whether a parameter exists is decided when the plugin is loaded.
//!
//! The parameters stand behind the last `:` that has no `/` behind it, so directories may contain `:`.
//! A file name with `:` is written with one more at its end: `odd:name.wasm:`.

use crate::{
    config,
    error::{Fault, Kind},
};
use anyhow::Result;

/// File endings that make an argument a path even without `/`.
const FILE_ENDINGS: [&str; 4] = [".wasm", ".so", ".dylib", ".dll"];

/// Reads one `--plugin` argument: `fedprox`, `fedprox.wasm:mu=0.1`, `./a/topk.wasm:ratio=0.01,error-feedback=true`.
///
/// Values: `true` and `false`, whole numbers, decimal numbers, and words for everything else.
/// `blake3=HEX` pins the file. Errors: [`Kind::Usage`].
pub fn parse(argument: &str) -> Result<config::Plugin> {
    let usage = |problem: String| {
        let form = "write FILE or NAME, then perhaps `:name=value,name=value`";
        Fault::new(Kind::Usage, format!("`--plugin {argument}`: {problem}; {form}"))
    };
    let (target, parameters) = split(argument);
    if target.is_empty() {
        return Err(usage("it names no plugin".into()));
    }
    if !is_path(target) && target.contains(':') {
        return Err(usage(format!("`{target}` has a second `:`; separate parameters with commas")));
    }
    let mut plugin = config::Plugin::default();
    if is_path(target) {
        plugin.path = Some(target.into());
    } else {
        plugin.name = Some(target.into());
    }
    for pair in parameters.split(',').filter(|_| !parameters.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or_else(|| usage(format!("`{pair}` is not `name=value`")))?;
        if name.is_empty() || value.is_empty() {
            return Err(usage(format!("`{pair}` lacks its name or its value")));
        }
        let given_before = match name {
            "name" | "path" => {
                return Err(usage(format!("`{name}` is no parameter; the plugin stands before the `:`")));
            }
            "blake3" => plugin.blake3.replace(value.to_string()).is_some(),
            _ => plugin.parameters.insert(name.into(), parse_value(value)).is_some(),
        };
        if given_before {
            return Err(usage(format!("`{name}` is given twice")));
        }
    }
    Ok(plugin)
}

fn split(argument: &str) -> (&str, &str) {
    match argument.rsplit_once(':') {
        Some((target, parameters)) if !parameters.contains('/') => (target, parameters),
        _ => (argument, ""),
    }
}

fn is_path(target: &str) -> bool {
    target.contains(['/', '\\']) || FILE_ENDINGS.iter().any(|ending| target.ends_with(ending))
}

fn parse_value(value: &str) -> toml::Value {
    if let Ok(flag) = value.parse() {
        return toml::Value::Boolean(flag);
    }
    if let Ok(number) = value.parse() {
        return toml::Value::Integer(number);
    }
    match value.parse::<f64>() {
        // `inf` and `nan` stay words: no parameter takes them, and the message then quotes what was typed.
        Ok(number) if number.is_finite() => toml::Value::Float(number),
        _ => toml::Value::String(value.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(argument: &str, expected_toml: &str) {
        let expected: config::Plugin = toml::from_str(expected_toml).unwrap();
        assert_eq!(parse(argument).unwrap(), expected, "{argument}");
    }

    #[track_caller]
    fn refused(argument: &str, words: &str) {
        let error = parse(argument).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert_eq!(crate::error::exit_code(&error), 2);
    }

    #[test]
    fn a_word_is_a_shipped_name_and_an_ending_or_a_slash_makes_a_path() {
        check("fedprox", "name = 'fedprox'");
        check("fedprox.wasm", "path = 'fedprox.wasm'");
        check("./fedprox", "path = './fedprox'");
        check("libmedian.so", "path = 'libmedian.so'");
    }

    #[test]
    fn values_become_flags_numbers_and_words() {
        check("fedprox.wasm:mu=0.1", "path = 'fedprox.wasm'\nmu = 0.1");
        check(
            "x:a=true,b=-3,c=1e-3,d=mean,e=+.5,f=nan,error-feedback=false",
            "name = 'x'\na = true\nb = -3\nc = 1e-3\nd = 'mean'\ne = 0.5\nf = 'nan'\nerror-feedback = false",
        );
        check("x:blake3=abc", "name = 'x'\nblake3 = 'abc'");
    }

    #[test]
    fn the_last_colon_without_a_slash_behind_it_begins_the_parameters() {
        check("a:b/c.wasm", "path = 'a:b/c.wasm'");
        check("a:b/c.wasm:mu=1", "path = 'a:b/c.wasm'\nmu = 1");
        check("odd:name.wasm:", "path = 'odd:name.wasm'");
        check("odd:name.wasm:mu=1", "path = 'odd:name.wasm'\nmu = 1");
        check("topk:", "name = 'topk'");
    }

    #[test]
    fn mistakes_are_named() {
        refused("", "names no plugin");
        refused(":mu=1", "names no plugin");
        refused("topk:0.01", "`0.01` is not `name=value`");
        refused("topk:ratio=", "`ratio=` lacks its name or its value");
        refused("topk:a=1,,b=2", "`` is not `name=value`");
        refused("topk:a=1,a=2", "`a` is given twice");
        refused("topk:a=1:b=2", "`topk:a=1` has a second `:`; separate parameters with commas");
        refused("topk:path=x", "`path` is no parameter");
    }
}
