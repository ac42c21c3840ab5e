//! What is sent, and what is expected in return, as flags.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::builder::FalseyValueParser;

use crate::bench::{self, AssertSpec, Config, RequestSpec, StatusSet, Target};
use crate::error::Failure;
use crate::units::TimeSpan;

/// How many URLs one run may have figures of.
const MOST_URLS: usize = 200;

/// The part of the arguments that describes a request and its answer.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Request")]
pub struct RequestArgs {
    /// HTTP method [default: GET; POST with --body-json, --form and --multipart]
    #[arg(short, long, visible_short_alias = 'X', value_name = "METHOD", value_parser = method)]
    method: Option<String>,
    /// Header, as 'Name: value', of every request if there is a workload; repeat for more
    #[arg(short = 'H', long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Body of the request; like path and headers it may hold generators, '{{ uuid() }}'. @FILE: as --body-file; @-: stdin
    #[arg(short = 'd', long, value_name = "TEXT|@FILE", group = "content")]
    body: Option<String>,
    /// File whose bytes are the body of the request, as they are; '-' is stdin
    #[arg(short = 'D', long, value_name = "FILE", group = "content")]
    body_file: Option<PathBuf>,
    /// Body as JSON; sets the content type
    #[arg(long, value_name = "JSON", group = "content")]
    body_json: Option<String>,
    /// Field of a form (application/x-www-form-urlencoded), as 'name=value'; repeat for more
    #[arg(long, value_name = "FIELD", group = "content")]
    form: Vec<String>,
    /// Part of a multipart/form-data body, as 'name=value', 'name=@FILE' or 'name=@FILE;type=image/png'; repeat for more
    #[arg(short = 'F', long, value_name = "PART", group = "content")]
    multipart: Vec<String>,
    /// Content type of the body
    #[arg(short = 'T', long, value_name = "TYPE")]
    content_type: Option<String>,
    /// What is accepted as an answer [default: */*]
    #[arg(short = 'A', long, value_name = "TYPE")]
    accept: Option<String>,
    /// User and password for basic authentication, as 'user:password'; they may hold generators
    #[arg(short = 'a', long, value_name = "USER:PASSWORD", conflicts_with = "bearer")]
    user: Option<String>,
    /// Token for bearer authentication
    #[arg(long, value_name = "TOKEN")]
    bearer: Option<String>,
    /// Cookie, as 'name=value'; repeat for more
    #[arg(long = "cookie", value_name = "COOKIE")]
    cookies: Vec<String>,
    /// Host header [default: host and port of the URL]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// File of URLs or paths, one a line, all of the target, up to 200; which one is asked for is drawn each time
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,
    /// Follow up to so many redirects of a request, which lasts until the answer to the last one [default: 0]
    #[arg(long, value_name = "N", env = "SCALECTL_REDIRECTS")]
    redirects: Option<u32>,
    /// Ask for compressed answers, and decompress them after their end, outside of the service time
    #[arg(long, env = "SCALECTL_COMPRESSED", value_parser = FalseyValueParser::new())]
    compressed: bool,
    /// Statuses that count as ok, like 200,204 or 2xx [default: all below 400]
    #[arg(long, value_name = "STATUS")]
    expect_status: Option<StatusSet>,
    /// What has to hold of an answer for it to be ok: 'body contains TEXT', 'header NAME matches REGEX',
    /// '/json/pointer equals VALUE'; repeat for more
    #[arg(long = "assert", value_name = "ASSERTION")]
    assertions: Vec<AssertSpec>,
}

impl RequestArgs {
    /// The target that the first of the URLs has, where they come from a file.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or its first line is no URL.
    pub fn first_target(&self) -> Result<Option<Target>, Failure> {
        let Some(file) = &self.urls else { return Ok(None) };
        let lines = lines(file)?;
        let (number, line) = lines.first().ok_or_else(|| no_url(file))?;
        target_of(line).map(Some).map_err(|why| Failure::usage(format!("{}:{number}: {why}", file.display())))
    }

    /// Whether the body is what stdin has.
    pub fn is_body_in_stdin(&self) -> bool {
        self.body.as_deref() == Some("@-") || self.body_file.as_deref() == Some(Path::new("-"))
    }

    /// Puts what stdin has into the requests, if that is where their body is. It is read once, and last: what else is
    /// wrong is refused without it.
    ///
    /// # Errors
    ///
    /// It cannot be read.
    pub fn read_stdin(&self, config: &mut Config) -> Result<(), Failure> {
        if !self.is_body_in_stdin() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut bytes);
        read.map_err(|error| Failure::failed(format!("the body cannot be read from stdin: {error}")))?;
        let bytes = Bytes::from(bytes);
        config.requests.iter_mut().for_each(|request| request.body_bytes = Some(bytes.clone()));
        Ok(())
    }

    /// Whether the target is in a file of URLs.
    pub fn describes_urls(&self) -> bool {
        self.urls.is_some()
    }

    /// Refuses a body that is meant as a duration, as in `wrk -d 10s` and `h2load -D 10`: a GET has none.
    ///
    /// # Errors
    ///
    /// It is one.
    fn refuse_time_for_body(&self) -> Result<(), Failure> {
        let is_time = |text: &&str| text.parse::<TimeSpan>().is_ok();
        let is_get = self.method.is_none() && self.content_type.is_none();
        let body = self.body.as_deref().filter(|_| is_get).filter(is_time);
        let file = self.body_file.as_deref().filter(|path| !path.exists()).and_then(Path::to_str).filter(is_time);
        let Some((flag, time)) = body.map(|text| ("-d", text)).or(file.map(|text| ("-D", text))) else {
            return Ok(());
        };
        let of_file = if flag == "-D" { "the file of " } else { "" };
        let failure = Failure::usage(format!("{flag} {time}: that would be {of_file}the body of each request"))
            .hint(format!("how long requests are sent is -z {time}"));
        if flag == "-D" {
            return Err(failure);
        }
        Err(failure
            .hint("-t is the longest time an answer may take; threads are --threads N")
            .hint("if it is meant as a body, name the method: -m"))
    }

    /// Whether a request is described, so that a workload's own do not count: its method, its body, or where it goes.
    pub fn describes_a_request(&self) -> bool {
        let is_given = [&self.method, &self.body, &self.body_json].into_iter().any(Option::is_some);
        let has_fields = !self.form.is_empty() || !self.multipart.is_empty();
        is_given || has_fields || self.body_file.is_some() || self.urls.is_some()
    }

    /// Puts headers, cookies and credentials on every request of a workload; they go before its own.
    ///
    /// # Errors
    ///
    /// Headers or cookies that are not written as they should be.
    pub fn add_to(&self, config: &mut Config) -> Result<(), Failure> {
        let own = self.request("/")?;
        for request in config.every_request_mut() {
            if own.headers.has("cookie") {
                request.cookies.clear();
            }
            let known = request.headers.all("cookie").next().map(str::to_owned);
            if let Some(known) = known {
                let name = |pair: &str| pair.split_once('=').map_or(pair, |(name, _)| name).trim().to_owned();
                let stays = |pair: &&str| !own.cookies.contains_key(&name(pair));
                let left: Vec<_> = known.split(';').filter(stays).map(str::trim).collect();
                request.headers.remove("cookie");
                if !left.is_empty() {
                    request.headers.add("cookie", left.join("; "));
                }
            }
            own.headers.names().for_each(|name| request.headers.remove(name));
            own.headers.iter().for_each(|(name, value)| request.headers.add(name, value));
            request.cookies.extend(own.cookies.clone());
            if own.user.is_some() || own.bearer.is_some() {
                request.headers.remove("authorization");
                own.headers.all("authorization").for_each(|value| request.headers.add("authorization", value));
                (request.user, request.bearer) = (own.user.clone(), own.bearer.clone());
            }
        }
        Ok(())
    }

    /// The requests that the flags describe.
    ///
    /// # Errors
    ///
    /// Headers, fields or cookies that are not written as they should be, JSON that is none, URLs of other targets.
    pub fn requests(&self, target: &Target) -> Result<Vec<RequestSpec>, Failure> {
        let request = self.request(&target.path)?;
        let Some(file) = &self.urls else { return Ok(vec![request]) };
        let lines = lines(file)?;
        if lines.is_empty() {
            return Err(no_url(file));
        }
        if lines.len() > MOST_URLS {
            let what =
                format!("{}: {} URLs, and a run has figures of at most {MOST_URLS}", file.display(), lines.len());
            return Err(
                Failure::usage(what).hint("write their paths in a feed: [bench.NAME.feeds.urls], '{{ urls.line }}'")
            );
        }
        let request_of = |(number, line): &(usize, String)| {
            let wrong = |why: String| Failure::usage(format!("{}:{number}: {why}", file.display()));
            if line.contains(' ') && !line.contains("{{") {
                return Err(wrong("a line is one URL or path, without a method".to_owned())
                    .hint("requests with methods of their own go into a bench file: --bench-file"));
            }
            if line.starts_with('/') {
                return Ok(RequestSpec { path: line.clone(), ..request.clone() });
            }
            let found = target_of(line).map_err(wrong)?;
            if found.origin() != target.origin() {
                let why = format!("{} is another target than {}", found.origin(), target.origin());
                return Err(wrong(why).hint("a run has one target; run another one for that"));
            }
            Ok(RequestSpec { path: found.path, ..request.clone() })
        };
        lines.iter().map(request_of).collect()
    }

    fn request(&self, path: &str) -> Result<RequestSpec, Failure> {
        self.refuse_time_for_body()?;
        let mut request = RequestSpec::get(path);
        let sends_a_form = self.body_json.is_some() || !self.form.is_empty() || !self.multipart.is_empty();
        if sends_a_form {
            "POST".clone_into(&mut request.method);
        }
        request.method = self.method.clone().unwrap_or(request.method);
        match self.body.as_deref().map(|body| (body, body.strip_prefix('@'))) {
            _ if self.is_body_in_stdin() => {}
            Some((_, Some(file))) => request.body_file = Some(file.into()),
            Some((text, None)) => request.body = Some(text.to_owned()),
            None => request.body_file.clone_from(&self.body_file),
        }
        if let Some(text) = &self.body_json {
            let json = serde_json::from_str(text);
            request.json = Some(json.map_err(|error| Failure::usage(format!("--body-json is not JSON: {error}")))?);
        }
        for (flag, fields, into) in
            [("--form", &self.form, &mut request.form), ("--multipart", &self.multipart, &mut request.multipart)]
        {
            for field in fields {
                let (name, value) = field.split_once('=').ok_or_else(|| {
                    Failure::usage(format!("{flag} \"{field}\" has no \"=\"")).hint("write it like name=value")
                })?;
                if flag == "--form" && value.strip_prefix('@').is_some_and(|file| Path::new(file).is_file()) {
                    return Err(Failure::usage(format!("--form \"{field}\": a field of such a form is no file"))
                        .hint(format!("a part with a file is -F '{field}'"))
                        .hint(format!(
                            "if that text is meant: -d '{name}=%40{}' -T application/x-www-form-urlencoded",
                            &value[1..]
                        )));
                }
                if flag == "--multipart" && matches!(bench::file_of_part(value), Some(("-", _))) {
                    return Err(Failure::usage(format!("{flag} \"{field}\": a part is not read from stdin"))
                        .hint("write it to a file, and give that: name=@FILE"));
                }
                into.add(name, value);
            }
        }
        for cookie in self.cookies.iter().flat_map(|cookies| cookies.split(';')) {
            let (name, value) = cookie.trim().split_once('=').ok_or_else(|| {
                Failure::usage(format!("cookie \"{cookie}\" has no \"=\"")).hint("write it like --cookie name=value")
            })?;
            if request.cookies.insert(name.to_owned(), value.to_owned()).is_some() {
                return Err(Failure::usage(format!("--cookie: \"{name}\" is given twice")));
            }
        }
        for header in &self.headers {
            let (name, value) = header.split_once(':').ok_or_else(|| {
                Failure::usage(format!("header \"{header}\" has no colon")).hint("write it like -H 'Accept: text/html'")
            })?;
            request.headers.add(name.trim(), value.trim());
        }
        for (name, value) in [("host", &self.host), ("accept", &self.accept), ("content-type", &self.content_type)] {
            let Some(value) = value else { continue };
            if request.headers.has(name) {
                return Err(Failure::usage(format!("--{name} and -H both say what \"{name}\" is"))
                    .hint("leave one of them out"));
            }
            request.headers.add(name, value);
        }
        if self.user.as_ref().is_some_and(|user| !user.contains(':')) {
            return Err(Failure::usage("--user has no password").hint("write it like --user name:password"));
        }
        request.user.clone_from(&self.user);
        request.bearer.clone_from(&self.bearer);
        Ok(request)
    }

    /// Puts what is expected of answers on every request of a run.
    pub fn expect(&self, config: &mut Config) {
        config.compressed |= self.compressed;
        config.redirects = self.redirects.unwrap_or(config.redirects);
        for request in config.every_request_mut() {
            request.expect_status = self.expect_status.clone().or(request.expect_status.take());
            request.assert.extend(self.assertions.iter().cloned());
        }
    }
}

/// Reads a method. Those of everybody may be written small; others are as they are.
fn method(text: &str) -> Result<String, String> {
    const KNOWN: [&str; 9] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"];
    if text.parse::<u64>().is_ok() {
        return Err(format!(
            "a method is a word, like POST; requests at the same time on a connection are --streams {text}, and the \
             longest time an answer may take is --timeout {text}"
        ));
    }
    let known = KNOWN.iter().find(|known| known.eq_ignore_ascii_case(text));
    Ok(known.map_or_else(|| text.to_owned(), |known| (*known).to_owned()))
}

fn no_url(file: &Path) -> Failure {
    Failure::usage(format!("{}: no URL in it", file.display())).hint("write a URL or a path on each line")
}

fn target_of(line: &str) -> Result<Target, String> {
    line.parse().map_err(|error: bench::TargetError| error.to_string())
}

/// The lines of a file that say something, with their numbers.
fn lines(file: &PathBuf) -> Result<Vec<(usize, String)>, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", file.display())))?;
    let lines = text.lines().enumerate().map(|(number, line)| (number + 1, line.trim().to_owned()));
    Ok(lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).collect())
}
