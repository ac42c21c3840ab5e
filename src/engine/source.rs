//! stub
use std::path::Path; use crate::error::Failure;
pub fn hash(folder:&Path)->Result<String,Failure>{ let mut h=blake3::Hasher::new(); for e in walkdir::WalkDir::new(folder).sort_by_file_name().into_iter().filter_entry(|e|!e.path().to_string_lossy().contains(".scalectl")&&!e.path().to_string_lossy().contains("__pycache__")).flatten(){ if e.file_type().is_file(){h.update(&std::fs::read(e.path()).unwrap_or_default());}} Ok(h.finalize().to_hex()[..16].to_owned()) }
