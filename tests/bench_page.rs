//! The page of a result in a real browser: Chromium says what it shows, and what it asks the network for.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "support/server.rs"]
mod server;
mod support;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use server::{Fate, Server, now_ns};

const HARNESS: &str = include_str!("bench_page.html");
/// A page that asks for something elsewhere: what the proxy would see of it.
const CHATTY: &str = "<!DOCTYPE html><title>x</title><img src=\"http://elsewhere.test/x.png\"><pre></pre>";

/// The browser's only way to any network. It has the pages of `page.test`, and notes what is asked for.
struct Proxy {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(page: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let notes = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (page, notes) = (page.clone(), notes.clone());
                std::thread::spawn(move || answer(stream, &page, &notes));
            }
        });
        Self { address, asked }
    }

    /// What was asked for since the last call, but for what a browser of its own accord asks its maker.
    fn asked(&self) -> Vec<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let makers = ["google.com", "googleapis.com", "gvt1.com", "gstatic.com"];
        asked.into_iter().filter(|what| !makers.iter().any(|maker| what.contains(maker))).collect()
    }
}

fn answer(stream: TcpStream, page: &str, notes: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
    let Some(what) = lines.next().and_then(|line| line.split(' ').nth(1).map(str::to_owned)) else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let (status, body) = match what.as_str() {
        "http://page.test/page.html" => ("200 OK", page),
        "http://page.test/harness.html" => ("200 OK", HARNESS),
        "http://page.test/chatty.html" => ("200 OK", CHATTY),
        _ => ("404 Not Found", ""),
    };
    notes.lock().unwrap().push(what);
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\ncontent-length: {}\r\n", body.len());
    let _ = (&stream).write_all(format!("{head}connection: close\r\n\r\n{body}").as_bytes());
}

/// Opens a page; gives what its document is once it is loaded.
fn browse(proxy: &Proxy, profile: &Path, page: &str, scheme: &str) -> String {
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--virtual-time-budget=20000", "--proxy-bypass-list=<-loopback>", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(format!("--proxy-server=http://{}", proxy.address))
        .arg(format!("--blink-settings=preferredColorScheme={scheme}"))
        .arg(format!("http://page.test/{page}"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the harness found, by width.
fn look(proxy: &Proxy, profile: &Path, scheme: &str) -> Vec<Value> {
    let document = browse(proxy, profile, "harness.html", scheme);
    let found = document.split("<pre>").nth(1).and_then(|rest| rest.split("</pre>").next()).unwrap();
    let found: Value = serde_json::from_slice(&STANDARD.decode(found).unwrap()).unwrap();
    found.as_array().unwrap_or_else(|| panic!("{found}")).clone()
}

/// Three seconds at 200 a second with a stall and some errors; the result and its page.
fn result(folder: &Path) -> (Value, String, String) {
    let (mut epoch, mut number) = (None, 0);
    let server = Server::start(move |_| {
        number += 1;
        let now = now_ns();
        let since = now - *epoch.get_or_insert(now);
        let stalled = since % 1_000_000_000 < 100_000_000;
        let due = now + 2_000_000 + if stalled { 100_000_000 - since % 1_000_000_000 } else { 0 };
        Fate::Answer(if number % 50 == 7 { 503 } else { 200 }, due)
    });
    let url = format!("{}/?a=1&b='x'", server.url());
    let output = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .args(["bench", &url, "--rps", "200", "-z", "3s", "-q", "--slo", "p50<10s", "--slo", "errors<1%"])
        .args(["--output", "json", "--output"])
        .arg(format!("html={}", folder.join("page.html").display()))
        .output()
        .unwrap();
    let result = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
    (result, fs::read_to_string(folder.join("page.html")).unwrap(), url)
}

#[test]
fn a_browser_shows_the_page_in_both_schemes_and_asks_for_nothing_else() {
    if Command::new("chromium").arg("--version").output().is_err() {
        return support::skip("a_browser_shows_the_page", "there is no chromium");
    }
    let folder = tempfile::tempdir().unwrap();
    let (result, page, url) = result(folder.path());
    let proxy = Proxy::start(page);
    let profile = folder.path().join("profile");

    browse(&proxy, &profile, "chatty.html", "1");
    let asked = proxy.asked();
    assert!(asked.contains(&"http://elsewhere.test/x.png".to_owned()), "the proxy sees nothing: {asked:?}");

    for (scheme, is_dark) in [("0", true), ("1", false)] {
        let looks = look(&proxy, &profile, scheme);
        let mut asked = proxy.asked();
        asked.sort();
        asked.dedup();
        let own = ["harness.html", "page.html"].map(|name| format!("http://page.test/{name}"));
        assert!(asked.iter().all(|what| own.contains(what)), "{asked:?}");
        assert_eq!(looks.len(), 2);
        for (found, width) in looks.iter().zip([1280, 360]) {
            assert_eq!((&found["dark"], &found["width"]), (&is_dark.into(), &width.into()));
            assert_eq!((&found["resources"], &found["scripts"]), (&serde_json::json!([]), &0.into()));
            assert!(found["overflow"].as_i64().unwrap() <= 0, "at {width}: {} too wide", found["overflow"]);
            assert_readable(found);
            assert_says(found, &result, &url);
            assert_charts(found, &result);
        }
    }
}

/// WCAG 2.2 asks for 4.5.
fn assert_readable(found: &Value) {
    let texts = found["texts"].as_array().unwrap();
    assert!(texts.len() > 100, "{}", texts.len());
    for text in texts {
        assert!(text["contrast"].as_f64().unwrap() >= 4.5, "{text}");
        assert!(text["size"].as_f64().unwrap() >= 12.0, "{text}");
    }
    assert_eq!(found["overlaps"], serde_json::json!([]));
}

fn assert_says(found: &Value, result: &Value, url: &str) {
    let heading = format!("Load of {url}");
    assert_eq!((found["title"].as_str(), found["heading"].as_str()), (Some(&*heading), Some(&*heading)));
    let body = found["body"].as_str().unwrap();
    let trusted = result["verdict"]["trusted"].as_bool().unwrap();
    let verdict = if trusted { "The generator was not the limit" } else { "The generator itself was the limit" };
    for text in [verdict, "errors<1%", "missed", "p50<10s", "met", "12 of 600", "status 503", "Response time over time"]
    {
        assert!(body.contains(text), "{text:?} is not in\n{body}");
    }
}

fn assert_charts(found: &Value, result: &Value) {
    let charts = found["charts"].as_array().unwrap();
    let ids: Vec<_> = charts.iter().map(|chart| chart["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["latency", "throughput", "errors", "spectrum", "histogram"]);
    for chart in charts {
        assert_eq!((&chart["inside"], &chart["drawn"]), (&true.into(), &true.into()), "{chart}");
        assert_eq!(chart["named"][0], chart["heading"]);
        assert!(chart["named"][1].as_str().is_some_and(|text| text.len() > 20), "{chart}");
        let size: Vec<f64> = serde_json::from_value(chart["box"].clone()).unwrap();
        assert!(size[0] > 200.0 && size[1] > 150.0 && chart["ticks"].as_u64().unwrap() >= 4, "{chart}");
        assert!(!chart["rows"].as_array().unwrap().is_empty());
    }
    let [latency, throughput, errors, spectrum, histogram] = charts.as_slice() else { panic!() };
    for line in ["p50", "p90", "max"] {
        assert!(latency["lines"][line].as_u64().unwrap() >= 3, "{latency}");
    }
    // One in fifty fails: p99 lies among these in every second.
    assert_eq!(latency["lines"]["p99"], 0, "{latency}");
    let rows = latency["rows"].as_array().unwrap();
    assert!(rows.iter().all(|row| row[3].as_str().unwrap().starts_with('≥')), "{latency}");
    let rare = spectrum["rows"].as_array().unwrap().iter().find(|row| row[0] == "p99.9").unwrap();
    assert!(rare[1].as_str().unwrap().contains("too few"), "{spectrum}");
    assert_eq!(throughput["lines"]["ok"], 3);
    for chart in [latency, throughput, spectrum] {
        assert!(chart["longest"].as_f64().unwrap() > 300.0, "{chart}");
    }
    assert!(spectrum["lines"]["response"].as_u64().unwrap() > 10 && spectrum["lines"]["service"].is_u64());
    let sum = |chart: &Value, column: usize| -> u64 {
        let rows = chart["rows"].as_array().unwrap();
        rows.iter().map(|row| row[column].as_str().unwrap().replace(',', "").parse::<u64>().unwrap()).sum()
    };
    assert_eq!(sum(errors, 1), 12);
    assert_eq!(sum(histogram, 1), result["counts"]["ok"].as_u64().unwrap());
    assert!(errors["bars"].as_u64().unwrap() > 0 && histogram["bars"].as_u64().unwrap() > 3);
}

/// No browser is needed to see that there is nothing to draw.
#[test]
fn a_run_in_which_nothing_ended_well_has_a_page_without_times() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("page.html");
    let server = Server::start(|_| Fate::Answer(503, 0));
    let output = Command::new(env!("CARGO_BIN_EXE_scalectl"))
        .args(["bench", &server.url(), "--rps", "50", "-z", "1s", "-q", "--output", "text", "--output"])
        .arg(format!("html={}", file.display()))
        .output()
        .unwrap();
    let page = fs::read_to_string(file).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let charts: Vec<_> =
        page.split("<figure class=\"card\" id=\"").skip(1).filter_map(|f| f.split('"').next()).collect();
    assert_eq!(charts, ["throughput", "errors"]);
    assert!(page.contains("none ok") && page.contains("50 of 50") && !page.contains("NaN"), "{page}");
}
