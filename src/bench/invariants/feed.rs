//! Files of rows: refused with a reason, or every row of it can be asked for, and what has it is a request.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::workload::sendable;
use crate::bench::request::feed::Feeds;
use crate::bench::request::workload::{FeedOrder, FeedSpec, RequestSpec};
use crate::bench::run::config::Config;

/// The kinds of files, by how their names end.
const KINDS: [&str; 3] = ["csv", "jsonl", "txt"];
/// The most columns that a request is made of.
const COLUMNS: usize = 4;

/// Reads a file as each kind of feed. Files are written to `folder`.
///
/// # Panics
///
/// A row is lost, has two values by one name, or reads differently once it was written again; a request with it is none.
pub fn feed(text: &[u8], folder: &Path) {
    for kind in KINDS {
        let file = folder.join("rows").with_extension(kind);
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let read = |order| Feeds::read(&of_rows(&file, order), 1);
        match read(FeedOrder::Sequential) {
            Ok(feeds) => {
                let rows = table(&feeds);
                if kind != "csv" {
                    let lines = String::from_utf8_lossy(text).lines().filter(|line| !line.trim().is_empty()).count();
                    assert_eq!(rows.len(), lines, "a row for each line");
                }
                for order in [FeedOrder::Shuffle, FeedOrder::Random] {
                    is_another_order(&read(order).unwrap_or_else(|error| panic!("{error}")), &rows, order);
                }
                is_read_as_written(&feeds, &rows, folder);
                can_be_sent(&feeds, &file, folder);
            }
            Err(error) => {
                let said = error.to_string();
                assert!(said.contains("rows") && !error.why.is_empty(), "{said}");
                assert_eq!(read(FeedOrder::Random).err(), Some(error));
            }
        }
    }
}

fn of_rows(file: &Path, order: FeedOrder) -> BTreeMap<String, FeedSpec> {
    BTreeMap::from([("rows".to_owned(), FeedSpec { file: file.to_owned(), order })])
}

/// The names of the columns, with the feed's.
fn names(feeds: &Feeds) -> Vec<String> {
    feeds.names().collect()
}

/// All values, row by row: those that requests have, which are the columns'.
fn table(feeds: &Feeds) -> Vec<Vec<String>> {
    let names = names(feeds);
    let known: BTreeSet<&String> = names.iter().filter(|name| *name != "rows.").collect();
    let unnamed = names.iter().filter(|name| *name == "rows.").count();
    assert_eq!(known.len() + unnamed, names.len(), "two columns have one name: {names:?}");
    let columns: Vec<Vec<&str>> = (0..names.len()).map(|column| feeds.column(0, column).collect()).collect();
    let rows = columns.first().map_or(0, Vec::len);
    assert!(rows > 0 && columns.iter().all(|column| column.len() == rows), "{columns:?}");
    for (place, name) in names.iter().enumerate() {
        let found = feeds.find(name);
        assert!(found == Some((0, place)) || name == "rows.", "{name:?} is {found:?}, not {place}");
        for n in 0..2 * rows {
            assert_eq!(feeds.cell(0, place, n as u64), columns[place][n % rows], "row {n} of {name:?}");
        }
        // The last request of all has a row, too.
        let last = (u64::MAX % rows as u64) as usize;
        assert_eq!(feeds.cell(0, place, u64::MAX), columns[place][last], "the last row of {name:?}");
    }
    (0..rows).map(|row| columns.iter().map(|column| column[row].to_owned()).collect()).collect()
}

/// The same rows, a whole one each time; of a shuffle each once.
fn is_another_order(feeds: &Feeds, rows: &[Vec<String>], order: FeedOrder) {
    let columns = names(feeds).len();
    let row = |n: usize| (0..columns).map(|column| feeds.cell(0, column, n as u64).to_owned()).collect::<Vec<_>>();
    let mut found: Vec<_> = (0..rows.len()).map(row).collect();
    let mut expected = rows.to_vec();
    expected.sort();
    if order == FeedOrder::Shuffle {
        found.sort();
        assert_eq!(found, expected);
    } else {
        assert!(found.iter().all(|row| expected.binary_search(row).is_ok()), "{found:?} of {expected:?}");
    }
}

/// The table is the same once it was written as CSV and, where its columns have names, as JSON.
fn is_read_as_written(feeds: &Feeds, rows: &[Vec<String>], folder: &Path) {
    let names = names(feeds);
    let columns: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("rows.")).collect();
    let mut csv = csv::WriterBuilder::new().quote_style(csv::QuoteStyle::Always).from_writer(Vec::new());
    for record in std::iter::once(columns.clone()).chain(rows.iter().map(|row| row.iter().map(|v| &**v).collect())) {
        csv.write_record(record).unwrap_or_else(|error| panic!("{error}"));
    }
    let csv = csv.into_inner().unwrap_or_else(|error| panic!("{error}"));
    let object = |row: &Vec<String>| {
        let pairs = columns.iter().zip(row).map(|(name, value)| ((*name).to_owned(), value.as_str().into()));
        serde_json::Value::Object(pairs.collect()).to_string() + "\n"
    };
    let json: String = rows.iter().map(object).collect();
    // What has several columns without a name is no object; what has names with blanks around them is no CSV file.
    let texts = [
        ("csv", csv, columns.iter().all(|name| name.trim() == *name)),
        ("jsonl", json.into_bytes(), columns.iter().collect::<BTreeSet<_>>().len() == columns.len()),
    ];
    for (kind, text, _) in texts.into_iter().filter(|(.., can_be_written)| *can_be_written) {
        let file = folder.join("again").with_extension(kind);
        fs::write(&file, &text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let shown = String::from_utf8_lossy(&text);
        let again = Feeds::read(&of_rows(&file, FeedOrder::Sequential), 1);
        let again = again.unwrap_or_else(|error| panic!("{error}: {shown}"));
        assert_eq!((self::names(&again), table(&again)), (names.clone(), rows.to_vec()), "{shown}");
    }
}

/// Requests that have values of the first columns at every place.
fn can_be_sent(feeds: &Feeds, file: &Path, folder: &Path) {
    let Ok(target) = "http://127.0.0.1:1/".parse() else { return };
    let mut config = Config::new(target);
    config.seed = 1;
    config.feeds = of_rows(file, FeedOrder::Sequential);
    for name in names(feeds).iter().take(COLUMNS) {
        let value = format!("{{{{ {name} }}}}");
        let pair = || BTreeMap::from([("x".to_owned(), value.clone())]);
        let mut request = RequestSpec::get(&format!("/{value}/{value}?q={value}"));
        "POST".clone_into(&mut request.method);
        config.requests = vec![
            RequestSpec { headers: pair().into_iter().collect(), body: Some(value.clone()), ..request.clone() },
            RequestSpec { cookies: pair(), form: pair().into_iter().collect(), ..request.clone() },
            RequestSpec { bearer: Some(value.clone()), json: Some(serde_json::json!({"x": value})), ..request.clone() },
            RequestSpec { user: Some(value.clone()), multipart: pair().into_iter().collect(), ..request },
        ];
        sendable(&config, folder);
        // One that is refused does not hide the others.
        for request in std::mem::take(&mut config.requests) {
            config.requests = vec![request];
            sendable(&config, folder);
        }
    }
}
