//! The names of all keys, asked from the structs themselves, so that no second list can go stale.

use super::{Attack, Config, Data, Evaluate, Federation, Host, Model, Partition, Privacy, Stragglers, Train};
use crate::error::did_you_mean;
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use std::cell::Cell;

/// Keys that a file may call by a second name: (other name, name).
pub(super) const ALIASES: [(&str, &str); 1] = [("partition.num-supernodes", "partition.num-clients")];

/// What to do about the unknown key at `section` (empty for the top level): where it belongs, the nearest name, or
/// the names that exist there.
pub(super) fn advice(section: &str, key: &str) -> String {
    let all = sections();
    if let Some((home, _)) = all.iter().find(|(name, keys)| *name != section && keys.contains(&key)) {
        return if home.is_empty() {
            format!("; it belongs at the top of the file, outside `[{section}]`")
        } else {
            format!("; it belongs in `[{home}]`")
        };
    }
    let here = all.iter().find(|(name, _)| *name == section).map_or(&[][..], |(_, keys)| keys);
    let near = did_you_mean(key, here.iter().copied());
    if near.is_empty() { format!("; known keys here: {}", here.join(", ")) } else { near }
}

/// Section name and its keys; the top level has no name.
fn sections() -> [(&'static str, &'static [&'static str]); 11] {
    [
        ("", fields::<Config>()),
        ("data", fields::<Data>()),
        ("partition", fields::<Partition>()),
        ("model", fields::<Model>()),
        ("train", fields::<Train>()),
        ("federation", fields::<Federation>()),
        ("stragglers", fields::<Stragglers>()),
        ("evaluate", fields::<Evaluate>()),
        ("attack", fields::<Attack>()),
        ("privacy", fields::<Privacy>()),
        ("host", fields::<Host>()),
    ]
}

/// The field names that serde's derive announces to a deserializer.
fn fields<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    struct Ask<'a>(&'a Cell<&'static [&'static str]>);

    impl<'de> Deserializer<'de> for Ask<'_> {
        type Error = serde::de::value::Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.set(fields);
            Err(Error::custom("only the names were wanted"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Self::Error> {
            Err(Error::custom("not a struct"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    let names = Cell::new(&[][..]);
    // The answer is always an error; the names are what it leaves behind.
    let _ = T::deserialize(Ask(&names));
    names.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_settings_has_every_key_and_no_other() {
        let page = include_str!("../../../docs/settings.md");
        for (section, keys) in sections() {
            let head = if section.is_empty() { "## Top level".into() } else { format!("## `[{section}]`") };
            let part = page.split(&head).nth(1).expect("a part of the page").split("\n## ").next().unwrap_or("");
            let listed: Vec<&str> =
                part.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
            // Sections are parts of their own; plugins have one too.
            let of_top =
                |key: &&&str| section.is_empty() && (page.contains(&format!("`[{key}]`")) || **key == "plugin");
            let alias = |key: &&&str| ALIASES.iter().any(|(alias, _)| alias.ends_with(&format!(".{key}")));
            let keys: Vec<&str> = keys.iter().filter(|key| !of_top(key) && !alias(key)).copied().collect();
            assert_eq!(listed, keys, "{section}");
        }
    }

    #[test]
    fn the_structs_name_their_own_keys() {
        assert!(fields::<Train>().contains(&"learning-rate"));
        assert!(fields::<Config>().contains(&"plugin"));
        assert!(sections().iter().all(|(_, keys)| !keys.is_empty()));
    }

    #[test]
    fn advice_names_the_section_the_neighbour_or_the_choice() {
        assert_eq!(advice("", "learning-rate"), "; it belongs in `[train]`");
        assert_eq!(advice("train", "learning_rate"), "; did you mean `learning-rate`?");
        assert_eq!(advice("evaluate", "zzz"), "; known keys here: every, clients, fraction-evaluate");
    }
}
