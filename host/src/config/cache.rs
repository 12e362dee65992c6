//! Where finished work is kept from run to run: a folder, the user's cache directory, or nowhere.
//!
//! Where in the flow: a setting of the data and of the partition. What it never does: touch a disk; it names folders.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use std::path::PathBuf;

/// A place for what can be made again: a folder, or `false` for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// A folder of `colla` in the user's cache directory.
    #[default]
    User,
    Folder(PathBuf),
    Off,
}

impl Cache {
    /// The folder for things of one kind; `None` if it is turned off, or the environment names no cache directory.
    pub fn folder(&self, kind: &str) -> Option<PathBuf> {
        match self {
            Cache::User => user_folder().map(|folder| folder.join(kind)),
            Cache::Folder(folder) => Some(folder.clone()),
            Cache::Off => None,
        }
    }

    /// The folder that was given.
    pub fn path_mut(&mut self) -> Option<&mut PathBuf> {
        match self {
            Cache::Folder(folder) => Some(folder),
            Cache::User | Cache::Off => None,
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Cache::User
    }
}

/// `colla` under the user's cache directory.
fn user_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let caches = absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .or_else(|| absolute("LOCALAPPDATA"))?;
    Some(caches.join("colla"))
}

impl Serialize for Cache {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cache::User => serializer.serialize_bool(true),
            Cache::Folder(folder) => folder.serialize(serializer),
            Cache::Off => serializer.serialize_bool(false),
        }
    }
}

impl<'de> Deserialize<'de> for Cache {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Folder(PathBuf),
            Kept(bool),
        }
        match Raw::deserialize(deserializer) {
            Ok(Raw::Folder(folder)) if !folder.as_os_str().is_empty() => Ok(Cache::Folder(folder)),
            Ok(Raw::Kept(true)) => Ok(Cache::User),
            Ok(Raw::Kept(false)) => Ok(Cache::Off),
            _ => Err(D::Error::custom("a cache is a folder in quotes, or false for none")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_cache_is_a_folder_or_turned_off_and_survives_being_stored() {
        for (text, cache) in [
            ("", Cache::User),
            ("cache = true", Cache::User),
            ("cache = false", Cache::Off),
            ("cache = \"a b\"", Cache::Folder("a b".into())),
        ] {
            let config = Config::from_text(&format!("[data]\n{text}\n[partition]\n{text}"), &[]).unwrap();
            assert_eq!((&config.data.cache, &config.partition.cache), (&cache, &cache));
            assert_eq!(Config::from_text(&config.to_toml().unwrap(), &[]).unwrap(), config);
        }
        assert_eq!(Cache::Off.folder("data"), None);
        let error = Config::from_text("[data]\ncache = 3", &[]).unwrap_err();
        assert_eq!(error.to_string(), "config `data.cache = 3`: a cache is a folder in quotes, or false for none");
    }
}
