//! Flags of other load generators and of curl, which people know by heart: what is written here instead, and what would
//! be read otherwise than it is meant.

use std::ffi::OsString;

use crate::error::Failure;
use crate::units::Rate;

/// What others write, and what does it here: flags, or a sentence.
const FLAGS: [(&str, &str); 60] = [
    ("--body-path", "--body-file FILE"),
    ("--concurrency", "--connections N"),
    ("--cpus", "--threads N"),
    ("--data", "--body TEXT"),
    ("--data-ascii", "--body TEXT"),
    ("--data-binary", "--body @FILE"),
    ("--data-raw", "--body TEXT"),
    ("--data-urlencode", "--form NAME=VALUE"),
    ("--debug", "--try"),
    ("--disable-color", "--color never"),
    ("--disable-compression", "compressed answers are only asked for with --compressed"),
    ("--disable-redirects", "redirects are only followed with --redirects N"),
    ("--format", "--output FORMAT"),
    ("--get", "--method GET"),
    ("--h2", "--http 2"),
    ("--h2c", "--http 2"),
    ("--head", "--method HEAD"),
    ("--header-file", "--header 'Name: value', repeated"),
    ("--headers", "--header 'Name: value'"),
    ("--http-version", "--http VERSION"),
    ("--http1", "--http 1.1"),
    ("--http1.1", "--http 1.1"),
    ("--interface", "--bind ADDRESS"),
    ("--iterations", "--requests N"),
    ("--laddr", "--bind ADDRESS"),
    ("--latency", "percentiles are always printed"),
    ("--latency-correction", "latencies are always counted from when a request was due"),
    ("--location", "--redirects N"),
    ("--max-time", "--timeout TIME"),
    ("--max-workers", "--connections N"),
    ("--no-color", "--color never"),
    ("--no-connection-reuse", "--no-keepalive"),
    ("--no-tui", "--quiet"),
    ("--oauth2-bearer", "--bearer TOKEN"),
    ("--output-format", "--output FORMAT"),
    ("--prometheus-addr", "--metrics-listen ADDRESS:PORT"),
    ("--proxy", "no proxy is used; --connect-to and --resolve say what is connected to"),
    ("--rand-regex-url", "generators in the URL, like '/users/{{ int(1, 1000) }}'"),
    ("--request", "--method METHOD"),
    ("--root-certs", "--cacert FILE"),
    ("--summary-export", "--output json=FILE"),
    ("--targets", "--urls FILE"),
    ("--threshold", "--slo OBJECTIVE"),
    ("--thresholds", "--slo OBJECTIVE"),
    ("--urls-from-file", "--urls FILE"),
    ("--user-agent", "--header 'User-Agent: TEXT'"),
    ("--vus", "--connections N"),
    ("--wait-ongoing-requests-after-deadline", "answers are awaited for --grace TIME"),
    ("--worker-threads", "--threads N"),
    ("--workers", "--connections N"),
    ("-I", "--method HEAD"),
    ("-L", "curl's is --redirects N; wrk's percentiles are always printed"),
    ("-R", "--rps RATE"),
    ("-U", "no proxy is used; --connect-to and --resolve say what is connected to"),
    ("-b", "--cookie NAME=VALUE"),
    ("-i", "--method HEAD, or --requests N"),
    ("-s", "wrk's scripts are bench files, --bench-file FILE; curl's silence is --quiet"),
    ("-u", "--user USER:PASSWORD"),
    ("-x", "no proxy is used; --connect-to and --resolve say what is connected to"),
    ("--keepalive", "connections are always kept, unless --no-keepalive says otherwise"),
];

/// Words with one dash that others read as a flag of several letters, as Go's programs do, beside the flags that are
/// called so here.
const GO_FLAGS: [&str; 8] =
    ["cpus", "disable-compression", "disable-redirects", "h2", "max-workers", "root-certs", "targets", "workers"];

/// What stands in for a flag that nobody here knows.
pub fn instead_of(flag: &str) -> Option<String> {
    let name = flag.split_once('=').map_or(flag, |(name, _)| name);
    let (_, own) = FLAGS.iter().find(|(theirs, _)| *theirs == name)?;
    Some(match own.strip_prefix('-') {
        Some(_) => format!("{name} of other programs is {own} here"),
        None => format!("for {name}: {own}"),
    })
}

/// `-q` is a rate in hey and oha.
pub fn rate_of_quiet(typed: &[&str]) -> Option<String> {
    let glued = |word: &&&str| word.strip_prefix("-q").is_some_and(|rate| as_rate(rate).is_some());
    let apart = || typed.windows(2).find(|pair| pair[0] == "-q" && as_rate(pair[1]).is_some()).map(|pair| pair[1]);
    let rate = typed.iter().find(glued).and_then(|word| as_rate(&word[2..])).or_else(apart)?;
    Some(format!(
        "-q is --quiet, which has no value; {rate} requests a second are -r {rate} (hey's -q is that of each of its workers)"
    ))
}

fn as_rate(text: &str) -> Option<&str> {
    let text = text.strip_prefix('=').unwrap_or(text);
    text.parse::<Rate>().is_ok().then_some(text)
}

/// Refuses a word that is a flag of several letters elsewhere: here it would be one of a single letter, with the rest for
/// its value, and a run would come of it that nobody wants, or none at all.
///
/// # Errors
///
/// There is such a word.
pub fn refuse_misread(typed: &[&str], verb: &clap::Command) -> Result<(), Failure> {
    let is_long = |name: &str| {
        let long = |arg: &clap::Arg| {
            let aliases = arg.get_all_aliases().unwrap_or_default();
            arg.get_long() == Some(name) || aliases.contains(&name)
        };
        GO_FLAGS.contains(&name) || verb.get_arguments().any(long)
    };
    let name_of = |word: &str| {
        let name = word.strip_prefix('-').filter(|name| !name.starts_with('-'))?;
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        (name.len() > 1 && is_long(name)).then(|| name.to_owned())
    };
    let Some((word, name)) = typed.iter().find_map(|word| Some((word, name_of(word)?))) else { return Ok(()) };
    let two = format!("--{name}");
    // What stands behind it may be a secret.
    let (shown, value) = word.split_once('=').map_or((*word, ""), |(name, _)| (name, "=…"));
    let hint = instead_of(&two).unwrap_or_else(|| format!("write -{shown}{value}"));
    Err(Failure::usage(format!("\"{shown}\": a flag of several letters has two dashes")).hint(hint))
}

/// The words behind a verb, up to a `--`: what of the command line may be flags of it.
pub fn typed<'a>(arguments: &'a [OsString], verb: &str, command: &clap::Command) -> Option<Vec<&'a str>> {
    let takes_value = |word: &str| {
        command.get_arguments().any(|arg| {
            let short = word.strip_prefix('-').filter(|_| word.len() == 2).and_then(|letter| letter.chars().next());
            let is_it = word
                .strip_prefix("--")
                .map_or_else(|| short.is_some() && short == arg.get_short(), |long| arg.get_long() == Some(long));
            is_it && arg.get_action().takes_values()
        })
    };
    let mut words = arguments.iter().skip(1).map(|word| word.to_str().unwrap_or_default());
    loop {
        let word = words.next()?;
        match word {
            _ if takes_value(word) => drop(words.next()),
            _ if word.starts_with('-') => {}
            _ if word == verb => return Some(words.take_while(|word| *word != "--").collect()),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn no_flag_of_others_is_one_of_ours() {
        let command = crate::cli::command();
        let bench = command.find_subcommand("bench").unwrap();
        let all = || bench.get_arguments().chain(command.get_arguments());
        for (flag, own) in FLAGS {
            let is_ours = |arg: &clap::Arg| {
                let longs = arg.get_long_and_visible_aliases().unwrap_or_default();
                let shorts = arg.get_short_and_visible_aliases().unwrap_or_default();
                longs.iter().any(|long| format!("--{long}") == flag)
                    || shorts.iter().any(|short| format!("-{short}") == flag)
            };
            assert!(!all().any(is_ours), "{flag}");
            // What is named instead is there.
            if let Some(long) = own.strip_prefix("--") {
                let long = long.split(' ').next();
                assert!(all().any(|arg| arg.get_long() == long), "{flag}: {own}");
            }
        }
    }

    #[test]
    fn a_flag_of_several_letters_with_one_dash_is_refused_with_the_right_one() {
        let command = crate::cli::command();
        let bench = command.find_subcommand("bench").unwrap();
        let refusal = |line: &str| {
            let arguments = words(line);
            let refused = refuse_misread(&typed(&arguments, "bench", &command).unwrap(), bench);
            refused.err().map(|failure| failure.hints()[0].clone())
        };
        assert_eq!(refusal("scalectl bench -duration=1s u").unwrap(), "write --duration=…");
        assert_eq!(refusal("scalectl -C dir bench -disable-keepalive u").unwrap(), "write --disable-keepalive");
        assert_eq!(refusal("scalectl bench -h2 u").unwrap(), "--h2 of other programs is --http 2 here");
        for fine in ["scalectl bench -d1s -t2 -c10 -h u", "scalectl bench --duration 1s u", "scalectl bench -- -rate"] {
            assert_eq!(refusal(fine), None, "{fine}");
        }
    }

    #[test]
    fn only_what_stands_behind_the_verb_is_its_own() {
        let command = crate::cli::command();
        let of = |line: &str| typed(&words(line), "bench", &command).map(|typed| typed.join(" "));
        assert_eq!(of("scalectl -q -C bench bench -r 5 -- x").as_deref(), Some("-r 5"));
        assert_eq!(of("scalectl exec bench -rate"), None);
        assert_eq!(of("scalectl up web bench -rate"), None);
        assert_eq!(of("scalectl"), None);
    }

    #[test]
    fn a_rate_behind_quiet_is_told() {
        let told = |line: &str| rate_of_quiet(&line.split(' ').collect::<Vec<_>>());
        for line in ["-q 50 u", "-q50 u", "-q=50 u"] {
            assert!(told(line).unwrap().contains("50 requests a second are -r 50"), "{line}");
        }
        assert_eq!(told("-q u -n 50"), None);
    }
}
