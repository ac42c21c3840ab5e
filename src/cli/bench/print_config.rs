//! `scalectl bench --print-config`.

use anyhow::Result;

use super::file::BenchFile;
use super::values::Replay;
use super::{Args, failure};
use crate::bench::{self, Config};
use crate::cli::{Global, stdout};
use crate::error::Exit;

/// Prints the run as a bench file, after the checks that it would go through.
///
/// # Errors
///
/// It is refused, or cannot be written as a bench file.
pub fn run(args: &Args, config: &Config, replay: Option<&Replay>, global: &Global) -> Result<Exit> {
    let refused = |error| failure(bench::Error::Config(error));
    config.check().map_err(refused)?;
    config.reach.check().map_err(|error| refused(error.into()))?;
    config.mix().map_err(|error| refused(error.into()))?;
    let file = BenchFile::of(config, replay)?;
    let text = file.text()?;
    if file.holds_credentials() {
        global.say("note: it holds credentials as they were given; keep it as you keep them");
    }
    if global.json {
        stdout::print_json(&serde_json::to_value(&file)?)?;
        return Ok(Exit::Done);
    }
    let left_out = of_one_invocation(args);
    let mut head = "# A run of `scalectl bench`; it is repeated by `scalectl bench --bench-file FILE`.\n".to_owned();
    if !left_out.is_empty() {
        head += &format!("# Not in here, because of one invocation: {}\n", left_out.join(", "));
    }
    stdout::print(format!("{head}\n{}", text.trim_end()))?;
    Ok(Exit::Done)
}

/// The flags that were given and that no bench file has.
fn of_one_invocation(args: &Args) -> Vec<String> {
    let mut flags: Vec<String> = args.output.iter().map(|output| format!("--output {}", output.format)).collect();
    if args.find_max.is_wanted() {
        flags.push("--find-max".to_owned());
        flags.extend(args.find_max.given().map(|(_, flag)| flag.to_owned()));
    }
    flags.extend(args.watch.metrics_listen.map(|address| format!("--metrics-listen {address}")));
    flags
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use clap::{CommandFactory as _, Parser};
    use tempfile::TempDir;

    use super::*;
    use crate::bench::Config;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
        #[command(flatten)]
        global: Global,
    }

    const URL: &str = "http://127.0.0.1:9/a";
    const TLS: &str = "https://127.0.0.1:9/a";

    /// Flags that say how, or whether, a run is made at one time, and those that are the bench file's own.
    const OF_ONE_INVOCATION: [&str; 10] = [
        "workload",
        "bench-file",
        "try",
        "print-config",
        "output",
        "metrics-listen",
        "find-max",
        "probe-time",
        "precision",
        "votes",
    ];

    /// Every other flag, as it may be given: target and flags.
    const LINES: &[(&str, &[&str])] = &[
        ("rps", &[URL, "--rps", "120.5"]),
        ("rps", &[URL, "--rps", "max"]),
        ("duration", &[URL, "--duration", "90s"]),
        ("requests", &[URL, "--requests", "77"]),
        ("requests", &[URL, "--requests", "77", "--rps", "max", "-c", "3"]),
        ("arrivals", &[URL, "--arrivals", "poisson"]),
        ("stage", &[URL, "--stage", "5rps:2s", "--stage", "5..50rps:10s"]),
        ("warmup", &[URL, "--warmup", "1500ms"]),
        ("replay", &["http://127.0.0.1:9", "--replay", "LOG", "-H", "X-Who: me", "--expect-status", "2xx,404"]),
        ("speed", &["http://127.0.0.1:9", "--replay", "LOG", "--speed", "2.5"]),
        ("duration", &["http://127.0.0.1:9", "--replay", "LOG", "--duration", "1500ms"]),
        ("duration", &["http://127.0.0.1:9", "--replay", "LOG", "--duration", "10s"]),
        ("requests", &["http://127.0.0.1:9", "--replay", "LOG", "--requests", "1", "--speed", "2"]),
        ("replay-unsafe", &["http://127.0.0.1:9", "--replay", "LOG", "--replay-unsafe", "--warmup", "1s"]),
        ("redirects", &[URL, "--redirects", "3"]),
        ("compressed", &[URL, "--compressed"]),
        ("http", &[URL, "--http", "auto"]),
        ("http2", &[URL, "--http2"]),
        ("streams", &[URL, "--http", "2", "--streams", "8"]),
        ("pacing", &[URL, "--pacing", "500us"]),
        ("io", &[URL, "--io", "epoll"]),
        ("connections", &[URL, "--connections", "8"]),
        ("threads", &[URL, "--threads", "2"]),
        ("seed", &[URL, "--seed", "18446744073709"]),
        ("timeout", &[URL, "--timeout", "250ms"]),
        ("grace", &[URL, "--grace", "0s"]),
        ("method", &[URL, "--method", "PURGE"]),
        ("header", &[URL, "--header", "X-A: {{ uuid() }}", "--header", "X-B: \"b\" \\ ü"]),
        ("body", &[URL, "--method", "PUT", "--body", "a\nb\t'c' \"\"\" {{ seq() }}"]),
        ("body", &[URL, "--method", "PUT", "--body", "@LOG"]),
        ("body-file", &[URL, "--body-file", "LOG"]),
        ("body-json", &[URL, "--body-json", r#"{"z":[1,2.5,"x",{"b":true}],"a":{"é":""}}"#]),
        ("form", &[URL, "--form", "a=1", "--form", "b=x y"]),
        ("multipart", &[URL, "--multipart", "z=1", "--multipart", "f=@LOG", "-F", "f=@LOG;type=text/plain"]),
        ("content-type", &[URL, "--body", "x", "--content-type", "text/x"]),
        ("accept", &[URL, "--accept", "text/html"]),
        ("user", &[URL, "--user", "ada:p w:x"]),
        ("bearer", &[URL, "--bearer", "t0ken"]),
        ("cookie", &[URL, "--cookie", "a=1; b=2"]),
        ("host", &[URL, "--host", "example.com"]),
        ("urls", &[URL, "--urls", "URLS"]),
        ("expect-status", &[URL, "--expect-status", "200,204"]),
        (
            "assert",
            &[URL, "--assert", "body contains ok", "--assert", "/a/0 equals 7", "--assert", "header etag matches ^W/"],
        ),
        ("unix-socket", &[URL, "--unix-socket", "some.sock"]),
        ("insecure", &[TLS, "--insecure"]),
        ("resolve", &[URL, "--resolve", "*:9:127.0.0.1", "--resolve", "a:9:[::1]"]),
        ("connect-to", &[URL, "--connect-to", "::localhost:81"]),
        ("ipv4", &[URL, "--ipv4"]),
        ("ipv6", &[URL, "--ipv6"]),
        ("bind", &[URL, "--bind", "127.0.0.1,127.0.0.2"]),
        ("connect-timeout", &[URL, "--connect-timeout", "1s"]),
        ("no-keepalive", &[URL, "--no-keepalive"]),
        ("requests-per-connection", &[URL, "--requests-per-connection", "5"]),
        ("cacert", &[TLS, "--cacert", "ca.pem", "--cacert", "/x/other.pem"]),
        ("cert", &[TLS, "--cert", "client.pem"]),
        ("key", &[TLS, "--cert", "client.pem", "--key", "client.key"]),
        ("sni", &[TLS, "--sni", "example.com"]),
        ("tls-min", &[TLS, "--tls-min", "1.3"]),
        ("tls-max", &[TLS, "--tls-max", "1.2"]),
        ("slo", &[URL, "--slo", "p99<50ms", "--slo", "errors<0.1%"]),
        ("abort-on", &[URL, "--abort-on", "errors>5%"]),
    ];

    /// A folder with the files that the lines name.
    fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let line = |second, method| {
            format!("127.0.0.1 - - [22/Nov/2026:10:00:0{second} +0000] \"{method} /x?y=1 HTTP/1.1\" 200 5\n")
        };
        fs::write(folder.path().join("LOG"), line(0, "GET") + &line(2, "HEAD") + &line(4, "POST")).unwrap();
        fs::write(folder.path().join("URLS"), "/one\n/two\n").unwrap();
        folder
    }

    fn read(folder: &TempDir, line: &[&str]) -> (Config, Option<Replay>) {
        let file = |text: &&str| text.replace("LOG", &path(folder, "LOG")).replace("URLS", &path(folder, "URLS"));
        let mut words = vec!["bench".to_owned(), "--quiet".to_owned()];
        words.extend(line.iter().map(file));
        let Line { args, global } = Line::try_parse_from(words).unwrap();
        args.config(&global).unwrap()
    }

    fn path(folder: &TempDir, name: &str) -> String {
        folder.path().join(name).display().to_string()
    }

    /// All that a run is asked to do, but for files, whose paths the printed file has as absolute ones.
    fn shown(config: &Config) -> String {
        let here = format!("{}/", std::env::current_dir().unwrap().display());
        format!("{config:#?}").replace(&here, "")
    }

    /// Prints the run that `line` describes, and reads what was printed.
    fn round(folder: &TempDir, line: &[&str]) -> (String, Config, Config) {
        let (config, replay) = read(folder, line);
        let text = BenchFile::of(&config, replay.as_ref()).unwrap().text().unwrap();
        let file = path(folder, "printed.toml");
        fs::write(&file, &text).unwrap();
        let (again, replay) = read(folder, &["--bench-file", &file]);
        assert_eq!(BenchFile::of(&again, replay.as_ref()).unwrap().text().unwrap(), text, "{line:?}: a fixed point");
        (text, config, again)
    }

    #[test]
    fn a_printed_run_is_the_same_run() {
        let folder = folder();
        for (_, line) in LINES {
            let (text, config, again) = round(&folder, line);
            assert_eq!(shown(&again), shown(&config), "{line:?}:\n{text}");
        }
    }

    #[test]
    fn every_flag_is_in_the_file_or_of_one_invocation() {
        let lines: BTreeSet<&str> = LINES.iter().map(|(flag, _)| *flag).collect();
        let alone = BTreeSet::from(OF_ONE_INVOCATION);
        let command = Line::command();
        let global = <Global as clap::Args>::augment_args(clap::Command::new("x"));
        let globals: BTreeSet<_> = global.get_arguments().filter_map(clap::Arg::get_long).collect();
        let flags: BTreeSet<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        let expected: BTreeSet<_> = flags.difference(&globals).copied().collect();
        assert_eq!(lines.union(&alone).copied().collect::<BTreeSet<_>>(), expected);
        assert!(lines.is_disjoint(&alone));
        // And each of them changes the run: otherwise the round trip of its line would show nothing.
        let folder = folder();
        let seed = ["--seed", "5"];
        for (flag, line) in LINES.iter().filter(|(flag, _)| *flag != "seed") {
            let plain = read(&folder, &[&line[..1], &seed].concat()).0;
            let with = read(&folder, &[*line, &seed].concat()).0;
            assert_ne!(shown(&plain), shown(&with), "{flag}");
        }
    }

    /// Any flags that go together: what each draw gives is as likely as any other.
    #[test]
    fn any_flags_together_are_the_same_run() {
        use rand::{RngExt as _, SeedableRng as _};
        let folder = folder();
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let mut tried = 0;
        while tried < 200 {
            let mut line = vec![TLS.to_owned()];
            for _ in 0..rng.random_range(2..6) {
                let (_, more) = LINES[rng.random_range(0..LINES.len())];
                line.extend(more[1..].iter().map(|word| (*word).to_owned()));
            }
            let words: Vec<&str> = line.iter().map(String::as_str).collect();
            // Some contradict each other.
            let Ok(found) = Line::try_parse_from([&["bench"], &words[..]].concat()) else { continue };
            let is_replay = found.args.replay.replay(None).is_some();
            if is_replay || found.args.request.describes_urls() || words.iter().any(|w| w.contains("LOG")) {
                continue;
            }
            let Ok((given, _)) = found.args.config(&found.global) else { continue };
            if given.requests.iter().any(|request| request.bodies().len() > 1) {
                continue;
            }
            let (text, config, again) = round(&folder, &words);
            assert_eq!(shown(&again), shown(&config), "{words:?}:\n{text}");
            tried += 1;
        }
    }

    #[test]
    fn what_toml_cannot_hold_is_refused() {
        let folder = folder();
        let (config, _) = read(&folder, &[URL, "--body-json", r#"{"a":null}"#]);
        let refused = BenchFile::of(&config, None).unwrap().text().unwrap_err();
        assert!(refused.to_string().contains("as a bench file"), "{refused}");
        let stdin = Replay { log: "-".into(), speed: bench::Speed::default(), is_unsafe: false, length: None };
        assert!(BenchFile::of(&config, Some(&stdin)).unwrap_err().to_string().contains("stdin"));
    }

    #[test]
    fn credentials_are_noticed() {
        let folder = folder();
        for (line, expected) in [
            (&[URL][..], false),
            (&[URL, "-H", "X-A: b"], false),
            (&[URL, "-H", "Authorization: x"], true),
            (&[URL, "--user", "a:b"], true),
            (&[URL, "--cookie", "a=b"], true),
        ] {
            let (config, _) = read(&folder, line);
            assert_eq!(BenchFile::of(&config, None).unwrap().holds_credentials(), expected, "{line:?}");
        }
    }
}
