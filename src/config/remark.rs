//! What is no error and still worth a word: `cafe config check` says it.

use super::model::{Config, Probe, Ready, Service};
use crate::types::name::Name;

/// One line for each, in the order of the services.
#[must_use]
pub fn remarks(config: &Config) -> Vec<String> {
    let services = config.services.iter();
    services
        .flat_map(|(name, service)| [overlap(name, service), instances(name, service)])
        .flatten()
        .collect()
}

fn instances(name: &Name, service: &Service) -> Option<String> {
    let probed = matches!(service.ready, Some(Ready::Probe(_))) || service.health.is_some();
    let what = match (service.instances, probed, &service.ready) {
        (1, ..) => return None,
        (_, true, _) => "any of them may answer the probe for another",
        (_, _, None) => {
            "nothing proves them ready: a restart of all goes on to the next once one ran for a second"
        }
        _ => return None,
    };
    Some(format!("service `{name}` has {} instances, and {what}", service.instances))
}

fn overlap(name: &Name, service: &Service) -> Option<String> {
    if !service.overlap {
        return None;
    }
    let why = match &service.ready {
        None => "nothing proves it ready: its next generation takes over after it ran for a second"
            .to_owned(),
        Some(Ready::Probe(probe)) => {
            let address = match &**probe {
                Probe::Tcp(address) | Probe::Http { address, .. } => address,
            };
            format!(
                "its last generation may answer on {address} for the next: notify, fd or log tell them apart"
            )
        }
        Some(Ready::Delay(_) | Ready::Log(_) | Ready::Notify | Ready::Fd(_)) => return None,
    };
    Some(format!("service `{name}` has `overlap: true`, and {why}"))
}

#[cfg(test)]
mod tests {
    use super::remarks;
    use crate::config::load_bytes;

    fn of(fields: &str) -> Vec<String> {
        let text = format!("Cafe(services: {{ \"web\": (command: [\"web\"], {fields}) }})");
        let path = std::path::Path::new("/etc/cafe.ron");
        remarks(&load_bytes(path, text.as_bytes(), &|_| None).expect("a config"))
    }

    #[test]
    fn what_may_surprise_is_said() {
        assert_eq!(
            of("overlap: true"),
            [
                "service `web` has `overlap: true`, and nothing proves it ready: its next generation takes over after it ran for a second"
            ]
        );
        let probed = of("overlap: true, instances: 2, ready: tcp(\"127.0.0.1:80\")");
        assert_eq!(probed.len(), 2, "{probed:?}");
        assert!(probed[0].contains("may answer on 127.0.0.1:80 for the next"), "{probed:?}");
        assert!(probed[1].contains("any of them may answer"), "{probed:?}");
        assert!(of("instances: 2")[0].contains("and nothing proves them ready"));
        for fields in ["", "overlap: true, ready: fd(3)", "instances: 3, ready: notify"] {
            assert_eq!(of(fields), [""; 0], "{fields}");
        }
    }
}
