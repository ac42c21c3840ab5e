//! The thinnest path through this part; it is widened next.
#![allow(missing_docs)]
use super::Resolved;
use crate::error::Failure;
use crate::stack::{EnvValue, Resources, Stack};
use std::collections::BTreeMap;
use std::time::Duration;
#[derive(Debug, Clone, serde::Serialize)]
pub struct FileText {
    pub text: String,
    pub secret: bool,
}
pub struct BackingContainer {
    pub image: String,
    pub command: Option<Vec<String>>,
    pub environment: BTreeMap<String, String>,
    pub files: BTreeMap<String, FileText>,
    pub owner: Option<String>,
    pub hostname: Option<String>,
    pub health: Vec<String>,
    pub volume: Option<String>,
    pub tmpfs: Vec<String>,
    pub read_only: bool,
    pub stop_signal: Option<String>,
    pub stop_timeout: Duration,
    pub port: u16,
    pub resources: Option<Resources>,
}
pub fn container(_: &Stack, r: &Resolved<'_>) -> Result<BackingContainer, Failure> {
    Ok(BackingContainer {
        image: r.entry.image.clone(),
        command: None,
        environment: BTreeMap::new(),
        files: BTreeMap::new(),
        owner: None,
        hostname: None,
        health: r.entry.health.clone(),
        volume: r.entry.volume.clone(),
        tmpfs: vec![],
        read_only: false,
        stop_signal: None,
        stop_timeout: Duration::from_secs(30),
        port: r.entry.port,
        resources: None,
    })
}
pub fn address(_: &Stack, _: &Resolved<'_>) -> Result<Option<EnvValue>, Failure> {
    Ok(None)
}
pub fn address_at(_: &Stack, _: &Resolved<'_>, _: &str, _: u16) -> Result<Option<EnvValue>, Failure> {
    Ok(None)
}
