//! How tasks reach an agent's instances, and what an instance has to show before it gets any.
//!
//! Invariant of what is accepted: an instance that tasks are posted to serves HTTP, and there is a queue to post from.

use std::collections::BTreeMap;

use super::{
    Delivery, Readiness, TaskMode, names,
    reader::{Field, Fields, Reader},
    yaml::{Kind, Mark},
};
use crate::{
    diagnostic::{Diagnostic, Place},
    id::AgentName,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Pull,
    Push,
    None,
}

const WAYS: [(&str, Way); 3] = [("pull", Way::Pull), ("push", Way::Push), ("none", Way::None)];

/// More at once than any model server has slots.
const PLACES_MAX: u32 = 64;

/// `tasks` and `places` as one part of a file says them.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    way: Option<Way>,
    places: Option<(u32, Mark)>,
}

impl Told {
    pub(super) fn read(r: &mut Reader<'_>, f: &Fields<'_>) -> Self {
        let way = r.choice(f.get("tasks"), "BW0127", &WAYS);
        let places = places(r, f.get("places")).map(|places| (places, f.at("places")));
        // Of a way that was refused nobody can say whether it has places.
        let places = places.filter(|_| way.is_some() || !f.has_or_meant("tasks"));
        Self { way, places }
    }

    /// This, and what it leaves open from `base`. Whoever says `pull` has done with the places of those who push.
    pub(super) fn over(self, base: Self) -> Self {
        let inherited = base.places.filter(|_| matches!(self.way, None | Some(Way::Push)));
        Self { way: self.way.or(base.way), places: self.places.or(inherited) }
    }

    /// Without a word about it agents pull, where there is something to pull from.
    pub(super) fn resolve(self, mode: TaskMode) -> Delivery {
        self.said().unwrap_or(match mode {
            TaskMode::Queue | TaskMode::Relay => Delivery::Pull,
            TaskMode::None => Delivery::None,
        })
    }

    /// Only what the file says.
    pub(super) fn said(self) -> Option<Delivery> {
        self.way.map(|way| match way {
            Way::Pull => Delivery::Pull,
            Way::Push => Delivery::Push { places: self.places.map_or(1, |(places, _)| places) },
            Way::None => Delivery::None,
        })
    }

    /// Places that mean nothing, because nothing is pushed.
    pub(super) fn stray(self) -> Option<Mark> {
        self.places.filter(|_| self.way != Some(Way::Push)).map(|(_, at)| at)
    }
}

fn places(r: &mut Reader<'_>, field: Option<Field<'_>>) -> Option<u32> {
    let places = r.small(field, 1)?;
    if places > PLACES_MAX {
        let wrong = Diagnostic::new("BW0106", format!("{places} tasks at once make no sense here"));
        r.report(field?.node.at, wrong.help(format!("write a number from 1 to {PLACES_MAX}")));
        return None;
    }
    Some(places)
}

/// `task`, `poll`, or a table that says which task.
pub(super) fn ready(r: &mut Reader<'_>, field: Field<'_>) -> Option<Readiness> {
    if !matches!(field.node.kind, Kind::Table(_)) {
        let task = r.choice(Some(field), "BW0127", &[("task", true), ("poll", false)])?;
        return Some(if task { Readiness::default() } else { Readiness::Poll });
    }
    let f = r.fields(field.node, "\"ready\"", &["prompt", "fields", "within"])?;
    let (default, longest) = by_default();
    let within = r.some_millis(f.get("within")).unwrap_or(longest);
    let fields = match (f.get("prompt"), f.get("fields")) {
        (None, None) => default,
        (Some(prompt), None) => BTreeMap::from([("prompt".to_owned(), r.text(Some(prompt))?)]),
        (None, Some(fields)) => task_fields(r, fields)?,
        (Some(_), Some(fields)) => {
            let twice = Diagnostic::new("BW0138", "what the synthetic task asks is said twice");
            r.report(fields.node.at, twice.help("write the prompt as one of the fields, or leave the fields out"));
            return None;
        }
    };
    Some(Readiness::Task { fields, within })
}

fn by_default() -> (BTreeMap<String, String>, crate::time::Millis) {
    match Readiness::default() {
        Readiness::Task { fields, within } => (fields, within),
        Readiness::Poll => Default::default(),
    }
}

fn task_fields(r: &mut Reader<'_>, field: Field<'_>) -> Option<BTreeMap<String, String>> {
    /// What the gateway itself writes into a task.
    const OURS: [&str; 3] = ["attempt", "checkpoint", "id"];
    let before = r.found.len();
    let pairs = r.pairs(Some(field));
    for (name, (_, at)) in &pairs {
        if OURS.contains(&name.as_str()) {
            let ours = Diagnostic::new("BW0138", format!("{name:?} is what the gateway itself writes into each task"));
            r.report(*at, ours.help("remove it"));
        }
    }
    if pairs.is_empty() && r.found.len() == before {
        let nothing = Diagnostic::new("BW0138", "the synthetic task asks nothing");
        r.report(
            field.node.at,
            nothing.help("write what a task of this agent holds, such as prompt: Reply with one word"),
        );
    }
    (r.found.len() == before).then(|| pairs.into_iter().map(|(name, (text, _))| (name, text)).collect())
}

/// Agents whose delivery cannot work, gathered so that a fault of the defaults is told once.
#[derive(Default)]
pub(super) struct Faults {
    deaf: Vec<(AgentName, Place)>,
    queueless: Vec<(AgentName, Place)>,
    stray: Vec<Mark>,
}

impl Faults {
    pub(super) fn look(&mut self, told: Told, http: bool, mode: TaskMode, name: &AgentName, place: &Place) {
        match told.resolve(mode) {
            Delivery::Push { .. } => {
                if !http {
                    self.deaf.push((name.clone(), place.clone()));
                }
                if mode != TaskMode::Queue {
                    self.queueless.push((name.clone(), place.clone()));
                }
            }
            Delivery::Pull | Delivery::None => {}
        }
        if let Some(at) = told.stray()
            && !self.stray.contains(&at)
        {
            self.stray.push(at);
        }
    }

    pub(super) fn report(self, r: &mut Reader<'_>, at: Mark) {
        several(r, at, &self.deaf, |who| {
            Diagnostic::new("BW0136", format!("tasks are to be posted to {who}, and no HTTP is served there"))
                .because("a task that is pushed is a POST to the instance's /execute")
                .help("write http: true beside tasks: push, or tasks: pull")
        });
        several(r, at, &self.queueless, |who| {
            Diagnostic::new("BW0139", format!("tasks are to be posted to {who}, and there is no queue to post from"))
                .because("tasks: push takes them from the gateway's own queue, which tasks.mode: queue has")
                .help("write tasks.mode: queue, or tasks: none for an agent that takes requests only")
        });
        for at in self.stray {
            r.report(at, stray_places());
        }
    }
}

pub(super) fn stray_places() -> Diagnostic {
    Diagnostic::new("BW0137", "\"places\" is how many tasks are posted at once, and none are posted here")
        .because("an agent that asks for tasks says itself how many it takes")
        .help("write tasks: push beside it, or remove it")
}

fn several(r: &mut Reader<'_>, at: Mark, agents: &[(AgentName, Place)], fault: impl Fn(String) -> Diagnostic) {
    match agents {
        [] => {}
        [(name, place)] => {
            let one = fault(format!("the agent {:?}", name.as_str()));
            r.found.push(one.at(&place.file, place.line, place.column));
        }
        many => {
            let named = names::some(many.iter().map(|(name, _)| name.as_str()));
            r.report(at, fault(format!("{} agents ({named})", many.len())));
        }
    }
}
