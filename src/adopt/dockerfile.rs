//! What a Dockerfile says about the service that its image runs: port, command, health check.
//!
//! Reads the last stage, or the target. Instructions are as in
//! <https://docs.docker.com/reference/dockerfile/>; what is not understood is left out, never guessed.

use std::sync::LazyLock;

use regex::Regex;

/// The stage of a Dockerfile that becomes the image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// The image that it starts from, where that is no earlier stage.
    pub base: String,
    /// Whether the Dockerfile has this stage alone.
    pub only_stage: bool,
    /// Ports of EXPOSE, TCP only.
    pub ports: Vec<u16>,
    /// CMD as program and arguments.
    pub command: Option<Vec<String>>,
    /// ENTRYPOINT as program and arguments.
    pub entrypoint: Option<Vec<String>>,
    /// The command of HEALTHCHECK, as one text.
    pub health: Option<String>,
}

#[derive(Debug, Clone, Default)]
struct Stage {
    name: String,
    image: Image,
}

/// Reads a Dockerfile; `target` names a stage, or its number. `None` where there is no such stage.
pub fn read(text: &str, target: Option<&str>) -> Option<Image> {
    let mut arguments: Vec<(String, String)> = Vec::new();
    let mut stages: Vec<Stage> = Vec::new();
    for (instruction, rest) in instructions(text) {
        match (instruction.as_str(), stages.last_mut()) {
            ("FROM", _) => {
                let stage = stage(&with_arguments(&rest, &arguments), &stages);
                stages.push(stage);
            }
            ("ARG", _) | ("ENV", Some(_)) => arguments.extend(assignments(&rest)),
            (_, Some(stage)) => stage.image.instruct(&instruction, &rest, &arguments),
            _ => {}
        }
    }
    let only_stage = stages.len() == 1;
    let position = match target {
        None => stages.len().checked_sub(1)?,
        Some(wanted) => stages
            .iter()
            .position(|stage| stage.name.eq_ignore_ascii_case(wanted))
            .or_else(|| wanted.parse().ok().filter(|number| *number < stages.len()))?,
    };
    Some(Image { only_stage, ..stages.swap_remove(position).image })
}

/// The instructions in order, in capitals, each with the rest of its line: comments gone, continued lines joined, the
/// bodies of here-documents left out.
fn instructions(text: &str) -> Vec<(String, String)> {
    let escape = escape_character(text);
    let mut lines = text.lines();
    let mut found = Vec::new();
    while let Some(first) = lines.next() {
        let mut whole = String::new();
        let mut next = Some(first);
        while let Some(line) = next {
            let line = line.trim();
            // Comments and empty lines may stand between the parts of a continued line.
            if line.starts_with('#') || (line.is_empty() && !whole.is_empty()) {
                next = if whole.is_empty() { None } else { lines.next() };
                continue;
            }
            match line.strip_suffix(escape) {
                Some(part) => {
                    whole.push_str(part);
                    whole.push(' ');
                    next = lines.next();
                }
                None => {
                    whole.push_str(line);
                    next = None;
                }
            }
        }
        for end in here_documents(&whole) {
            let _ = lines.by_ref().find(|line| line.trim_start_matches('\t') == end);
        }
        if let Some((instruction, rest)) = whole.split_once(char::is_whitespace) {
            found.push((instruction.to_ascii_uppercase(), rest.trim().to_owned()));
        }
    }
    found
}

/// `# escape=` before anything else may name another character than the backslash.
fn escape_character(text: &str) -> char {
    let directives = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    let escape = directives.filter_map(|line| line.split_once('=')).find(|(name, _)| name.trim() == "escape");
    escape.and_then(|(_, value)| value.trim().chars().next()).unwrap_or('\\')
}

static HERE_DOCUMENT: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r#"<<-?["']?([A-Za-z_]\w*)["']?"#).ok());

/// The words that end the here-documents of an instruction.
fn here_documents(instruction: &str) -> Vec<String> {
    let takes_them = ["RUN", "COPY", "ADD"]
        .iter()
        .any(|name| instruction.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    let Some(pattern) = HERE_DOCUMENT.as_ref().filter(|_| takes_them) else { return Vec::new() };
    pattern.captures_iter(instruction).map(|found| found[1].to_owned()).collect()
}

/// `NAME=value …` of ARG and ENV, or `NAME value` of ENV.
fn assignments(rest: &str) -> Vec<(String, String)> {
    let words = shell_words::split(rest).unwrap_or_default();
    match words.as_slice() {
        [name, value] if !name.contains('=') => vec![(name.clone(), value.clone())],
        words => words
            .iter()
            .filter_map(|word| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
            .collect(),
    }
}

/// Replaces `$NAME`, `${NAME}` and `${NAME:-default}` by what ARG and ENV said before; what they did not say stays.
fn with_arguments(text: &str, arguments: &[(String, String)]) -> String {
    static VARIABLE: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)(?::-([^}]*))?\})").ok());
    let Some(pattern) = VARIABLE.as_ref() else { return text.to_owned() };
    let value = |found: &regex::Captures<'_>| {
        let name = found.get(1).or(found.get(2)).map_or("", |name| name.as_str());
        let known = arguments.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
        known.or_else(|| found.get(3).map(|default| default.as_str().to_owned())).unwrap_or_else(|| found[0].to_owned())
    };
    pattern.replace_all(text, value).into_owned()
}

/// The stage that a FROM begins: an earlier stage's settings, or none.
fn stage(rest: &str, earlier: &[Stage]) -> Stage {
    let words: Vec<&str> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let base = words.first().copied().unwrap_or_default();
    let name = match words.as_slice() {
        [_, keyword, name, ..] if keyword.eq_ignore_ascii_case("as") => (*name).to_owned(),
        _ => String::new(),
    };
    let image = earlier.iter().find(|stage| !stage.name.is_empty() && stage.name.eq_ignore_ascii_case(base));
    let image = image.map_or_else(|| Image { base: base.to_owned(), ..Image::default() }, |stage| stage.image.clone());
    Stage { name, image }
}

impl Image {
    fn instruct(&mut self, instruction: &str, rest: &str, arguments: &[(String, String)]) {
        match instruction {
            // Of a command the shell replaces the variables, when it runs.
            "EXPOSE" => self.ports.extend(with_arguments(rest, arguments).split_whitespace().filter_map(port)),
            "CMD" => self.command = Some(command(rest)),
            "ENTRYPOINT" => {
                self.entrypoint = Some(command(rest)).filter(|command| !command.is_empty());
                // As in the builder: a CMD of the base does not belong to a new ENTRYPOINT.
                self.command = None;
            }
            "HEALTHCHECK" => {
                let options_end = rest.split_whitespace().take_while(|word| word.starts_with("--")).count();
                let words: Vec<&str> = rest.split_whitespace().skip(options_end).collect();
                self.health = match words.split_first() {
                    Some((first, command)) if first.eq_ignore_ascii_case("CMD") => Some(command.join(" ")),
                    _ => None,
                };
            }
            _ => {}
        }
    }
}

/// `8000` or `8000/tcp`; of a range its first port.
fn port(word: &str) -> Option<u16> {
    let number = match word.split_once('/') {
        Some((number, protocol)) if protocol.eq_ignore_ascii_case("tcp") => number,
        Some(_) => return None,
        None => word,
    };
    number.split('-').next()?.parse().ok().filter(|port| *port > 0)
}

/// The exec form is JSON; everything else is a line for a shell.
fn command(rest: &str) -> Vec<String> {
    serde_json::from_str(rest).unwrap_or_else(|_| vec!["/bin/sh".to_owned(), "-c".to_owned(), rest.to_owned()])
}

static HTTP_CHECK: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"https?://(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\])(?::(\d+|\$\{?\w+(?::-\d+)?\}?))?(/[^\s"'|;&)\\\]]*)?"#).ok()
});

/// The path and port that a health check's command asks over HTTP, where it does: by curl, wget or the like.
pub fn http_check(command: &str) -> Option<(String, Option<u16>)> {
    let found = HTTP_CHECK.as_ref()?.captures(command)?;
    let path = found.get(2).map_or("/", |path| path.as_str());
    Some((path.to_owned(), found.get(1).and_then(|port| port.as_str().parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# syntax=docker/dockerfile:1
ARG PYTHON=3.13
FROM python:${PYTHON}-slim AS build
EXPOSE 1234
RUN pip install \
    # a comment in between

    -r requirements.txt
RUN <<EOF
EXPOSE 99
EOF
FROM build as web
ENV PORT=8000
EXPOSE $PORT 53/udp 9000-9010/tcp
HEALTHCHECK --interval=5s \
  CMD curl -fsS http://localhost:8000/healthz || exit 1
CMD ["gunicorn", "app:app"]
FROM web AS worker
cmd celery -A app worker
"#;

    #[test]
    fn a_stage_has_what_it_and_the_stages_below_it_say() {
        let web = read(TEXT, Some("web")).unwrap();
        assert_eq!((web.base.as_str(), web.only_stage), ("python:3.13-slim", false));
        assert_eq!(web.ports, [1234, 8000, 9000]);
        assert_eq!(web.command.unwrap(), ["gunicorn", "app:app"]);
        assert_eq!(http_check(&web.health.unwrap()), Some(("/healthz".to_owned(), Some(8000))));
        let worker = read(TEXT, None).unwrap();
        assert_eq!(worker.command.unwrap(), ["/bin/sh", "-c", "celery -A app worker"]);
        assert_eq!(read(TEXT, Some("0")).unwrap().ports, [1234]);
        assert_eq!(read(TEXT, Some("nope")), None);
        assert_eq!(read("", None), None);
    }

    #[test]
    fn an_entrypoint_takes_the_command_of_its_base_away() {
        let text = "FROM a AS b\nCMD [\"x\"]\nFROM b\nENTRYPOINT [\"tini\", \"--\"]\nHEALTHCHECK NONE\n";
        let image = read(text, None).unwrap();
        assert_eq!((image.entrypoint.unwrap().len(), image.command, image.health), (2, None, None));
    }

    #[test]
    fn another_escape_character_joins_lines() {
        let text = "# escape=`\nFROM x\nEXPOSE 80 `\n 81\n";
        assert_eq!(read(text, None).unwrap().ports, [80, 81]);
    }

    #[test]
    fn a_check_over_http_is_known_by_its_address() {
        for (command, expected) in [
            ("wget -q --spider http://127.0.0.1/ || exit 1", Some(("/", None))),
            ("[\"curl\", \"-f\", \"http://localhost:8000/ready?x=1\"]", Some(("/ready?x=1", Some(8000)))),
            ("python -c \"import urllib.request as u; u.urlopen('http://0.0.0.0:80/up')\"", Some(("/up", Some(80)))),
            ("curl http://localhost:$PORT", Some(("/", None))),
            ("curl https://example.com/", None),
            ("pg_isready", None),
        ] {
            let found = http_check(command);
            assert_eq!(found, expected.map(|(path, port): (&str, _)| (path.to_owned(), port)), "{command}");
        }
    }
}
