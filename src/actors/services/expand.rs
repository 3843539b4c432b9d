//! Instances: below the supervisor of the services there are only services that run once. One with `instances: 3` is
//! three of them, `web@1` to `web@3`, and whoever names it means all.

use std::sync::Arc;

use crate::config::{Config, Group, Service};
use crate::types::name::Name;

/// The config with each instance as a service of its own.
pub(super) fn expand(config: &Arc<Config>) -> Arc<Config> {
    if config.services.values().all(|service| service.instances == 1) {
        return Arc::clone(config);
    }
    let instances = |name: &Name| -> Vec<Name> {
        match config.services.get(name).map_or(1, |service| service.instances) {
            1 => vec![name.clone()],
            count => (1..=count).map(|number| name.instance(number)).collect(),
        }
    };
    let all = |names: &[Name]| -> Vec<Name> { names.iter().flat_map(instances).collect() };
    let expanded = |service: &Arc<Service>| {
        let (after, requires) = (all(&service.after), all(&service.requires));
        match after == service.after && requires == service.requires {
            true => Arc::clone(service),
            false => Arc::new(Service { after, requires, ..Service::clone(service) }),
        }
    };
    let services = config.services.iter().flat_map(|(name, service)| {
        let service = expanded(service);
        instances(name).into_iter().map(move |name| (name, Arc::clone(&service)))
    });
    let groups = config.groups.iter().map(|(name, group)| {
        (name.clone(), Group { services: all(&group.services), ..group.clone() })
    });
    let (services, groups) = (services.collect(), groups.collect());
    Arc::new(Config { services, groups, ..Config::clone(config) })
}

/// The services that these are, or are instances of, each once.
pub(super) fn of_services(names: &[Name]) -> Vec<Name> {
    let mut services: Vec<Name> = Vec::with_capacity(names.len());
    for name in names {
        if services.iter().all(|known| known.as_str() != name.service()) {
            services.push(name.of_service());
        }
    }
    services
}
