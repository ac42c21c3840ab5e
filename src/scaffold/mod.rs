//! Project templates: catalog, answers, rendering, writing.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `template` | a template: its manifest and its files, read from a folder or from the binary |
//! | `catalog` | the templates that the binary carries |
//! | `answers` | which optional parts were chosen, and whether the project's name will do |
//! | `render` | template and answers in, the files of a project out: pure |
//! | `write` | the files of a project onto the disk: all of them or none |
//!
//! # The format of a template
//!
//! A folder with a `template.toml` ([`Manifest`]) beside the files of the project. Files whose name ends in `.tera`
//! are rendered by Tera and lose that suffix; one that renders to nothing but white space is left out. Everything
//! else is copied byte for byte. A feature may own `files`: paths of files or folders that exist only with it. A file
//! that begins with `#!` is executable, a file called `.env` is for its owner only.
//!
//! Rendered files see `project`, `with.FEATURE` for every feature of the template, `features` (the names of the chosen
//! ones), `scalectl_version`, the function `secret(length=32)` and the filter `json_encode`.

mod answers;
mod catalog;
mod error;
mod leftovers;
mod render;
mod template;
mod write;

pub use answers::{Choice, check_name, choose};
pub use catalog::{DEFAULT_TEMPLATE, all, find};
pub use error::ScaffoldError;
pub use render::{Mode, RenderedFile, render, secret};
pub use template::{Feature, Manifest, SourceFile, Template};
pub use write::{Existing, write};
