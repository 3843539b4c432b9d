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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{expand, of_services};
    use crate::config::{Config, load_bytes};
    use crate::types::name::Name;

    fn config(text: &str) -> Arc<Config> {
        let path = std::path::Path::new("/etc/cafe.ron");
        Arc::new(load_bytes(path, text.as_bytes(), &|_| None).expect("a config"))
    }

    fn texts<'n>(names: impl IntoIterator<Item = &'n Name>) -> Vec<&'n str> {
        names.into_iter().map(Name::as_str).collect()
    }

    #[test]
    fn whoever_names_a_service_means_all_its_instances() {
        let config = config(
            "Cafe(services: { \"db\": (command: [\"db\"]), \
             \"web\": (command: [\"web\"], instances: 2, requires: [\"db\"]), \
             \"late\": (command: [\"late\"], after: [\"web\"], requires: [\"web\", \"db\"]) }, \
             groups: { \"g\": (services: [\"db\", \"web\", \"late\"]) })",
        );
        let expanded = expand(&config);
        assert_eq!(texts(expanded.services.keys()), ["db", "web@1", "web@2", "late"]);
        assert_eq!(texts(&expanded.services["late"].after), ["web@1", "web@2"]);
        assert_eq!(texts(&expanded.services["late"].requires), ["web@1", "web@2", "db"]);
        assert_eq!(texts(&expanded.services["web@2"].requires), ["db"]);
        let members = &expanded.groups["g"].services;
        assert_eq!(texts(members), ["db", "web@1", "web@2", "late"]);
        assert_eq!(of_services(members), config.groups["g"].services);
    }

    #[test]
    fn a_config_without_instances_stays_as_it_is() {
        let config = config("Cafe(services: { \"db\": (command: [\"db\"], instances: 1) })");
        assert!(Arc::ptr_eq(&expand(&config), &config));
    }
}
