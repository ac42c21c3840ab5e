//! Why a build failed, from what the builder said.
//!
//! The words are those of Docker Engine 20.10 to 29 (classic builder and BuildKit) and of Podman 4 and 5.

use super::super::pull;
use super::super::reference::Reference;
use super::BuildSpec;
use super::dockerfile::{Dockerfile, Instruction};
use super::log::{Step, short};
use crate::error::Failure;

/// The exit code of a command that was killed with SIGKILL.
const KILLED: &str = "137";

/// The failure of a build, at the step where it ended.
pub fn of(spec: &BuildSpec, dockerfile: &Dockerfile, step: Option<&Step>, said: &str) -> Failure {
    if let Some(failure) = malformed(spec, dockerfile, said) {
        return failure;
    }
    let said_of_step = step.and_then(|step| step.error.as_deref()).unwrap_or(said);
    let instruction = step.and_then(|step| instruction(dockerfile, step));
    let place = instruction.map(|instruction| format!("{}:{}", spec.dockerfile.display(), instruction.line));
    if let Some(base) = step.and_then(|step| missing_base(spec, dockerfile, step, said)) {
        let failure = pull::refused(&base, &Reference::of(&base), false, said_of_step);
        let failure = place.into_iter().fold(failure, Failure::because);
        return failure.because(format!("the build of {} needs it", spec.tag));
    }
    match step {
        Some(step) => failed(spec, step, place, said_of_step),
        None if is_full(said) => pull::disk_full(&format!("build {}", spec.tag)).because(said.trim()),
        None => Failure::failed(format!("the build of {} failed", spec.tag)).because(said.trim()),
    }
}

fn failed(spec: &BuildSpec, step: &Step, place: Option<String>, said: &str) -> Failure {
    let title = if step.title.is_empty() { "a step" } else { &step.title };
    let what = format!("{title} of the build of {} failed: {}", spec.tag, short(&step.instruction));
    let full = is_full(said) || step.output.iter().any(|line| is_full(line));
    let failure = match full {
        true => pull::disk_full(&format!("build {}", spec.tag)).because(what),
        false => Failure::failed(what),
    };
    let failure = place.into_iter().fold(failure, Failure::because);
    let code = exit_code(said);
    let failure = match &code {
        Some(code) => failure.because(format!("exit code {code}")),
        None => failure.because(said.trim()),
    };
    let failure = step.output.iter().fold(failure, |failure, line| failure.because(line.clone()));
    match code.as_deref() {
        Some(KILLED) => failure.hint("the command was killed: it may have needed more memory than the engine has"),
        _ => failure,
    }
}

/// The Dockerfile itself is wrong: nothing was built.
fn malformed(spec: &BuildSpec, dockerfile: &Dockerfile, said: &str) -> Option<Failure> {
    let lower = said.to_lowercase();
    let path = spec.dockerfile.display();
    if lower.contains("failed to reach build target") || lower.contains("target stage") {
        let target = spec.target.as_deref().unwrap_or_default();
        return Some(
            Failure::usage(format!("{path} has no stage {target}"))
                .because(said.trim())
                .hint(format!("stages with a name: {}", named(dockerfile.stages()))),
        );
    }
    let (_, place) = lower.split_once("parse error").filter(|_| lower.contains("dockerfile parse error"))?;
    let number: String =
        place.trim_start_matches(" on").trim_start_matches(" line ").chars().take_while(char::is_ascii_digit).collect();
    let reason = said.rsplit_once(&format!("line {number}: ")).map_or(said, |(_, reason)| reason);
    let place = if number.is_empty() { path.to_string() } else { format!("{path}:{number}") };
    Some(Failure::usage(format!("{place}: {}", reason.trim())))
}

fn named(stages: Vec<String>) -> String {
    if stages.is_empty() { "none".to_owned() } else { stages.join(", ") }
}

/// The instruction of a step: by its number, or where the builder does not count all instructions, by its text.
fn instruction<'a>(dockerfile: &'a Dockerfile, step: &Step) -> Option<&'a Instruction> {
    match step.number {
        Some(number) => dockerfile.step(number),
        None => dockerfile.find(&step.instruction),
    }
}

/// The image from elsewhere for want of which a step failed.
fn missing_base(spec: &BuildSpec, dockerfile: &Dockerfile, step: &Step, said: &str) -> Option<String> {
    let fetches = step.instruction.starts_with("FROM ")
        || step.instruction.starts_with("COPY --from=")
        || step.instruction.starts_with("[internal] load metadata for ");
    if !fetches || is_full(said) {
        return None;
    }
    let images = dockerfile.bases(&spec.args, None);
    let named = |image: &&String| {
        let full = Reference::of(image).to_string();
        step.instruction.contains(image.as_str()) || step.instruction.contains(&full) || said.contains(&full)
    };
    let found = images.iter().filter(named).max_by_key(|image| image.len());
    let first = || step.instruction.strip_prefix("FROM ").and_then(|rest| rest.split_whitespace().next());
    found.cloned().or_else(|| first().map(str::to_owned))
}

fn is_full(text: &str) -> bool {
    text.to_lowercase().contains("no space left on device")
}

/// `… returned a non-zero code: 2` (classic), `… exit code: 2` (BuildKit), `… exit status 2` (Podman).
fn exit_code(said: &str) -> Option<String> {
    let after = ["returned a non-zero code: ", "exit code: ", "exit status "];
    let (_, rest) = after.iter().find_map(|words| said.rsplit_once(words))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    (!digits.is_empty()).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> BuildSpec {
        BuildSpec { dockerfile: "Dockerfile".into(), tag: "shop:1".into(), ..BuildSpec::default() }
    }

    fn step(title: &str, instruction: &str, number: Option<usize>) -> Step {
        let mut step = Step::default();
        (step.title, step.instruction, step.number) = (title.into(), instruction.into(), number);
        step
    }

    fn cause(text: &str, step: Option<&Step>, said: &str) -> Failure {
        of(&spec(), &Dockerfile::parse(text), step, said)
    }

    const TEXT: &str = "ARG V=3\nFROM python:$V\n\nRUN pip install \\\n  nothing\n";

    #[test]
    fn a_failed_step_has_its_line_its_code_and_its_output() {
        let mut failing = step("step 3/3", "RUN pip install   nothing", Some(3));
        failing.output.push_back("no such package".into());
        let failure = cause(TEXT, Some(&failing), "The command '/bin/sh -c x' returned a non-zero code: 2");
        assert_eq!(failure.what(), "step 3/3 of the build of shop:1 failed: RUN pip install   nothing");
        assert_eq!(failure.evidence(), ["Dockerfile:4", "exit code 2", "no such package"]);
        let buildkit = step("step 2/2", "RUN pip install   nothing", None);
        let failure = cause(TEXT, Some(&buildkit), "process \"x\" did not complete successfully: exit code: 137");
        assert_eq!(failure.evidence(), ["Dockerfile:4", "exit code 137"]);
        assert!(failure.hints()[0].contains("memory"));
    }

    #[test]
    fn a_base_that_is_missing_is_named() {
        let classic = step("step 2/3", "FROM python:$V", Some(2));
        let said = "manifest for python:3 not found: manifest unknown";
        let failure = cause(TEXT, Some(&classic), said);
        assert!(failure.what().contains("no library/python with tag 3"), "{failure}");
        assert_eq!(failure.evidence(), [said, "Dockerfile:2", "the build of shop:1 needs it"]);
        let buildkit = step("", "[internal] load metadata for docker.io/library/python:3", None);
        let failure = cause(TEXT, Some(&buildkit), "docker.io/library/python:3: not found");
        assert!(failure.what().starts_with("there is no image python:3"), "{failure}");
    }

    #[test]
    fn a_full_disk_is_seen_in_the_output_too() {
        let mut failing = step("step 3/3", "RUN fill", Some(3));
        failing.output.push_back("cp: error writing 'x': No space left on device".into());
        let failure = cause(TEXT, Some(&failing), "returned a non-zero code: 1");
        assert_eq!(failure.what(), "cannot build shop:1: the engine's disk is full");
        assert!(failure.hints()[0].contains("docker system df"));
    }

    #[test]
    fn a_wrong_dockerfile_is_the_users_and_has_a_line() {
        for said in [
            "dockerfile parse error line 3: unknown instruction: RUNN",
            "failed to solve with frontend dockerfile.v0: dockerfile parse error on line 3: unknown instruction: RUNN",
        ] {
            let failure = cause(TEXT, None, said);
            assert_eq!(failure.what(), "Dockerfile:3: unknown instruction: RUNN");
            assert_eq!(failure.exit().code(), 2);
        }
        let spec = BuildSpec { target: Some("gone".into()), ..spec() };
        let stages = Dockerfile::parse("FROM a AS one\nFROM b AS two");
        let failure = of(&spec, &stages, None, "failed to reach build target gone in Dockerfile");
        assert_eq!(
            (failure.what(), failure.hints()),
            ("Dockerfile has no stage gone", &["stages with a name: one, two".to_owned()][..])
        );
    }
}
