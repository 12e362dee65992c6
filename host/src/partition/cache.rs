//! Finished partitions on disk.
//!
//! ```text
//! <folder>/<BLAKE3 of fingerprint and settings>.partition
//! 8 bytes "CLPART01" | 32 bytes BLAKE3 of the rest | postcard of the partition
//! ```
//! Where in the flow: around the draw. What it never does: fail a run, or trust a file. Whatever is wrong with one, the
//! partition is drawn anew and the file replaced.

use super::{ClientRows, OwnTest, Partition, Settings};
use crate::config::Cache;
use crate::data::Dataset;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Rises whenever the bytes below or the draws of any kind change.
const MAGIC: &[u8; 8] = b"CLPART01";
const HASH: usize = 32;

/// Where the partition of these settings lies; `None` if there is no folder for it.
pub fn file(cache: &Cache, settings: &Settings, data: &Dataset) -> Option<PathBuf> {
    let folder = cache.folder("partitions")?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(MAGIC).update(&data.fingerprint).update(&postcard::to_allocvec(settings).ok()?);
    Some(folder.join(format!("{}.partition", hasher.finalize().to_hex())))
}

/// The stored partition, if the file is whole and fits data and settings.
pub fn read(path: &Path, settings: &Settings, data: &Dataset) -> Option<Partition> {
    let mut file = File::open(path).ok()?;
    // No partition is longer: at most 5 bytes a row and 10 an offset, twice.
    let rows = data.train.len().max(settings.dealt_rows().unwrap_or(0)) + data.test.len();
    let longest = 64 + 10 * rows + 20 * (settings.num_clients + 2);
    if file.metadata().ok()?.len() > longest as u64 {
        return None;
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let (magic, rest) = bytes.split_at_checked(MAGIC.len())?;
    let (hash, body) = rest.split_at_checked(HASH)?;
    if magic != MAGIC || blake3::hash(body).as_bytes() != hash {
        return None;
    }
    let partition: Partition = postcard::from_bytes(body).ok()?;
    is_sound(&partition, settings, data).then_some(partition)
}

fn is_sound(partition: &Partition, settings: &Settings, data: &Dataset) -> bool {
    let shared = settings.samples_per_client.is_some();
    let fits = |rows: &ClientRows, count: usize| rows.is_sound(settings.num_clients, count, shared);
    let train = fits(&partition.train, data.train.len()) && partition.train.sizes().all(|size| size > 0);
    train
        && match &partition.own_test {
            None => true,
            Some(OwnTest::OfTestSet(rows)) => fits(rows, data.test.len()),
            Some(OwnTest::HeldOut(rows)) => fits(rows, data.train.len()),
        }
}

/// Writes a whole file or none; an unwritable folder is no error.
pub fn write(path: &Path, partition: &Partition) {
    let _ = try_write(path, partition);
}

fn try_write(path: &Path, partition: &Partition) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let body = postcard::to_allocvec(partition)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(MAGIC)?;
    file.write_all(blake3::hash(&body).as_bytes())?;
    file.write_all(&body)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Data, Partition as Config};
    use crate::partition::{create, load_or_create};
    use std::fs;

    fn data() -> Dataset {
        crate::data::load(&Data::default()).unwrap()
    }

    fn cached_in(folder: &Path) -> Config {
        Config { cache: Cache::Folder(folder.into()), ..Default::default() }
    }

    fn only_file(folder: &Path) -> PathBuf {
        let files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files[0].clone()
    }

    #[test]
    fn the_second_call_reads_what_the_first_one_wrote() {
        let (folder, data) = (tempfile::tempdir().unwrap(), data());
        let made = folder.path().join("made").join("on demand");
        let config = cached_in(&made);
        let drawn = load_or_create(&config, &data).unwrap();
        let path = only_file(&made);
        assert_eq!(drawn, create(&config, &data).unwrap());

        // Another sound partition under the same name shows that the file is read.
        let planted = Partition { own_test: Some(OwnTest::HeldOut(drawn.train.clone())), ..drawn.clone() };
        write(&path, &planted);
        assert_eq!(load_or_create(&config, &data).unwrap(), planted);
    }

    #[test]
    fn every_setting_and_the_data_have_their_own_file() {
        let (folder, data) = (tempfile::tempdir().unwrap(), data());
        let config = cached_in(folder.path());
        let other_data =
            crate::data::load(&Data { features: crate::config::FeatureScaling::None, ..Default::default() });
        load_or_create(&config, &data).unwrap();
        load_or_create(&Config { alpha: Some(0.1), ..config.clone() }, &data).unwrap();
        only_file(folder.path());
        for other in [
            Config { seed: 1, ..config.clone() },
            Config { alpha: Some(0.2), ..config.clone() },
            Config { num_clients: 99, ..config.clone() },
            Config { test_fraction: 0.5, ..config.clone() },
            Config { kind: crate::config::PartitionKind::Iid, ..config.clone() },
            Config { kind: crate::config::PartitionKind::Iid, samples_per_client: Some(60), ..config.clone() },
        ] {
            load_or_create(&other, &data).unwrap();
        }
        load_or_create(&config, &other_data.unwrap()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 8);
    }

    #[test]
    fn a_broken_file_is_drawn_anew_and_replaced() {
        let (folder, data) = (tempfile::tempdir().unwrap(), data());
        let config = cached_in(folder.path());
        let drawn = load_or_create(&config, &data).unwrap();
        let path = only_file(folder.path());
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        // A right checksum over a partition of other data: two clients, rows out of range.
        let alien =
            postcard::to_allocvec(&Partition { train: ClientRows::new([vec![0], vec![9_999]]), own_test: None });
        let alien = alien.unwrap();
        let signed = [&MAGIC[..], blake3::hash(&alien).as_bytes(), &alien].concat();
        let signed_garbage = [&MAGIC[..], blake3::hash(b"xyz").as_bytes(), b"xyz"].concat();
        let overlong = [&good[..], &vec![0; 1 << 20]].concat();
        for broken in [flipped, good[..20].to_vec(), Vec::new(), signed, signed_garbage, overlong] {
            fs::write(&path, &broken).unwrap();
            assert_eq!(load_or_create(&config, &data).unwrap(), drawn);
            assert_eq!(fs::read(&path).unwrap(), good);
        }
    }

    #[test]
    fn rows_that_several_clients_hold_come_back_from_the_file() {
        let (folder, data) = (tempfile::tempdir().unwrap(), data());
        let kind = crate::config::PartitionKind::Iid;
        let config = Config { kind, num_clients: 5_000, samples_per_client: Some(10), ..cached_in(folder.path()) };
        let drawn = load_or_create(&config, &data).unwrap();
        let path = only_file(folder.path());
        let settings = Settings::resolve(&config, &data).unwrap();
        assert_eq!(read(&path, &settings, &data).unwrap(), drawn);
        // A client that holds a row twice is no such partition.
        let mut lists: Vec<Vec<u32>> = (0..5_000).map(|client| drawn.train.client(client).to_vec()).collect();
        lists[7][0] = lists[7][1];
        write(&path, &Partition { train: ClientRows::new(lists), own_test: None });
        assert_eq!(read(&path, &settings, &data), None);
    }

    #[test]
    fn a_cache_that_is_turned_off_leaves_no_file() {
        let config = Config { cache: Cache::Off, ..Config::default() };
        assert_eq!(file(&config.cache, &Settings::resolve(&config, &data()).unwrap(), &data()), None);
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_no_error() {
        let (folder, data) = (tempfile::tempdir().unwrap(), data());
        let file = folder.path().join("a file, not a folder");
        fs::write(&file, "").unwrap();
        let config = cached_in(&file);
        assert_eq!(load_or_create(&config, &data).unwrap(), create(&config, &data).unwrap());
    }

    /// These bytes are kept on users' disks: when a draw or the form changes, raise `MAGIC` and renew the hash.
    #[test]
    fn the_default_partition_has_the_bytes_of_this_format() {
        let partition = create(&Config::default(), &data()).unwrap();
        let hash = blake3::hash(&postcard::to_allocvec(&partition).unwrap()).to_hex();
        assert_eq!(hash.as_str(), "9d1d4782bc72ce9eee74b31ea54f2077470ae35ccae088ca1282d8495f5e6db8");
    }
}
