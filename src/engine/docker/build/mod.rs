//! The thinnest path through this part; it is widened next.
#![allow(missing_docs)]
use super::connect::Connection;
use crate::engine::Note;
use crate::error::Failure;
use std::collections::BTreeMap;
use std::path::PathBuf;
#[derive(Debug, Clone, Default)]
pub struct BuildSpec {
    pub context: PathBuf,
    pub dockerfile: PathBuf,
    pub target: Option<String>,
    pub args: BTreeMap<String, String>,
    pub network: Option<String>,
    pub cache_from: Vec<String>,
    pub no_cache: bool,
    pub pull: bool,
    pub tag: String,
    pub labels: BTreeMap<String, String>,
}
pub async fn build(_: &Connection, spec: &BuildSpec, _: &dyn Fn(Note)) -> Result<(), Failure> {
    let out = std::process::Command::new("docker")
        .args(["build", "-q", "-t", &spec.tag])
        .arg(&spec.context)
        .output()
        .map_err(|e| Failure::failed(e.to_string()))?;
    if out.status.success() { Ok(()) } else { Err(Failure::failed(String::from_utf8_lossy(&out.stderr).into_owned())) }
}
pub fn bases(_: &str, _: &BTreeMap<String, String>, _: Option<&str>) -> Vec<String> {
    vec!["python:3.13-slim".into()]
}
