//! A linter for OpenMetrics 1.0, and the page held against it.

use std::collections::{BTreeMap, BTreeSet};

use super::{ROOT, ask};

/// What the specification demands of a page as ours, as the first thing that is wrong.
fn lint(page: &str) -> Result<usize, String> {
    let body = page.strip_suffix("# EOF\n").ok_or("does not end in `# EOF`")?;
    let (mut kinds, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut current = String::new();
    let mut samples = 0;
    for line in body.lines() {
        if let Some(metadata) = line.strip_prefix("# ") {
            let mut words = metadata.splitn(3, ' ');
            let (what, family) = (words.next(), words.next().ok_or(format!("no family: {line}"))?);
            let value = words.next().ok_or(format!("no value: {line}"))?;
            match what {
                Some("TYPE") => {
                    if kinds.insert(family.to_owned(), value.to_owned()).is_some() {
                        return Err(format!("family twice: {family}"));
                    }
                    family.clone_into(&mut current);
                }
                Some("UNIT") if family.ends_with(&format!("_{value}")) => {}
                Some("HELP") if family == current => {}
                _ => return Err(format!("metadata: {line}")),
            }
            continue;
        }
        samples += 1;
        let (series, value) = line.rsplit_once(' ').ok_or(format!("no value: {line}"))?;
        value.parse::<f64>().map_err(|error| format!("{error}: {line}"))?;
        if !seen.insert(series.to_owned()) {
            return Err(format!("series twice: {series}"));
        }
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let suffix = match kinds.get(&current).map(String::as_str) {
            Some("counter") => "_total",
            Some("info") => "_info",
            Some("gauge" | "stateset") => "",
            kind => return Err(format!("kind {kind:?}: {line}")),
        };
        if name != format!("{current}{suffix}") {
            return Err(format!("{name} is not of family {current}"));
        }
        let labels = labels.strip_suffix('}').ok_or(format!("labels: {line}"))?;
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (_, value) = label.split_once('=').ok_or(format!("label: {line}"))?;
            if !(value.len() >= 2 && value.starts_with('"') && value.ends_with('"')) {
                return Err(format!("label: {line}"));
            }
        }
    }
    Ok(samples)
}

#[test]
fn the_linter_finds_what_is_wrong() {
    for page in [
        "# TYPE a gauge\na 1\n",
        "# TYPE a counter\na 1\n# EOF\n",
        "# TYPE a gauge\na 1\na 1\n# EOF\n",
        "# TYPE a gauge\n# TYPE a gauge\n# EOF\n",
        "# TYPE a gauge\nb 1\n# EOF\n",
        "# TYPE a gauge\na one\n# EOF\n",
        "# TYPE a gauge\n# UNIT a seconds\na 1\n# EOF\n",
        "# TYPE a gauge\na{b=c} 1\n# EOF\n",
        "a 1\n# EOF\n",
    ] {
        assert!(lint(page).is_err(), "{page}");
    }
    assert_eq!(lint("# TYPE a counter\na_total{b=\"c\"} 1.5\n# EOF\n"), Ok(1));
}

#[tokio::test]
async fn the_page_is_openmetrics() {
    let reply = ask(ROOT, "GET", "/v1/metrics").await;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(reply.headers["content-type"], kind);
    let page = String::from_utf8(reply.body.into()).expect("text");
    assert_eq!(lint(&page), Ok(9 + 6 * 10 + 6 * 3 + 6 * 2 + 6 * 2), "{page}");
    for line in [
        "cafe_info{version=\"0.1.0\",config_revision=\"abc123\"} 1",
        "cafe_uptime_seconds 187200",
        "cafe_service_state{service=\"web\",cafe_service_state=\"ready\"} 1",
        "cafe_service_state{service=\"web\",cafe_service_state=\"failed\"} 0",
        "cafe_service_restarts_total{service=\"broken\"} 4",
        "cafe_service_memory_bytes{service=\"web\"} 88080384",
        "cafe_service_exits_total{service=\"web\",cause=\"oom\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}
