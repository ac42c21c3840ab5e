//! Data feeds: rows of a file, of which every request, or flow, has one. Read before the run; which row request n has
//! depends on (seed, n) only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::workload::{FeedOrder, FeedSpec};

/// Why a feed cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("feed \"{feed}\" ({file}): {why}")]
pub struct FeedError {
    /// Its name.
    pub feed: String,
    /// Its file.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

/// The feeds of a run. Clones share the rows.
#[derive(Debug, Clone, Default)]
pub struct Feeds {
    feeds: Arc<Vec<Feed>>,
}

/// One feed.
#[derive(Debug)]
struct Feed {
    name: String,
    columns: Vec<String>,
    /// Row after row.
    cells: Vec<Box<str>>,
    rows: u64,
    order: Order,
}

#[derive(Debug)]
enum Order {
    Sequential,
    /// Begins every draw.
    Random {
        rng: Box<ChaCha8Rng>,
    },
    /// The rows in the order in which they are used.
    Shuffle(Vec<u32>),
}

impl Feeds {
    /// Reads the files of all feeds.
    ///
    /// # Errors
    ///
    /// A name that no text can have, a file that cannot be read, has no row, or rows that differ in their columns.
    pub fn read(specs: &BTreeMap<String, FeedSpec>, seed: u64) -> Result<Self, FeedError> {
        let feeds = specs.iter().enumerate().map(|(position, (name, spec))| {
            let wrong = |why: String| FeedError { feed: name.clone(), file: spec.file.display().to_string(), why };
            Feed::read(name, spec, seed, position as u64).map_err(wrong)
        });
        Ok(Self { feeds: Arc::new(feeds.collect::<Result<_, _>>()?) })
    }

    /// Feed and column of `users.email`.
    pub(in crate::bench) fn find(&self, name: &str) -> Option<(usize, usize)> {
        let (feed, column) = name.split_once('.')?;
        let position = self.feeds.iter().position(|f| f.name == feed)?;
        Some((position, self.feeds[position].columns.iter().position(|c| c == column)?))
    }

    /// The names of all values, `users.email`.
    pub(in crate::bench) fn names(&self) -> impl Iterator<Item = String> {
        self.feeds.iter().flat_map(|feed| feed.columns.iter().map(move |column| format!("{}.{column}", feed.name)))
    }

    /// All values of a column.
    pub(in crate::bench) fn column(&self, feed: usize, column: usize) -> impl Iterator<Item = &str> {
        let Feed { columns, cells, .. } = &self.feeds[feed];
        cells.chunks(columns.len()).filter_map(move |row| row.get(column)).map(|cell| &**cell)
    }

    /// The value that request `n` has.
    pub(in crate::bench) fn cell(&self, feed: usize, column: usize, n: u64) -> &str {
        let feed = &self.feeds[feed];
        let row = match &feed.order {
            Order::Sequential => n % feed.rows,
            Order::Random { rng } => {
                let mut rng = rng.as_ref().clone();
                rng.set_stream(n);
                rng.random_range(0..feed.rows)
            }
            Order::Shuffle(rows) => rows[(n % feed.rows) as usize].into(),
        };
        &feed.cells[row as usize * feed.columns.len() + column]
    }
}

impl Feed {
    fn read(name: &str, spec: &FeedSpec, seed: u64, position: u64) -> Result<Self, String> {
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-') {
            return Err("its name may have letters, digits, \"_\" and \"-\" only".to_owned());
        }
        let text = fs::read_to_string(&spec.file).map_err(|error| format!("it cannot be read: {error}"))?;
        let (columns, cells) = table(&spec.file, &text)?;
        let rows = cells.len() / columns.len().max(1);
        if rows == 0 {
            return Err("it has no row".to_owned());
        }
        let number = u32::try_from(rows).map_err(|_| "it has more rows than 2^32".to_owned())?;
        // The feeds of a run draw independently of each other and of the requests.
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ (position + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let order = match spec.order {
            FeedOrder::Sequential => Order::Sequential,
            FeedOrder::Random => Order::Random { rng: Box::new(rng) },
            FeedOrder::Shuffle => {
                let mut rows: Vec<u32> = (0..number).collect();
                rows.shuffle(&mut rng);
                Order::Shuffle(rows)
            }
        };
        Ok(Self { name: name.to_owned(), columns, cells, rows: rows as u64, order })
    }
}

/// Names of the columns, and the cells row after row.
type Table = (Vec<String>, Vec<Box<str>>);

fn table(file: &Path, text: &str) -> Result<Table, String> {
    match file.extension().and_then(|e| e.to_str()) {
        Some("csv") => csv_table(text),
        Some("jsonl" | "ndjson") => json_table(text),
        Some("txt") => {
            let lines = text.lines().filter(|line| !line.trim().is_empty());
            Ok((vec!["line".to_owned()], lines.map(Box::from).collect()))
        }
        _ => Err("expected a file whose name ends in .csv, .jsonl, .ndjson or .txt".to_owned()),
    }
}

fn csv_table(text: &str) -> Result<Table, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::Headers).from_reader(text.as_bytes());
    let columns: Vec<String> = reader.headers().map_err(|e| e.to_string())?.iter().map(str::to_owned).collect();
    // Columns without a name, as of an index or behind the last comma, cannot be asked for.
    let is_double = |(n, name): &(usize, &String)| !name.is_empty() && columns[..*n].contains(name);
    if let Some((_, name)) = columns.iter().enumerate().find(is_double) {
        return Err(format!("two of its columns are named \"{name}\""));
    }
    let mut cells = Vec::new();
    for record in reader.records() {
        cells.extend(record.map_err(|e| e.to_string())?.iter().map(Box::from));
    }
    Ok((columns, cells))
}

fn json_table(text: &str) -> Result<Table, String> {
    let mut columns: Vec<String> = Vec::new();
    let mut cells: Vec<Box<str>> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |why: String| format!("line {}: {why}", number + 1);
        let row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|e| at(format!("not a JSON object: {e}")))?;
        if row.is_empty() {
            return Err(at("it has no value".to_owned()));
        }
        if columns.is_empty() {
            columns = row.keys().cloned().collect();
        }
        for column in &columns {
            let value =
                row.get(column).ok_or_else(|| at(format!("it has no \"{column}\", which the first line has")))?;
            cells.push(match value {
                serde_json::Value::String(text) => text.as_str().into(),
                other => other.to_string().into(),
            });
        }
    }
    Ok((columns, cells))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn feeds(name: &str, text: &str, order: FeedOrder, seed: u64) -> Result<Feeds, FeedError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        Feeds::read(&BTreeMap::from([("users".to_owned(), FeedSpec { file, order })]), seed)
    }

    #[test]
    fn csv_and_json_lines_give_the_same_values() {
        let csv = feeds("a.csv", "id, name\n1,\"Ada, L\"\n2,Bob\n", FeedOrder::Sequential, 1).unwrap();
        let json = feeds(
            "a.jsonl",
            "{\"id\":1,\"name\":\"Ada, L\"}\n\n{\"name\":\"Bob\",\"id\":2}\n",
            FeedOrder::Sequential,
            1,
        )
        .unwrap();
        for feeds in [csv, json] {
            assert_eq!(feeds.names().collect::<Vec<_>>(), ["users.id", "users.name"]);
            let (feed, column) = feeds.find("users.name").unwrap();
            let seen: Vec<_> = (0..3).map(|n| feeds.cell(feed, column, n)).collect();
            assert_eq!(seen, ["Ada, L", "Bob", "Ada, L"]);
            assert_eq!(feeds.find("users.age"), None);
        }
    }

    #[test]
    fn a_shuffle_uses_every_row_once_and_another_seed_another_order() {
        let text: String = (0..100).map(|i| format!("{i}\n")).collect();
        let rows = |order, seed| {
            let feeds = feeds("a.txt", &text, order, seed).unwrap();
            (0..100).map(|n| feeds.cell(0, 0, n).to_owned()).collect::<Vec<_>>()
        };
        let shuffled = rows(FeedOrder::Shuffle, 1);
        assert_eq!(shuffled.iter().collect::<BTreeSet<_>>().len(), 100);
        assert_eq!(shuffled, rows(FeedOrder::Shuffle, 1));
        assert_ne!(shuffled, rows(FeedOrder::Shuffle, 2));
        assert_eq!(rows(FeedOrder::Sequential, 1)[7], "7");
        // 100 draws of 100 rows see 63 on average, and fewer than 100 but with a chance of 1e-42.
        let drawn = rows(FeedOrder::Random, 1);
        assert!(drawn.iter().collect::<BTreeSet<_>>().len() < 100);
        assert_eq!(drawn, rows(FeedOrder::Random, 1));
    }

    #[test]
    fn what_is_no_feed_is_refused_with_the_reason() {
        for (name, text, said) in [
            ("a.csv", "id\n", "no row"),
            ("a.csv", "id,name\n1\n", "fields"),
            ("a.csv", "id,,,id\n1,2,3,4\n", "two of its columns are named \"id\""),
            ("a.jsonl", "{}\n{\"a\":1}\n", "line 1: it has no value"),
            ("a.jsonl", "[1]\n", "line 1: not a JSON object"),
            ("a.jsonl", "{\"a\":1}\n{\"b\":1}\n", "line 2: it has no \"a\""),
            ("a.xml", "<a/>", "ends in .csv"),
        ] {
            let error = feeds(name, text, FeedOrder::Sequential, 1).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("users"), "{error}");
        }
        let gone = FeedSpec { file: "/nowhere/a.csv".into(), order: FeedOrder::Random };
        let error = Feeds::read(&BTreeMap::from([("u".to_owned(), gone)]), 1).unwrap_err().to_string();
        assert!(error.contains("cannot be read") && error.contains("/nowhere/a.csv"), "{error}");
    }
}
