//! A task in the form in which push agents take it.

use std::collections::BTreeMap;

use bellwether_core::{port::gateway::InstanceCard, traffic::Granted};
use bytes::Bytes;
use hyper::header::HeaderValue;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

type Fields = BTreeMap<String, Box<RawValue>>;

/// What a task holds beside its work, as far as there is a place for it in the context.
const OF_CONTEXT: [&str; 8] =
    ["agent", "checkpoint", "deadline", "delay", "id", "priority", "synthetic", "traceparent"];

pub(super) struct Parcel {
    pub(super) body: Bytes,
    pub(super) traceparent: Option<HeaderValue>,
}

#[derive(Serialize)]
struct Execute {
    task: Box<RawValue>,
    context: Fields,
    parameters: Fields,
}

/// `task`: what the queue hands out. Values pass as they were written.
pub(super) fn pack(task: &[u8], granted: &Granted, card: &InstanceCard) -> serde_json::Result<Parcel> {
    let mut fields: Fields = serde_json::from_slice(task)?;
    let traceparent = fields
        .get("traceparent")
        .and_then(|raw| serde_json::from_str::<String>(raw.get()).ok())
        .and_then(|text| HeaderValue::try_from(text).ok());
    // The submitter's own objects of these names are what they are called.
    let mut context = object(&mut fields, "context");
    let mut parameters = object(&mut fields, "parameters");
    let text = match ["task", "prompt"].into_iter().find(|name| fields.get(*name).is_some_and(|raw| is_text(raw))) {
        Some(name) => fields.remove(name),
        None => None,
    };
    for name in OF_CONTEXT {
        if let Some(value) = fields.remove(name) {
            context.insert(name.to_owned(), value);
        }
    }
    let agent_type = match fields.remove("type") {
        Some(own) => own,
        None => to_raw_value(card.agent_type.as_str())?,
    };
    context.insert("type".to_owned(), agent_type);
    context.insert("id".to_owned(), to_raw_value(granted.id.as_str())?);
    context.insert("attempt".to_owned(), to_raw_value(&granted.attempt)?);
    context.insert("agent".to_owned(), to_raw_value(card.agent.as_str())?);
    parameters.extend(fields);
    let task = match text {
        Some(text) => text,
        None => to_raw_value("")?,
    };
    let body = serde_json::to_vec(&Execute { task, context, parameters })?.into();
    Ok(Parcel { body, traceparent })
}

fn object(fields: &mut Fields, name: &str) -> Fields {
    let own = fields.get(name).and_then(|raw| serde_json::from_str(raw.get()).ok());
    if own.is_some() {
        fields.remove(name);
    }
    own.unwrap_or_default()
}

fn is_text(raw: &RawValue) -> bool {
    raw.get().starts_with('"')
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bellwether_core::{
        id::{InstanceId, InstanceToken, ModelName, Side},
        spec::Delivery,
        traffic::TaskId,
    };

    use super::*;

    fn packed(task: &str) -> (String, Option<HeaderValue>) {
        let card = InstanceCard {
            instance: InstanceId(1),
            agent: "a".into(),
            agent_type: "worker".into(),
            model: ModelName::new("m"),
            side: Side::Blue,
            token: InstanceToken::new("token"),
            address: Ipv4Addr::LOCALHOST,
            upstream: None,
            delivery: Delivery::Push { places: 1 },
        };
        let granted = Granted { id: TaskId::new("t"), attempt: 2 };
        let parcel = pack(task.as_bytes(), &granted, &card).unwrap();
        (String::from_utf8(parcel.body.to_vec()).unwrap(), parcel.traceparent)
    }

    #[test]
    fn the_prompt_is_the_task_and_what_has_no_place_elsewhere_is_a_parameter() {
        let (body, traceparent) = packed(
            r#"{"agent":"a","id":"t","prompt":"do\u0020it","temperature":1.10,"traceparent":"00-1-2-01","type":"x"}"#,
        );
        assert_eq!(
            body,
            r#"{"task":"do\u0020it","context":{"agent":"a","attempt":2,"id":"t","traceparent":"00-1-2-01","type":"x"},"parameters":{"temperature":1.10}}"#
        );
        assert_eq!(traceparent.unwrap(), "00-1-2-01");
    }

    #[test]
    fn the_submitters_own_objects_stay_what_they_are_called() {
        let (body, _) = packed(
            r#"{"id":"t","task":"work","prompt":"p","context":{"user":7,"attempt":9},"parameters":{"n":1},"checkpoint":{"at":3}}"#,
        );
        assert_eq!(
            body,
            r#"{"task":"work","context":{"agent":"a","attempt":2,"checkpoint":{"at":3},"id":"t","type":"worker","user":7},"parameters":{"n":1,"prompt":"p"}}"#
        );
        let (body, traceparent) = packed(r#"{"id":"t","payload":[1],"parameters":"none"}"#);
        assert_eq!(
            body,
            r#"{"task":"","context":{"agent":"a","attempt":2,"id":"t","type":"worker"},"parameters":{"parameters":"none","payload":[1]}}"#
        );
        assert_eq!(traceparent, None);
    }
}
