//! Texts with generators, `/users/{{ zipf(1, 10000) }}`: compiled once, rendered per request.

use std::fmt::Write as _;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution as _, Zipf};

/// What generators there are, as they are written.
pub const GENERATORS: [(&str, &str); 4] = [
    ("int", "int(1, 100): a whole number, all equally likely"),
    ("seq", "seq(): the number of the request in the run, from 0; seq(1000) counts from 1000"),
    ("uuid", "uuid(): a random UUID (version 4)"),
    (
        "zipf",
        "zipf(1, 10000): a whole number, k-th most likely with weight 1/k; zipf(1, 10000, 0.8) with weight 1/k^0.8",
    ),
];

/// Why a text is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// `{{` without `}}`.
    #[error("\"{text}\": \"{{{{\" is not closed by \"}}}}\"")]
    Unclosed {
        /// The text.
        text: String,
    },
    /// Not of the form `name(arguments)`.
    #[error("\"{{{{ {found} }}}}\" is not a generator: expected a call like \"uuid()\" or \"int(1, 100)\"")]
    NotACall {
        /// What stands between the braces.
        found: String,
    },
    /// No generator of that name.
    #[error("there is no generator \"{name}\"{}", did_you_mean(name))]
    Unknown {
        /// The name.
        name: String,
    },
    /// Arguments that it does not take.
    #[error("generator {call}: {why}; write {usage}")]
    Arguments {
        /// What was written.
        call: String,
        /// What is wrong with it.
        why: String,
        /// How it is written.
        usage: &'static str,
    },
}

impl TemplateError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        let all = GENERATORS.map(|(_, usage)| usage.split(':').next().unwrap_or(usage)).join(", ");
        format!("generators are {all}")
    }
}

fn did_you_mean(name: &str) -> String {
    GENERATORS
        .iter()
        .map(|(known, _)| (strsim::jaro_winkler(name, known), *known))
        .filter(|(score, _)| *score > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| format!(", did you mean \"{known}\"?"))
        .unwrap_or_default()
}

/// A generator with its arguments.
#[derive(Debug, Clone)]
enum Generator {
    Int { low: i64, high: i64 },
    Seq { first: u64 },
    Uuid,
    Zipf { low: i64, law: Zipf<f64> },
}

impl Generator {
    fn parse(call: &str) -> Result<Self, TemplateError> {
        let not_a_call = || TemplateError::NotACall { found: call.to_owned() };
        let (name, rest) = call.split_once('(').ok_or_else(not_a_call)?;
        let arguments = rest.strip_suffix(')').ok_or_else(not_a_call)?;
        let name = name.trim();
        let (_, usage) = GENERATORS
            .iter()
            .find(|(known, _)| *known == name)
            .ok_or_else(|| TemplateError::Unknown { name: name.to_owned() })?;
        let arguments: Vec<&str> = arguments.split(',').map(str::trim).filter(|a| !a.is_empty()).collect();
        Self::with_arguments(name, &arguments).map_err(|why| TemplateError::Arguments {
            call: call.to_owned(),
            why,
            usage,
        })
    }

    fn with_arguments(name: &str, arguments: &[&str]) -> Result<Self, String> {
        match (name, arguments) {
            ("int", [low, high]) => {
                let (low, high) = range(low, high)?;
                Ok(Self::Int { low, high })
            }
            ("seq", []) => Ok(Self::Seq { first: 0 }),
            ("seq", [first]) => Ok(Self::Seq { first: whole(first)?.try_into().map_err(|_| "it is negative")? }),
            ("uuid", []) => Ok(Self::Uuid),
            ("zipf", [low, high]) => Self::zipf(low, high, 1.0),
            ("zipf", [low, high, exponent]) => {
                let exponent = exponent.parse().map_err(|_| format!("\"{exponent}\" is not a number"))?;
                Self::zipf(low, high, exponent)
            }
            _ => Err(format!("{} arguments are not what it takes", arguments.len())),
        }
    }

    fn zipf(low: &str, high: &str, exponent: f64) -> Result<Self, String> {
        let (low, high) = range(low, high)?;
        let size = high.checked_sub(low).and_then(|s| s.checked_add(1)).ok_or("the range is too wide")?;
        if !(exponent.is_finite() && exponent >= 0.0) {
            return Err("the exponent is below 0".to_owned());
        }
        let law = Zipf::new(size as f64, exponent).map_err(|e| e.to_string())?;
        Ok(Self::Zipf { low, law })
    }

    fn write(&self, n: u64, rng: &mut ChaCha8Rng, out: &mut String) {
        // Writing to a String does not fail.
        let _ = match self {
            Self::Int { low, high } => write!(out, "{}", rng.random_range(*low..=*high)),
            Self::Seq { first } => write!(out, "{}", first.wrapping_add(n)),
            Self::Uuid => write!(out, "{}", uuid::Builder::from_random_bytes(rng.random()).into_uuid()),
            Self::Zipf { low, law } => write!(out, "{}", low + law.sample(rng) as i64 - 1),
        };
    }
}

fn whole(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("\"{text}\" is not a whole number"))
}

fn range(low: &str, high: &str) -> Result<(i64, i64), String> {
    let (low, high) = (whole(low)?, whole(high)?);
    if low <= high { Ok((low, high)) } else { Err(format!("the range from {low} to {high} is empty")) }
}

#[derive(Debug, Clone)]
enum Segment {
    Literal(String),
    Generator(Generator),
}

/// A compiled text.
#[derive(Debug, Clone)]
pub struct Template {
    segments: Vec<Segment>,
}

impl Template {
    /// Compiles a text.
    ///
    /// # Errors
    ///
    /// Unclosed braces, unknown generators, arguments that a generator does not take.
    pub fn compile(text: &str) -> Result<Self, TemplateError> {
        let mut segments = Vec::new();
        let mut rest = text;
        while let Some((literal, behind)) = rest.split_once("{{") {
            let (call, next) =
                behind.split_once("}}").ok_or_else(|| TemplateError::Unclosed { text: text.to_owned() })?;
            if !literal.is_empty() {
                segments.push(Segment::Literal(literal.to_owned()));
            }
            segments.push(Segment::Generator(Generator::parse(call.trim())?));
            rest = next;
        }
        if !rest.is_empty() {
            segments.push(Segment::Literal(rest.to_owned()));
        }
        Ok(Self { segments })
    }

    /// The text, if it is the same for every request.
    pub fn constant(&self) -> Option<&str> {
        match self.segments.as_slice() {
            [] => Some(""),
            [Segment::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Appends the text of request `n`, drawing from `rng`.
    pub fn render(&self, n: u64, rng: &mut ChaCha8Rng, out: &mut String) {
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => out.push_str(text),
                Segment::Generator(generator) => generator.write(n, rng, out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    fn render(text: &str, n: u64, rng: &mut ChaCha8Rng) -> String {
        let mut out = String::new();
        Template::compile(text).unwrap().render(n, rng, &mut out);
        out
    }

    #[test]
    fn literals_and_generators_alternate() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        assert_eq!(render("/users", 7, rng), "/users");
        assert_eq!(render("a{{ seq() }}b{{seq(10)}}", 7, rng), "a7b17");
        assert_eq!(render("{{ int(5, 5) }}", 0, rng), "5");
        let id = render("{{ uuid() }}", 0, rng);
        assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 4);
        assert_eq!(Template::compile("").unwrap().constant(), Some(""));
        assert_eq!(Template::compile("x").unwrap().constant(), Some("x"));
        assert_eq!(Template::compile("{{ seq() }}").unwrap().constant(), None);
    }

    #[test]
    fn mistakes_are_named_with_the_nearest_match() {
        for (text, said) in [
            ("{{ ziff(1, 2) }}", "no generator \"ziff\", did you mean \"zipf\"?"),
            ("{{ uid() }}", "did you mean \"uuid\"?"),
            ("{{ qqq() }}", "no generator \"qqq\""),
            ("{{ uuid }}", "expected a call"),
            ("{{ uuid()", "not closed"),
            ("{{ int(1) }}", "1 arguments"),
            ("{{ int(2, 1) }}", "empty"),
            ("{{ zipf(1, x) }}", "\"x\" is not a whole number"),
            ("{{ zipf(1, 10, -1) }}", "below 0"),
            ("{{ seq(-1) }}", "negative"),
            ("{{ zipf(-9223372036854775808, 9223372036854775807) }}", "too wide"),
        ] {
            let error = Template::compile(text).unwrap_err();
            assert!(error.to_string().contains(said), "{text}: {error}");
            assert!(error.hint().contains("uuid()"));
        }
    }

    /// Pearson's test against the law's own weights: with k − 1 degrees of freedom the statistic has mean k − 1 and
    /// variance 2(k − 1); seven deviations above the mean is beyond one in a million runs even with its skew.
    #[test]
    fn zipf_follows_its_law() {
        for exponent in [1.0, 0.8] {
            let template = Template::compile(&format!("{{{{ zipf(3, 52, {exponent}) }}}}")).unwrap();
            let rng = &mut ChaCha8Rng::seed_from_u64(42);
            let (draws, size) = (100_000, 50);
            let mut seen = vec![0u64; size];
            let mut out = String::new();
            for n in 0..draws {
                out.clear();
                template.render(n, rng, &mut out);
                seen[out.parse::<usize>().unwrap() - 3] += 1;
            }
            let weight = |k: usize| 1.0 / ((k + 1) as f64).powf(exponent);
            let total: f64 = (0..size).map(weight).sum();
            let statistic: f64 = (0..size)
                .map(|k| {
                    let expected = draws as f64 * weight(k) / total;
                    (seen[k] as f64 - expected).powi(2) / expected
                })
                .sum();
            let freedom = (size - 1) as f64;
            assert!(
                statistic < freedom + 7.0 * (2.0 * freedom).sqrt(),
                "chi-square {statistic} with {freedom} degrees"
            );
        }
    }
}
