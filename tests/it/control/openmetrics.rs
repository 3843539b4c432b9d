//! `/v1/metrics` against the OpenMetrics 1.0 text format, by a strict reader of it.

use std::collections::BTreeSet;

use super::http::request;
use super::running;

/// What a family may append to its name in samples, by type.
fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "gauge" | "stateset" => &[""],
        "counter" => &["_total", "_created"],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_count", "_sum", "_created"],
        "summary" => &["", "_count", "_sum", "_created"],
        _ => panic!("no type of OpenMetrics: {kind}"),
    }
}

/// The family that samples belong to now.
struct Family {
    name: String,
    kind: Option<String>,
    unit: Option<String>,
}

#[derive(Default)]
struct Reader {
    families: BTreeSet<String>,
    series: BTreeSet<String>,
    current: Option<Family>,
}

impl Reader {
    fn metadata(&mut self, line: &str) {
        let mut words = line.splitn(4, ' ');
        assert_eq!(words.next(), Some("#"), "{line}");
        let (word, name) = (words.next().expect("a word"), words.next().expect("a name"));
        let value = words.next().unwrap_or_default();
        if self.current.as_ref().is_none_or(|family| family.name != name) {
            assert!(self.families.insert(name.to_owned()), "{name} is interleaved or twice");
            self.current = Some(Family { name: name.to_owned(), kind: None, unit: None });
        }
        let family = self.current.as_mut().expect("a family");
        match word {
            "TYPE" => assert!(family.kind.replace(value.to_owned()).is_none(), "{line}"),
            "UNIT" => {
                assert!(name.ends_with(&format!("_{value}")), "the name lacks the unit: {line}");
                assert!(family.unit.replace(value.to_owned()).is_none(), "{line}");
            }
            "HELP" => assert!(!value.is_empty(), "{line}"),
            _ => panic!("no metadata: {line}"),
        }
    }

    fn sample(&mut self, line: &str) {
        let family = self.current.as_ref().unwrap_or_else(|| panic!("of no family: {line}"));
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}').expect("closed")),
            None => (series, ""),
        };
        let kind = family.kind.as_deref().unwrap_or_else(|| panic!("without a type: {line}"));
        let rest = name.strip_prefix(&family.name).unwrap_or_else(|| panic!("strange: {line}"));
        assert!(suffixes(kind).contains(&rest), "{kind}: {line}");
        let labels = labels_of(labels);
        let number: f64 = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
        match kind {
            "counter" => assert!(number >= 0.0, "{line}"),
            "info" => assert_eq!(value, "1", "{line}"),
            "stateset" => {
                assert!(matches!(value, "0" | "1"), "{line}");
                assert!(
                    labels.contains(&family.name),
                    "a stateset has a label of its name: {line}"
                );
            }
            _ => {}
        }
        assert!(self.series.insert(series.to_owned()), "twice: {series}");
    }
}

/// The names of the labels, each once, with values that are quoted and escaped.
fn labels_of(mut text: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    while !text.is_empty() {
        let (name, rest) = text.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
        assert!(names.insert(name.to_owned()), "label twice: {name}");
        let mut escaped = false;
        let end = rest.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let end = end.unwrap_or_else(|| panic!("not closed: {rest}"));
        text = rest[end + 1..].strip_prefix(',').unwrap_or(&rest[end + 1..]);
    }
    names
}

#[tokio::test]
async fn metrics_are_open_metrics() {
    let cafe = running().await;
    let answer = request(&cafe, "GET", "/v1/metrics", &[], "");
    let kind = answer.header("content-type").unwrap();
    assert!(kind.starts_with("application/openmetrics-text; version=1.0.0"), "{kind}");
    let body = answer.body.strip_suffix("# EOF\n").expect("an end");
    assert!(body.ends_with('\n') && !body.contains("\n\n") && !body.contains("# EOF"));
    let mut reader = Reader::default();
    for line in body.lines() {
        if line.starts_with('#') { reader.metadata(line) } else { reader.sample(line) }
    }
    let up = "cafe_service_state{service=\"web\",cafe_service_state=\"ready\"}";
    assert!(reader.series.contains(up), "{:#?}", reader.series);
    assert!(body.contains(&format!("{up} 1\n")), "{body}");
}
