//! Templates rendered and refused.

use rand::SeedableRng as _;

use super::*;

fn compile(text: &str) -> Result<Template, TemplateError> {
    Template::compile(text, Names { feeds: &Feeds::default(), captured: &[] }, Escape::Not)
}

fn render(text: &str, n: u64, rng: &mut ChaCha8Rng) -> String {
    let mut out = Vec::new();
    let feeds = &Feeds::default();
    compile(text).unwrap().render(&mut Scope { n, rng, feeds, captured: &[] }, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn choices_may_be_quoted_and_now_is_now() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut seen: Vec<_> = (0..200).map(|n| render("{{ choice(a, \"b, c\" , d e) }}", n, rng)).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["a", "b, c", "d e"]);
    let seconds = || jiff::Timestamp::now().as_second();
    let before = seconds();
    let rendered: i64 = render("{{ now() }}", 0, rng).parse().unwrap();
    let millis: i64 = render("{{ now(ms) }}", 0, rng).parse().unwrap();
    let stamp: jiff::Timestamp = render("{{ now(rfc3339) }}", 0, rng).parse().unwrap();
    for found in [rendered, millis / 1000, stamp.as_second()] {
        assert!((before..=seconds()).contains(&found), "{found}");
    }
}

#[test]
fn values_are_escaped_for_where_they_stand() {
    let feeds = &Feeds::default();
    let captured = ["v".to_owned(), "a b/\"ü\"\r\n&=".to_owned()];
    let names = vec!["one".to_owned(), "two".to_owned()];
    for (escape, expected) in [
        (Escape::Not, "<v a b/\"ü\"\r\n&=>"),
        (Escape::Target, "<v a%20b/%22%C3%BC%22%0D%0A&=>"),
        (Escape::Header, "<v a b/\"ü\"&=>"),
        (Escape::Json, "<v a b/\\\"ü\\\"\\u000d\\u000a&=>"),
        (Escape::Form, "<v a%20b%2F%22%C3%BC%22%0D%0A%26%3D>"),
    ] {
        let names = Names { feeds, captured: &names };
        let template = Template::compile("<{{ one }} {{two}}>", names, escape).unwrap();
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut out = Vec::new();
        template.render(&mut Scope { n: 0, rng, feeds, captured: &captured }, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{escape:?}");
    }
    let names = Names { feeds, captured: &names };
    let error = Template::compile("{{ twwo }}", names, Escape::Not).unwrap_err();
    assert!(error.to_string().contains("did you mean \"two\"?"), "{error}");
    assert_eq!(error.hint(), "values are one, two");
    let form = Template::compile_escaped("a b", names, Escape::Form).unwrap();
    assert_eq!(form.constant().unwrap(), b"a%20b");
}

#[test]
fn literals_and_generators_alternate() {
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    assert_eq!(render("/users", 7, rng), "/users");
    assert_eq!(render("a{{ seq() }}b{{seq(10)}}", 7, rng), "a7b17");
    assert_eq!(render("{{ int(5, 5) }}", 0, rng), "5");
    let id = render("{{ uuid() }}", 0, rng);
    assert_eq!(id.parse::<uuid::Uuid>().unwrap().get_version_num(), 4);
    assert_eq!(compile("").unwrap().constant(), Some(Vec::new()));
    assert_eq!(compile("x").unwrap().constant(), Some(b"x".to_vec()));
    assert_eq!(compile("{{ seq() }}").unwrap().constant(), None);
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
        ("{{ choice() }}", "0 arguments"),
        ("{{ choice(\"a) }}", "quote is not closed"),
        ("{{ choice(\"a\" b) }}", "comma is missing"),
        ("{{ now(days) }}", "write now()"),
        ("{{ zipf(-9223372036854775808, 9223372036854775807) }}", "too wide"),
    ] {
        let error = compile(text).unwrap_err();
        assert!(error.to_string().contains(said), "{text}: {error}");
        assert!(error.hint().contains("uuid()"));
    }
}

/// Pearson's test against the law's own weights: with k − 1 degrees of freedom the statistic has mean k − 1 and
/// variance 2(k − 1); seven deviations above the mean is beyond one in a million runs even with its skew.
#[test]
fn zipf_follows_its_law() {
    for exponent in [1.0, 0.8] {
        let template = compile(&format!("{{{{ zipf(3, 52, {exponent}) }}}}")).unwrap();
        let rng = &mut ChaCha8Rng::seed_from_u64(42);
        let (draws, size) = (100_000, 50);
        let mut seen = vec![0u64; size];
        let mut out = Vec::new();
        let feeds = &Feeds::default();
        for n in 0..draws {
            out.clear();
            template.render(&mut Scope { n, rng, feeds, captured: &[] }, &mut out);
            seen[str::from_utf8(&out).unwrap().parse::<usize>().unwrap() - 3] += 1;
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
        assert!(statistic < freedom + 7.0 * (2.0 * freedom).sqrt(), "chi-square {statistic} with {freedom} degrees");
    }
}
