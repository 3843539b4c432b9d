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
    (service.instances > 1 && probed).then(|| {
        let count = service.instances;
        format!("service `{name}` has {count} instances, and any of them may answer the probe for another")
    })
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
