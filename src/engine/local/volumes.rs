//! Volumes of the local engine: folders, and in each the record of the jobs that were done on its data.
//!
//! The record lies with the data, so it lives and goes with it and can never be older or younger.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use super::places::{Places, make_state_folder, write_private};
use super::spec::Specs;
use crate::units::Name;

/// The volumes of one project.
pub struct Volumes<'a> {
    /// Where they lie.
    pub places: &'a Places,
    /// Which file in each is its data, and which jobs work on them.
    pub specs: &'a Specs,
}

impl Volumes<'_> {
    /// Those that exist.
    pub fn names(&self) -> BTreeSet<Name> {
        let Ok(entries) = fs::read_dir(self.places.volumes()) else { return BTreeSet::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// The jobs that ended well. Where a job works on volumes, the volumes themselves say so.
    pub fn completed(&self, remembered: Vec<(Name, String)>) -> Vec<(Name, String)> {
        let on_volumes = |job: &Name| self.specs.job_volumes.get(job).filter(|v| !v.is_empty());
        let mut completed: Vec<_> = remembered.into_iter().filter(|(job, _)| on_volumes(job).is_none()).collect();
        for (job, volumes) in &self.specs.job_volumes {
            let records: Vec<_> = volumes.iter().map(|volume| self.record(job, volume)).collect();
            if let Some(Some(first)) = records.first()
                && records.iter().all(|record| record.as_ref() == Some(first))
            {
                completed.push((job.clone(), first.clone()));
            }
        }
        completed
    }

    /// The digest of the job that was last done on a volume, if the data is still the one it was done on.
    fn record(&self, job: &Name, volume: &Name) -> Option<String> {
        let text = fs::read_to_string(self.places.volume(volume).join(format!(".job-{job}"))).ok()?;
        let (digest, identity) = text.trim().split_once(' ')?;
        (identity == self.data_identity(volume)).then(|| digest.to_owned())
    }

    /// What tells a volume's data from another with the same name: the file's number in its file system.
    fn data_identity(&self, volume: &Name) -> String {
        let file = self.specs.volumes.get(volume);
        file.and_then(|path| fs::metadata(path).ok()).map_or_else(|| "none".to_owned(), |m| m.ino().to_string())
    }

    /// Writes that a job ended well into the volumes that it worked on.
    ///
    /// # Errors
    ///
    /// When they cannot be written.
    pub fn keep_record(&self, job: &Name, digest: &str) -> std::io::Result<()> {
        for volume in self.specs.job_volumes.get(job).into_iter().flatten() {
            let text = format!("{digest} {}\n", self.data_identity(volume));
            write_private(&self.places.volume(volume).join(format!(".job-{job}")), text.as_bytes())?;
        }
        Ok(())
    }

    /// Makes an empty one.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn create(&self, volume: &Name) -> std::io::Result<()> {
        make_state_folder(&self.places.state())?;
        fs::create_dir_all(self.places.volume(volume))
    }
}
