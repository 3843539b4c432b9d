//! Several instances, shown as one service.

use std::collections::BTreeSet;

use super::{Entry, node};
use crate::net::api::ServiceCounters;
use crate::types::name::Name;
use crate::types::state::State;
use crate::types::status::{Instance, Node, Service};

/// The state of a service is the first of these that one of its instances has.
const TROUBLE_FIRST: [State; 10] = [
    State::Failed,
    State::Unhealthy,
    State::Backoff,
    State::Stopping,
    State::Starting,
    State::Waiting,
    State::Stopped,
    State::Done,
    State::Running,
    State::Ready,
];

/// Services by name, those with several instances once.
pub(super) fn services(all: impl Iterator<Item = Service>) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for service in all {
        if service.name.number().is_none() {
            services.push(service);
            continue;
        }
        // Those of one service stand together.
        let is_same =
            |known: &&mut Service| known.name.as_str() == service.name.service() && is_many(known);
        match services.last_mut().filter(is_same) {
            Some(known) => join(known, service),
            None => {
                services.push(Service { name: service.name.of_service(), pid: None, ..service });
            }
        }
    }
    for service in services.iter_mut().filter(|service| is_many(service)) {
        service.reason = reason(service);
    }
    services
}

fn is_many(service: &Service) -> bool {
    service.instances.iter().any(|instance| instance.name.is_some())
}

fn join(known: &mut Service, next: Service) {
    known.state = worst([known.state, next.state]);
    known.instances.extend(next.instances);
    known.instances.sort_by_key(|instance| instance.number);
    known.restarts += next.restarts;
    known.since = known.since.max(next.since);
    known.state_ms = known.state_ms.min(next.state_ms);
    known.uptime_ms = match (known.uptime_ms, next.uptime_ms) {
        (0, other) | (other, 0) => other,
        (one, other) => one.min(other),
    };
    known.memory_bytes += next.memory_bytes;
    known.cpu_percent += next.cpu_percent;
    known.next_start = [known.next_start, next.next_start].into_iter().flatten().min();
    known.last_start = known.last_start.max(next.last_start);
    (known.status_text, known.probe) = (None, None);
    known.exits.extend(next.exits);
    known.exits.sort_by_key(|exit| std::cmp::Reverse(exit.at));
}

fn worst(states: impl IntoIterator<Item = State> + Clone) -> State {
    let has = |wanted: &State| states.clone().into_iter().any(|state| state == *wanted);
    TROUBLE_FIRST.into_iter().find(has).unwrap_or(State::Stopped)
}

/// How many are up, and what is the matter with the first that is in trouble.
fn reason(service: &Service) -> String {
    // One that overlaps is there twice.
    let count = |wanted: &dyn Fn(&Instance) -> bool| {
        let numbers = service.instances.iter().filter(|it| wanted(it)).map(|it| it.number);
        numbers.collect::<BTreeSet<u32>>().len()
    };
    let up = count(&|instance| instance.state.is_some_and(State::is_up));
    let count = count(&|_| true);
    let in_trouble = service.instances.iter().find(|it| it.state == Some(service.state));
    match in_trouble {
        Some(instance) if !service.state.is_up() || service.state == State::Unhealthy => {
            let name = instance.name.as_ref().map_or("", Name::as_str);
            format!("{up} of {count} up; {name} is {}: {}", service.state, instance.reason)
        }
        _ => format!("{up} of {count} up"),
    }
}

/// One node for each service, with a node for each instance where there are several.
pub(super) fn nodes<'e>(entries: impl Iterator<Item = (&'e Name, &'e Entry)>) -> Vec<Node> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_by_key(|(name, _)| (name.service(), name.number()));
    let mut nodes: Vec<Node> = Vec::new();
    for (name, entry) in entries {
        let alone = node(name, entry);
        if name.number().is_none() {
            nodes.push(alone);
            continue;
        }
        let instance = Node { kind: "instance".to_owned(), ..alone };
        let is_same = |last: &&mut Node| {
            last.id == name.service() && last.children.iter().any(|it| it.kind == "instance")
        };
        match nodes.last_mut().filter(is_same) {
            Some(service) => {
                service.restarts += instance.restarts;
                service.state = worse(&service.state, &instance.state);
                service.children.push(instance);
                service.detail = format!("{} instances", service.children.len());
            }
            None => nodes.push(Node {
                id: name.service().to_owned(),
                kind: "service".to_owned(),
                state: instance.state.clone(),
                restarts: instance.restarts,
                detail: "1 instance".to_owned(),
                children: vec![instance],
            }),
        }
    }
    nodes
}

fn worse(one: &str, other: &str) -> String {
    let place = |text: &str| TROUBLE_FIRST.iter().position(|state| state.as_str() == text);
    if place(other) < place(one) { other.to_owned() } else { one.to_owned() }
}

/// Sums of each service.
pub(super) fn counters(all: impl Iterator<Item = ServiceCounters>) -> Vec<ServiceCounters> {
    let mut sums: Vec<ServiceCounters> = Vec::new();
    for one in all {
        match sums.last_mut().filter(|last| last.name == one.name) {
            Some(sum) => {
                sum.restarts += one.restarts;
                sum.cpu_seconds += one.cpu_seconds;
                for (sum, (_, count)) in sum.exits.iter_mut().zip(one.exits) {
                    sum.1 += count;
                }
            }
            None => sums.push(one),
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::super::{Board, Entry};
    use crate::types::state::State;

    fn board(names: &[(&str, State)]) -> Board {
        let board = Board::default();
        for (text, state) in names {
            let mut entry = Entry::new("daemon", None, Vec::new());
            (entry.state, entry.reason) = (*state, format!("as {state} is"));
            board.insert(text.parse().expect("a name"), entry);
        }
        board
    }

    #[test]
    fn instances_are_one_service_in_the_worst_of_their_states() {
        let states = [
            ("db", State::Running),
            ("web", State::Stopping),
            ("web-1", State::Ready),
            ("web@1", State::Ready),
            ("web@10", State::Backoff),
            ("web@2", State::Ready),
        ];
        let board = board(&states);
        let shown = board.services();
        let names: Vec<_> =
            shown.iter().map(|it| (it.name.as_str(), it.instances.len(), it.state)).collect();
        // The single one of that name is about to go.
        let expected = [
            ("db", 0, State::Running),
            ("web", 0, State::Stopping),
            ("web-1", 0, State::Ready),
            ("web", 3, State::Backoff),
        ];
        assert_eq!(names, expected);
        assert_eq!(shown[3].reason, "2 of 3 up; web@10 is backoff: as backoff is");
        let numbers: Vec<_> = shown[3].instances.iter().map(|it| it.number).collect();
        assert_eq!(numbers, [1, 2, 10]);
        let one = board.service("web@2").expect("is there");
        assert_eq!((one.state, one.instances.len()), (State::Ready, 1));
        assert!(board.service("web@3").is_none());

        let nodes = board.nodes();
        let nodes: Vec<_> =
            nodes.iter().map(|it| (it.id.as_str(), it.children.len(), it.state.as_str())).collect();
        let expected = [
            ("db", 0, "running"),
            ("web", 0, "stopping"),
            ("web", 3, "backoff"),
            ("web-1", 0, "ready"),
        ];
        assert_eq!(nodes, expected);
        let sums = board.counters();
        assert_eq!(sums.iter().filter(|sum| sum.name.as_str() == "web").count(), 2);
    }
}
