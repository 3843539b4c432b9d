//! Groups: their members exist and belong to one group. Services are significant only where that means something.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::fields::Fields;
use super::super::model::{Group, Kind};
use super::super::problem::quote;
use super::super::reader::Reader;
use super::super::source::Place;
use super::{Drafts, GroupDraft, GroupDrafts, policy, value};
use crate::types::error::Code;
use crate::types::name::Name;
use crate::types::policy::{AutoShutdown, Intensity, OnLimit, Restart, Strategy};

/// The restart limit of a group unless given.
const INTENSITY: Intensity =
    Intensity { restarts: 3, within: Duration::from_secs(60), then: OnLimit::GiveUp };

/// Reads the group `name`, which is named at `key`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    name: &Name,
    key: Place,
    place: Place,
) -> Option<GroupDraft> {
    let mut fields = Fields::open(place, key, format!("group `{name}`"), reader)?;
    let strategies = [
        ("one_for_one", Strategy::OneForOne),
        ("one_for_all", Strategy::OneForAll),
        ("rest_for_one", Strategy::RestForOne),
    ];
    let strategy = fields.take("strategy", reader);
    let strategy = strategy.and_then(|place| reader.choice(place, "strategy", &strategies));
    let mut members = Vec::new();
    if let Some(place) = fields.require("services", reader) {
        members = value::references(reader, place);
        if reader.typed(place).starts_with('[') && members.is_empty() {
            reader.error(Code::InvalidValue, place, "a group needs a member");
        }
    }
    let mut intensity = INTENSITY;
    if let Some(place) = fields.take("intensity", reader) {
        policy::intensity(reader, place, &mut intensity);
    }
    let choices = [
        ("never", AutoShutdown::Never),
        ("any_significant", AutoShutdown::AnySignificant),
        ("all_significant", AutoShutdown::AllSignificant),
    ];
    let auto_shutdown = fields.take("auto_shutdown", reader);
    let auto_shutdown =
        auto_shutdown.and_then(|place| reader.choice(place, "auto_shutdown", &choices));
    fields.finish(reader);
    let group = Group {
        strategy: strategy.unwrap_or_default(),
        services: members.iter().map(|(name, _)| name.clone()).collect(),
        intensity,
        auto_shutdown: auto_shutdown.unwrap_or_default(),
    };
    Some(GroupDraft { group, place: key, members })
}

/// Judges the members of all groups.
pub(super) fn check_members(reader: &mut Reader<'_>, drafts: &Drafts, groups: &GroupDrafts) {
    let mut group_of: BTreeMap<&Name, (&Name, Place)> = BTreeMap::new();
    for (group_name, group) in groups {
        for (name, place) in &group.members {
            if !drafts.contains_key(name) {
                unknown_service(reader, drafts, name, *place);
                continue;
            }
            if let Some((other, first)) = group_of.get(name) {
                let message = format!("service `{name}` is in group `{other}` already");
                let hint = format!("at {}", reader.location(*first));
                reader.error_with(Code::DuplicateName, *place, message, hint);
                continue;
            }
            group_of.insert(name, (group_name, *place));
        }
    }
    for (name, draft) in drafts {
        if let (Some(place), Some((group, _))) = (draft.on_connection, group_of.get(name)) {
            let message = "a member of a group starts with the group, not at a connection";
            let hint = format!("it is in group `{group}`");
            reader.error_with(Code::InvalidValue, place, message, hint);
        }
        let Some(place) = draft.significant else { continue };
        let group = group_of.get(name).and_then(|(group, _)| groups.get(*group));
        if group.is_some_and(|it| it.group.auto_shutdown == AutoShutdown::Never) {
            let message = "`significant` in a group needs the `auto_shutdown` of that group";
            let hint = "in no group, its end is the end of cafe".to_owned();
            reader.error_with(Code::InvalidValue, place, message, hint);
        }
        let gives_up = group.is_none() && draft.service.intensity.then == OnLimit::GiveUp;
        if draft.service.restart == Restart::Permanent && !gives_up {
            let message = "a significant service must be `transient` or `temporary`";
            let hint = "a permanent one never ends by itself".to_owned();
            reader.error_with(Code::InvalidValue, place, message, hint);
        }
        if matches!(draft.service.kind, Kind::Timer { .. }) {
            let message = "a timer cannot be significant: it waits for its next run for ever";
            reader.error(Code::InvalidValue, place, message);
        }
    }
}

/// Reports a reference to a service that does not exist.
pub(super) fn unknown_service(reader: &mut Reader<'_>, drafts: &Drafts, name: &Name, place: Place) {
    if reader.incomplete {
        return;
    }
    let message = format!("there is no service {}", quote(name.as_str()));
    let hint = reader.did_you_mean(name.as_str(), drafts.keys().map(Name::as_str));
    reader.error_with(Code::UnknownReference, place, message, hint);
}
