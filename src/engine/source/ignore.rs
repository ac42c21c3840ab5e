//! `.dockerignore`: which paths of a build folder do not belong to it.
//!
//! The semantics are those of Docker's own matcher (github.com/moby/patternmatcher), which differ from `.gitignore`:
//! every pattern is anchored at the root, the last match wins, a match of a parent folder counts for what is in it,
//! and an exception (`!`) can bring back a file of an excluded folder.

use std::path::Path;

use regex::Regex;

/// A pattern that Docker, too, would refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: \"{pattern}\" is not a valid pattern: {reason}")]
pub struct PatternError {
    /// Number of the line, from 1.
    pub line: usize,
    /// The pattern as written.
    pub pattern: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The patterns of one `.dockerignore`.
#[derive(Debug, Clone, Default)]
pub struct Ignore(Vec<Pattern>);

#[derive(Debug, Clone)]
struct Pattern {
    exception: bool,
    matcher: Matcher,
    /// Leading parts without a wildcard: where an exception can match at all.
    literal_parts: Vec<String>,
}

#[derive(Debug, Clone)]
enum Matcher {
    Exact(String),
    /// `**` first and no wildcard behind it: the path ends with this.
    Suffix(String),
    Regex(Regex),
}

impl Ignore {
    /// Reads the text of a `.dockerignore`.
    ///
    /// # Errors
    /// The first line that is not a valid pattern.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut patterns = Vec::new();
        for (index, line) in text.lines().enumerate() {
            // A comment has its `#` in the first column; a pattern may begin with white space and `#`.
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let refused = |reason: String| PatternError { line: index + 1, pattern: line.trim().to_owned(), reason };
            let (exception, pattern) = match line.trim().strip_prefix('!') {
                Some(rest) => (true, clean(rest.trim())),
                None => (false, clean(line.trim())),
            };
            if exception && pattern.is_empty() {
                return Err(refused("an exception needs a pattern behind its \"!\"".to_owned()));
            }
            if pattern != "." && !pattern.is_empty() {
                patterns.push(Pattern::new(exception, &pattern).map_err(refused)?);
            }
        }
        Ok(Self(patterns))
    }

    /// Whether `path` (relative, separated by `/`) is left out, by itself or because a folder above it is.
    pub fn excludes(&self, path: &str) -> bool {
        let mut excluded = false;
        for pattern in &self.0 {
            // An exclusion cannot change what is excluded, nor an exception what is not.
            if pattern.exception == excluded && self_or_parents(path).any(|candidate| pattern.matches(candidate)) {
                excluded = !pattern.exception;
            }
        }
        excluded
    }

    /// Whether an excluded folder must be looked into, since an exception may bring back something of it.
    pub fn may_bring_back_below(&self, folder: &str) -> bool {
        self.0
            .iter()
            .filter(|pattern| pattern.exception)
            .any(|pattern| pattern.literal_parts.iter().zip(folder.split('/')).all(|(wanted, part)| wanted == part))
    }
}

/// `a/b/c`, `a`, `a/b`.
fn self_or_parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::once(path).chain(path.match_indices('/').map(|(end, _)| &path[..end]))
}

/// As Go's `filepath.Clean`, and without a leading slash: no empty part, no `.`, no `..` that can be resolved.
fn clean(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if pattern.starts_with('/') => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() && !pattern.is_empty() { ".".to_owned() } else { parts.join("/") }
}

impl Pattern {
    fn new(exception: bool, pattern: &str) -> Result<Self, String> {
        let wild = |text: &str| text.contains(['*', '?', '[', '\\']);
        let literal_parts = pattern.split('/').take_while(|part| !wild(part)).map(str::to_owned).collect();
        let matcher = match pattern.strip_prefix("**") {
            _ if !wild(pattern) => Matcher::Exact(pattern.to_owned()),
            Some(rest) if !wild(rest) => Matcher::Suffix(rest.to_owned()),
            _ => Matcher::Regex(Regex::new(&to_regex(pattern)?).map_err(|error| first_line(&error))?),
        };
        Ok(Self { exception, matcher, literal_parts })
    }

    fn matches(&self, path: &str) -> bool {
        match &self.matcher {
            Matcher::Exact(pattern) => path == pattern,
            Matcher::Suffix(suffix) => path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path),
            Matcher::Regex(regex) => regex.is_match(path),
        }
    }
}

fn first_line(error: &regex::Error) -> String {
    match error {
        // The library's message draws the expression; its last line has the reason.
        regex::Error::Syntax(text) => text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        other => other.to_string(),
    }
}

/// The expression that Docker's matcher makes of a pattern.
fn to_regex(pattern: &str) -> Result<String, String> {
    let mut regex = String::from("(?s)^");
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.next_if_eq(&'*').is_some() => {
                // `**/` is `**`: any number of folders, none included.
                chars.next_if_eq(&'/');
                regex.push_str(if chars.peek().is_none() { ".*" } else { "(.*/)?" });
            }
            '*' => regex.push_str("[^/]*"),
            '?' => regex.push_str("[^/]"),
            '\\' => match chars.next() {
                Some(escaped) => regex.push_str(&regex::escape(&escaped.to_string())),
                None => return Err("nothing behind the last \"\\\"".to_owned()),
            },
            '[' | ']' | '^' | '-' => regex.push(c),
            // `&` and `~` have a meaning within brackets here that they have not in Go.
            '&' | '~' => regex.extend(['\\', c]),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    Ok(regex)
}

/// A path as the patterns see it.
pub(super) fn text(path: &Path) -> String {
    path.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded<'a>(ignore: &str, paths: &[&'a str]) -> Vec<&'a str> {
        let ignore = Ignore::parse(ignore).unwrap();
        paths.iter().copied().filter(|path| ignore.excludes(path)).collect()
    }

    /// The examples of Docker's reference, "dockerignore files".
    #[test]
    fn the_documented_patterns() {
        let first = "# comment\n*/temp*\n*/*/temp*\ntemp?\n";
        let paths = ["somedir/temporary.txt", "somedir/temp", "somedir/subdir/temporary.txt", "tempa", "tempb", "temp"];
        assert_eq!(excluded(first, &paths), &paths[..5]);
        assert_eq!(excluded("temp?", &["temp", "tempab", "dir/tempa"]), [""; 0]);
        assert_eq!(excluded("**/*.go", &["a.go", "x/a.go", "x/y/z/a.go", "a.gox"]), ["a.go", "x/a.go", "x/y/z/a.go"]);
        assert_eq!(excluded("*.md\n!README.md", &["a.md", "README.md", "x/a.md"]), ["a.md"]);
    }

    #[test]
    fn the_last_match_wins() {
        let paths = ["README.md", "README-secret.md", "README-public.md", "other.md"];
        assert_eq!(excluded("*.md\n!README*.md\nREADME-secret.md", &paths), ["README-secret.md", "other.md"]);
        assert_eq!(excluded("*.md\nREADME-secret.md\n!README*.md", &paths), ["other.md"]);
    }

    #[test]
    fn a_folder_stands_for_what_is_in_it_and_an_exception_brings_some_of_it_back() {
        let paths = ["vendor", "vendor/a", "vendor/keep/b", "vendored"];
        assert_eq!(excluded("vendor/", &paths), &paths[..3]);
        assert_eq!(excluded("/vendor", &paths), &paths[..3]);
        assert_eq!(excluded("vendor\n!vendor/keep", &paths), &paths[..2]);
        assert_eq!(excluded("*\n!app\n!Dockerfile", &["app/x.py", "Dockerfile", "notes"]), ["notes"]);
        assert_eq!(excluded("**\n!app/**", &["app/x.py", "notes/y"]), ["notes/y"]);
    }

    #[test]
    fn patterns_begin_at_the_root() {
        assert_eq!(excluded("temp", &["temp", "a/temp"]), ["temp"]);
        assert_eq!(excluded("**/temp", &["temp", "a/temp", "a/b/temp/c", "atemp"]), ["temp", "a/temp", "a/b/temp/c"]);
        assert_eq!(excluded("a/**/b", &["a/b", "a/x/b", "a/x/y/b", "ab"]), ["a/b", "a/x/b", "a/x/y/b"]);
        assert_eq!(excluded("a/**", &["a", "a/b", "a/b/c"]), ["a/b", "a/b/c"]);
        assert_eq!(excluded("**", &["a", "a/b"]), ["a", "a/b"]);
    }

    #[test]
    fn lines_are_cleaned_as_docker_does() {
        assert_eq!(excluded("\u{feff}  ./a//b/../c  \n\n   \n", &["a/c", "a/b"]), ["a/c"]);
        assert_eq!(excluded("! keep\n", &["keep"]), [""; 0]);
        assert_eq!(excluded("a\r\nb\r\n", &["a", "b"]), ["a", "b"]);
        assert_eq!(excluded(" #odd", &["#odd"]), ["#odd"]);
        assert_eq!(excluded(".\n/", &["a"]), [""; 0]);
    }

    #[test]
    fn special_characters_mean_themselves_and_classes_work() {
        assert_eq!(excluded("a.b+(c)*", &["a.b+(c)d", "axb+(c)d"]), ["a.b+(c)d"]);
        assert_eq!(excluded("[a-c]*.x", &["b.x", "d.x"]), ["b.x"]);
        assert_eq!(excluded("[^a]?", &["b1", "a1"]), ["b1"]);
        assert_eq!(excluded("\\*.txt", &["*.txt", "a.txt"]), ["*.txt"]);
    }

    #[test]
    fn an_invalid_pattern_is_named() {
        let error = Ignore::parse("ok\n[a-\n").unwrap_err();
        assert_eq!((error.line, error.pattern.as_str()), (2, "[a-"));
        assert!(error.to_string().starts_with("line 2: \"[a-\" is not a valid pattern: "), "{error}");
        assert!(!error.reason.contains('\n') && !error.reason.is_empty(), "{error}");
        assert!(Ignore::parse("!").is_err() && Ignore::parse("a\\").is_err());
    }

    #[test]
    fn only_where_an_exception_can_match_an_excluded_folder_is_walked() {
        let ignore = Ignore::parse("*\n!src/app\n!docs/**/x").unwrap();
        for walked in ["src", "src/app", "src/app/deep", "docs", "docs/a"] {
            assert!(ignore.may_bring_back_below(walked), "{walked}");
        }
        for skipped in ["target", "src/lib"] {
            assert!(!ignore.may_bring_back_below(skipped), "{skipped}");
        }
        assert!(Ignore::parse("a\n!**/keep").unwrap().may_bring_back_below("a"));
    }
}
