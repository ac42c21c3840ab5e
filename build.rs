//! Puts what belongs to the templates into the build folder, from where `src/scaffold/catalog.rs` embeds it.
//!
//! Embedding `templates/` itself would also embed the virtual environments and caches that working on a template
//! leaves behind in it.

use std::path::Path;
use std::{env, fs, io};

#[path = "src/scaffold/leftovers.rs"]
mod leftovers;

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/scaffold/leftovers.rs");
    println!("cargo::rerun-if-changed=templates");
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let target = Path::new(&out).join("templates");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    fs::create_dir_all(&target)?;
    if Path::new("templates").exists() { copy(Path::new("templates"), &target) } else { Ok(()) }
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        if leftovers::is_leftover(&entry.file_name()) {
            continue;
        }
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
