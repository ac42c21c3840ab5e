//! Report formats: a bench summary in, bytes out. Each format is one file and one variant of [`Format`].

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::str::FromStr;

use crate::bench::Summary;

mod capacity;
mod chart;
mod comparison;
mod csv;
mod figures;
mod hgrm;
mod hlog;
mod html;
#[cfg(any(test, fuzzing))]
pub mod invariants;
mod json;
mod junit;
mod markdown;
mod prometheus;
mod table;
mod text;

pub use capacity::{capacity, capacity_json, capacity_markdown, probe};
pub use comparison::{comparison, comparison_json, comparison_markdown};
pub use figures::{count, duration, duration_or, percent, rate};
pub use hlog::IntervalLog;
pub use json::json;
pub use prometheus::live as live_prometheus;
pub use text::text;

/// A report format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// To read in a terminal.
    Text,
    /// For scripts, and for `scalectl report`.
    Json,
    /// A row for each second.
    Csv,
    /// HdrHistogram's percentile spectrum of response times.
    Hgrm,
    /// HdrHistogram's interval log.
    Hlog,
    /// One page with charts, for a browser.
    Html,
    /// Objectives and verdict as tests, for CI systems.
    Junit,
    /// For a pull request.
    Markdown,
    /// Prometheus' text format.
    Prometheus,
}

/// A format that everything has; the others are of the result of a single run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Common {
    /// See [`Format::Text`].
    Text,
    /// See [`Format::Json`].
    Json,
    /// See [`Format::Markdown`].
    Markdown,
}

impl Format {
    /// The format as one that everything has, if it is.
    pub fn common(self) -> Option<Common> {
        match self {
            Self::Text => Some(Common::Text),
            Self::Json => Some(Common::Json),
            Self::Markdown => Some(Common::Markdown),
            Self::Csv | Self::Hgrm | Self::Hlog | Self::Html | Self::Junit | Self::Prometheus => None,
        }
    }

    /// All formats.
    pub const ALL: [Self; 9] = [
        Self::Text,
        Self::Json,
        Self::Csv,
        Self::Hgrm,
        Self::Hlog,
        Self::Html,
        Self::Junit,
        Self::Markdown,
        Self::Prometheus,
    ];

    /// Whether it is made of the one-second series, whose histograms it unpacks.
    pub fn has_seconds(self) -> bool {
        matches!(self, Self::Csv | Self::Hlog | Self::Html)
    }

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Hgrm => "hgrm",
            Self::Hlog => "hlog",
            Self::Html => "html",
            Self::Junit => "junit",
            Self::Markdown => "markdown",
            Self::Prometheus => "prometheus",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Writes `summary` in `format`; `width` is the number of columns of formats that are laid out for a terminal, which
/// are styled with ANSI codes (write them through a stream that strips these where they are not wanted).
///
/// # Errors
///
/// The writer fails.
pub fn write(summary: &Summary, format: Format, width: usize, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Text => text(summary, out, width),
        Format::Json => json(summary, out),
        Format::Csv => csv::csv(summary, out),
        Format::Hgrm => hgrm::hgrm(summary, out),
        Format::Hlog => hlog::hlog(summary, out),
        Format::Html => html::html(summary, out),
        Format::Junit => junit::junit(summary, out),
        Format::Markdown => markdown::markdown(summary, out),
        Format::Prometheus => prometheus::prometheus(summary, out),
    }
}

/// A format and where it goes: `json`, `json=result.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The format.
    pub format: Format,
    /// The file; stdout without it.
    pub file: Option<PathBuf>,
}

/// Why a text is no output.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// No such format.
    #[error("there is no format \"{name}\"; there are {}", Format::ALL.map(Format::name).join(", "))]
    Unknown {
        /// What was asked for.
        name: String,
    },
    /// The name of a file whose ending is a format's.
    #[error("\"{file}\" has no format before it: write {format}={file}")]
    OnlyFile {
        /// The file.
        file: String,
        /// The format that its ending says.
        format: Format,
    },
    /// `json=` without a file.
    #[error("\"{0}\" names no file behind the \"=\"")]
    NoFile(String),
}

impl FromStr for Output {
    type Err = OutputError;
    fn from_str(text: &str) -> Result<Self, OutputError> {
        let (name, file) = match text.split_once('=') {
            None => (text, None),
            Some((_, "")) => return Err(OutputError::NoFile(text.to_owned())),
            Some((name, file)) => (name, Some(PathBuf::from(file))),
        };
        let of_name = |name: &str| Format::ALL.into_iter().find(|format| format.name() == name);
        let of_ending = |ending: &str| match ending {
            "md" => Some(Format::Markdown),
            "prom" => Some(Format::Prometheus),
            "txt" => Some(Format::Text),
            "xml" => Some(Format::Junit),
            name => of_name(name),
        };
        let with_colon = || name.split_once(':').and_then(|(format, file)| Some((of_name(format)?, file)));
        let by_ending = || name.rsplit_once('.').and_then(|(_, ending)| Some((of_ending(ending)?, name)));
        let unknown = || match with_colon().or_else(by_ending) {
            Some((format, path)) if file.is_none() => OutputError::OnlyFile { file: path.to_owned(), format },
            _ => OutputError::Unknown { name: name.to_owned() },
        };
        let format = of_name(name).ok_or_else(unknown)?;
        Ok(Self { format, file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_output_is_a_format_and_perhaps_a_file() {
        for format in Format::ALL {
            assert_eq!(format.name().parse(), Ok(Output { format, file: None }));
        }
        assert_eq!("json=a=b".parse(), Ok(Output { format: Format::Json, file: Some("a=b".into()) }));
        assert!("jsn".parse::<Output>().unwrap_err().to_string().contains("text, json"));
        assert!("json=".parse::<Output>().is_err());
        // As oha has it.
        assert!("a/out.json".parse::<Output>().unwrap_err().to_string().contains("write json=a/out.json"));
        assert!("out.xml".parse::<Output>().unwrap_err().to_string().contains("write junit=out.xml"));
        assert!("json:r.json".parse::<Output>().unwrap_err().to_string().contains("write json=r.json"));
        assert!("out.pdf".parse::<Output>().unwrap_err().to_string().contains("text, json"));
    }
}
