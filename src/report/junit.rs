//! The JUnit format, for the test reports of CI systems: each objective is a test, and so is the verdict on the generator.

use std::io::{self, Write};

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::figures::slo_value;
use crate::bench::Summary;

/// Writes `summary` as JUnit XML. A missed objective is a failure; a generator that was itself the limit is an error.
///
/// # Errors
///
/// The writer fails.
pub fn junit(summary: &Summary, out: &mut impl Write) -> io::Result<()> {
    let seconds = format!("{:.3}", summary.elapsed_ns as f64 / 1e9);
    let tests = (summary.slo.len() + 1).to_string();
    let failures = summary.slo.iter().filter(|slo| !slo.ok).count().to_string();
    let errors = usize::from(!summary.verdict.trusted).to_string();
    let totals = [
        ("name", "scalectl bench"),
        ("tests", &tests),
        ("failures", &failures),
        ("errors", &errors),
        ("time", &seconds),
    ];
    let mut xml = Writer::new_with_indent(&mut *out, b' ', 2);
    xml.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    xml.create_element("testsuites").with_attributes(totals).write_inner_content(|xml| {
        let suite = [("name", summary.setup.target.as_str())].into_iter().chain(totals.into_iter().skip(1));
        xml.create_element("testsuite").with_attributes(suite).write_inner_content(|xml| {
            properties(summary, xml)?;
            cases(summary, xml)
        })?;
        Ok(())
    })?;
    writeln!(out)
}

/// What a run is repeated by, and what its times are of.
fn properties<W: Write>(summary: &Summary, xml: &mut Writer<W>) -> io::Result<()> {
    let (arrivals, seed) = (summary.setup.arrivals.to_string(), summary.setup.seed.to_string());
    xml.create_element("properties").write_inner_content(|xml| {
        for (name, value) in [("arrivals", &arrivals), ("seed", &seed)] {
            xml.create_element("property").with_attributes([("name", name), ("value", value)]).write_empty()?;
        }
        Ok(())
    })?;
    Ok(())
}

fn cases<W: Write>(summary: &Summary, xml: &mut Writer<W>) -> io::Result<()> {
    for slo in &summary.slo {
        let case = xml
            .create_element("testcase")
            .with_attributes([("classname", "objective"), ("name", slo.expression.as_str())]);
        match slo.ok {
            true => case.write_empty()?,
            false => case.write_inner_content(|xml| {
                let message = format!("measured {}", slo_value(slo));
                xml.create_element("failure").with_attribute(("message", message.as_str())).write_empty()?;
                Ok(())
            })?,
        };
    }
    let case = xml
        .create_element("testcase")
        .with_attributes([("classname", "verdict"), ("name", "the generator was not the limit")]);
    match summary.verdict.trusted {
        true => case.write_empty()?,
        false => case.write_inner_content(|xml| {
            let reasons = summary.verdict.reasons.join("\n");
            xml.create_element("error")
                .with_attribute(("message", "not trusted"))
                .write_text_content(BytesText::new(&reasons))?;
            Ok(())
        })?,
    };
    Ok(())
}
