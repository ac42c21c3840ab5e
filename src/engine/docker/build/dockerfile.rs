//! What of a Dockerfile concerns us: which images it builds on, and on which line an instruction stands.
//!
//! The engine parses it for the build; this reads no more than it must, and takes what it does not know as it is.
//! Format: <https://docs.docker.com/reference/dockerfile/>.

use std::collections::BTreeMap;

/// A Dockerfile, as its instructions.
#[derive(Debug)]
pub struct Dockerfile {
    instructions: Vec<Instruction>,
}

/// One instruction with its continuation lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instruction {
    /// Where it begins, counted from 1.
    pub line: usize,
    /// In capitals: `RUN`.
    pub keyword: String,
    /// What follows, in one line.
    pub rest: String,
}

/// From a `FROM` to the next.
#[derive(Debug)]
struct Stage<'a> {
    from: &'a Instruction,
    name: Option<String>,
    /// An image, or an earlier stage; variables are replaced.
    base: String,
    instructions: &'a [Instruction],
}

impl Dockerfile {
    /// Reads the text of a Dockerfile.
    pub fn parse(text: &str) -> Self {
        let escape = escape(text);
        let mut instructions = Vec::new();
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line));
        while let Some((number, line)) = lines.next() {
            if is_empty(line) {
                continue;
            }
            let mut whole = line.trim().to_owned();
            while let Some(begun) = whole.strip_suffix(escape) {
                whole = begun.trim_end().to_owned();
                // Comments and empty lines between continuation lines do not end an instruction.
                let Some((_, next)) = lines.by_ref().find(|(_, line)| !is_empty(line)) else { break };
                whole = format!("{whole} {}", next.trim());
            }
            let (keyword, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
            let instruction =
                Instruction { line: number, keyword: keyword.to_uppercase(), rest: rest.trim().to_owned() };
            for (end, tabs) in heredocs(&instruction) {
                lines.by_ref().find(|(_, line)| if tabs { line.trim_start_matches('\t') == end } else { *line == end });
            }
            instructions.push(instruction);
        }
        Self { instructions }
    }

    /// The instruction `number` of all, counted from 1.
    pub fn instruction(&self, number: usize) -> Option<&Instruction> {
        self.instructions.get(number.checked_sub(1)?)
    }

    /// The instruction `number` of the `total` of a stage that change files, as BuildKit counts them from 1: `FROM` is
    /// one, but where it names another stage. Nothing if the stage has not so many.
    pub fn of_stage(&self, stage: Option<&str>, number: usize, total: usize) -> Option<&Instruction> {
        let stages = self.split(&BTreeMap::new());
        let at = match stage {
            Some(stage) => index(&stages, stage.strip_prefix("stage-").unwrap_or(stage))?,
            None => stages.len().checked_sub(1)?,
        };
        let stage = stages.get(at)?;
        let from = Some(stage.from).filter(|_| index(&stages[..at], &stage.base).is_none() && stage.base != "scratch");
        let changes = |i: &&Instruction| ["ADD", "COPY", "RUN", "WORKDIR"].contains(&i.keyword.as_str());
        let counted: Vec<_> = from.into_iter().chain(stage.instructions.iter().filter(changes)).collect();
        if counted.len() == total { counted.get(number.checked_sub(1)?).copied() } else { None }
    }

    /// What the `FROM` of this line names, the variables replaced.
    pub fn base(&self, line: usize, args: &BTreeMap<String, String>) -> Option<String> {
        self.split(args).into_iter().find(|stage| stage.from.line == line).map(|stage| stage.base)
    }

    /// The names of its stages.
    pub fn stages(&self) -> Vec<String> {
        self.split(&BTreeMap::new()).into_iter().filter_map(|stage| stage.name).collect()
    }

    /// The images from elsewhere that the target needs, the last stage where none is named; sorted, each once.
    pub fn bases(&self, args: &BTreeMap<String, String>, target: Option<&str>) -> Vec<String> {
        let stages = self.split(args);
        let last = target.and_then(|target| index(&stages, target)).or_else(|| stages.len().checked_sub(1));
        let mut open: Vec<usize> = last.into_iter().collect();
        let mut seen = open.clone();
        let mut images = Vec::new();
        while let Some(at) = open.pop() {
            for source in sources(&stages[at]) {
                match index(&stages[..at], &source) {
                    Some(stage) if seen.contains(&stage) => {}
                    Some(stage) => {
                        seen.push(stage);
                        open.push(stage);
                    }
                    None => images.push(source),
                }
            }
        }
        images.retain(|image| !image.is_empty() && image != "scratch");
        images.sort();
        images.dedup();
        images
    }

    fn split(&self, args: &BTreeMap<String, String>) -> Vec<Stage<'_>> {
        let mut variables = BTreeMap::new();
        let mut stages = Vec::new();
        for (at, instruction) in self.instructions.iter().enumerate() {
            match instruction.keyword.as_str() {
                "ARG" if stages.is_empty() => declare(&mut variables, &instruction.rest, args),
                "FROM" => {
                    let after = &self.instructions[at + 1..];
                    let length = after.iter().position(|i| i.keyword == "FROM").unwrap_or(after.len());
                    let words: Vec<_> = instruction.rest.split_whitespace().filter(|w| !w.starts_with("--")).collect();
                    let name = words.iter().position(|word| word.eq_ignore_ascii_case("as")).map(|at| at + 1);
                    stages.push(Stage {
                        from: instruction,
                        name: name.and_then(|at| words.get(at)).map(|name| name.to_lowercase()),
                        base: expand(words.first().unwrap_or(&""), &variables),
                        instructions: &after[..length],
                    });
                }
                _ => {}
            }
        }
        stages
    }
}

/// Where an instruction ends with it, the next line goes on.
fn escape(text: &str) -> char {
    let directives = text.lines().map(str::trim).take_while(|line| line.starts_with('#'));
    let mut pairs = directives.filter_map(|line| line.trim_start_matches('#').split_once('='));
    let found = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("escape"));
    if found.is_some_and(|(_, value)| value.trim() == "`") { '`' } else { '\\' }
}

fn is_empty(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// The ends of the here-documents of an instruction, and whether tabs before the end are ignored.
fn heredocs(instruction: &Instruction) -> Vec<(String, bool)> {
    if !["RUN", "COPY", "ADD"].contains(&instruction.keyword.as_str()) {
        return Vec::new();
    }
    let words = instruction.rest.split_whitespace().filter_map(|word| word.strip_prefix("<<"));
    let ends = words.map(|word| (word.trim_start_matches('-').trim_matches(['"', '\'']), word.starts_with('-')));
    let is_name = |name: &str| name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    ends.filter(|(name, _)| is_name(name)).map(|(name, tabs)| (name.to_owned(), tabs)).collect()
}

/// A stage by its name or number.
fn index(stages: &[Stage], wanted: &str) -> Option<usize> {
    let wanted = wanted.to_lowercase();
    let named = stages.iter().rposition(|stage| stage.name.as_deref() == Some(&wanted));
    named.or_else(|| wanted.parse().ok().filter(|number| *number < stages.len()))
}

/// What a stage takes files from: its base, `COPY --from` and `RUN --mount=from`.
fn sources(stage: &Stage) -> Vec<String> {
    let mut sources = vec![stage.base.clone()];
    for instruction in stage.instructions {
        let flags = instruction.rest.split_whitespace().take_while(|word| word.starts_with("--"));
        for flag in flags {
            let from = match instruction.keyword.as_str() {
                "COPY" | "ADD" => flag.strip_prefix("--from="),
                "RUN" => flag.strip_prefix("--mount=").and_then(|m| m.split(',').find_map(|p| p.strip_prefix("from="))),
                _ => None,
            };
            sources.extend(from.map(str::to_owned));
        }
    }
    sources
}

/// `ARG NAME=default …` before the first stage; a build argument goes before the default.
fn declare(variables: &mut BTreeMap<String, String>, rest: &str, args: &BTreeMap<String, String>) {
    for word in shell_words::split(rest).unwrap_or_default() {
        let (name, default) = word.split_once('=').map_or((word.as_str(), None), |(name, value)| (name, Some(value)));
        let value = args.get(name).cloned().or_else(|| default.map(|value| expand(value, variables)));
        if let Some(value) = value {
            variables.insert(name.to_owned(), value);
        }
    }
}

/// Replaces `$NAME`, `${NAME}`, `${NAME:-default}` and `${NAME:+other}`.
fn expand(text: &str, variables: &BTreeMap<String, String>) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let (value, remainder) = match after.strip_prefix('{').and_then(|after| closing(after)) {
            Some((inside, remainder)) => (braced(inside, variables), remainder),
            None => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                (variables.get(&after[..end]).cloned().unwrap_or_default(), &after[end..])
            }
        };
        expanded.push_str(&value);
        rest = remainder;
    }
    expanded + rest
}

/// Splits at the brace that closes an expression; expressions may be nested.
fn closing(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return Some((&text[..at], &text[at + 1..])),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

fn braced(inside: &str, variables: &BTreeMap<String, String>) -> String {
    let value = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
    if let Some((name, default)) = inside.split_once(":-") {
        value(name).unwrap_or_else(|| expand(default, variables))
    } else if let Some((name, other)) = inside.split_once(":+") {
        value(name).map(|_| expand(other, variables)).unwrap_or_default()
    } else {
        value(inside).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(text: &str, args: &[(&str, &str)], target: Option<&str>) -> Vec<String> {
        let args = args.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Dockerfile::parse(text).bases(&args, target)
    }

    #[test]
    fn a_base_is_found_with_its_arguments() {
        let text = "ARG V=3.13\nARG NAME=python:${V}-slim\nFROM --platform=linux/amd64 $NAME as base\n";
        assert_eq!(bases(text, &[], None), ["python:3.13-slim"]);
        assert_eq!(bases(text, &[("V", "3.14")], None), ["python:3.14-slim"]);
        assert_eq!(bases("ARG A\nFROM x:${A:-1}${A:+-a}\n", &[], None), ["x:1"]);
        assert_eq!(bases("ARG A\nFROM x:${A:-1}${A:+-a}\n", &[("A", "2")], None), ["x:2-a"]);
        // An argument that is not declared has no effect.
        assert_eq!(bases("FROM x:1$V\n", &[("V", "2")], None), ["x:1"]);
    }

    const STAGES: &str = "
FROM node:24 AS assets
FROM golang:1 AS unused
FROM python:3 AS Build
COPY --from=assets /a /a
FROM scratch
COPY --chown=1 --from=build /b /b
COPY --from=busybox:1 /c /c
RUN --mount=type=bind,from=tools:2,target=/t true
";

    #[test]
    fn only_what_the_target_needs_counts() {
        assert_eq!(bases(STAGES, &[], None), ["busybox:1", "node:24", "python:3", "tools:2"]);
        assert_eq!(bases(STAGES, &[], Some("build")), ["node:24", "python:3"]);
        assert_eq!(bases(STAGES, &[], Some("1")), ["golang:1"]);
        assert_eq!(Dockerfile::parse(STAGES).stages(), ["assets", "unused", "build"]);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let text =
            "# escape=\\\n\nFROM a\nRUN one \\\n  # why\n\n  && two\nrun <<-EOF three\nFROM nothing\n\tEOF\nCMD x\n";
        let file = Dockerfile::parse(text);
        let step = |n| file.instruction(n).map(|i| (i.line, i.keyword.as_str(), i.rest.as_str()));
        assert_eq!(step(2), Some((4, "RUN", "one && two")));
        assert_eq!(step(3), Some((8, "RUN", "<<-EOF three")));
        assert_eq!(step(4), Some((11, "CMD", "x")));
        assert_eq!((step(0), step(5)), (None, None));
    }

    #[test]
    fn steps_of_a_stage_are_those_that_change_files() {
        let file =
            Dockerfile::parse("FROM a\nARG X\nRUN 1\nFROM scratch AS b\nCOPY x /\nFROM b\nENV A=1\nWORKDIR /\nRUN 2\n");
        let line = |stage, number, total| file.of_stage(stage, number, total).map(|i| i.line);
        assert_eq!(line(Some("stage-0"), 1, 2), Some(1));
        assert_eq!(line(Some("stage-0"), 2, 2), Some(3));
        assert_eq!(line(Some("b"), 1, 1), Some(5));
        assert_eq!(line(Some("stage-2"), 2, 2), Some(9));
        assert_eq!(line(None, 1, 2), Some(8));
        assert_eq!((line(Some("b"), 1, 2), line(Some("c"), 1, 1), line(Some("b"), 2, 1)), (None, None, None));
    }

    #[test]
    fn a_backtick_may_continue_a_line() {
        let file = Dockerfile::parse("# escape=`\nFROM a\nRUN dir c:\\ `\n  && x\n");
        assert_eq!(file.instruction(2).unwrap().rest, "dir c:\\ && x");
    }
}
