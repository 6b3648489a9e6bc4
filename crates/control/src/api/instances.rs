//! Every instance with what it shows of itself: process, health, heartbeat and progress, each beside the other. Only
//! looked at; nothing is decided here.

use std::{collections::BTreeMap, sync::Arc};

use axum::{Json, extract::State};
use bellwether_core::{
    id::{AgentName, InstanceId, Side},
    observation::Signs,
    port::gateway::InstanceView,
    rollout::AgentView,
};

use super::{
    Shared,
    types::{HealthStatus, InstanceStatus, SeenStatus},
};

pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Json<Vec<InstanceStatus>> {
    let known = match shared.evidence.instances().await {
        Ok(known) => known.into_iter().map(|view| (view.instance, view)).collect(),
        Err(error) => {
            tracing::warn!(%error, "the instances are shown without what the gateway knows of them");
            BTreeMap::new()
        }
    };
    let agents = shared.status().controller.agents;
    let health = shared.health();
    let signs = shared.signs();
    Json(agents.iter().flat_map(|agent| of_agent(agent, &known, &health, &signs)).collect())
}

fn of_agent(
    agent: &AgentView,
    known: &BTreeMap<InstanceId, InstanceView>,
    health: &BTreeMap<InstanceId, HealthStatus>,
    signs: &BTreeMap<(AgentName, Side), Signs>,
) -> Vec<InstanceStatus> {
    let seats = [(Side::Blue, Some(&agent.blue)), (Side::Green, agent.green.as_ref())];
    let instances = seats.into_iter().filter_map(|(side, seat)| {
        let seat = seat?;
        let instance = seat.is.instance()?;
        let active = agent.active == Some(instance);
        let signs = signs.get(&(agent.name.clone(), side)).filter(|_| active);
        let seen = known.get(&instance).map(|view| SeenStatus {
            asked: view.polled,
            held: view.held,
            heartbeat_age_ms: view.heartbeat_age.map(|age| age.0),
            quiet_ms: signs.map(|signs| signs.quiet_ms),
            stalled_ms: signs.map(|signs| signs.stalled_ms),
        });
        let health = health.get(&instance).cloned();
        Some(InstanceStatus { instance, agent: agent.name.clone(), side, seat: seat.clone(), active, health, seen })
    });
    instances.collect()
}

#[cfg(test)]
mod tests {
    use bellwether_core::{
        rollout::{Is, SeatView},
        time::{Millis, UnixMillis},
    };

    use super::*;

    fn seat(is: Is) -> SeatView {
        SeatView { revision: "r".into(), is, failures: 0, fault: None }
    }

    #[test]
    fn what_is_known_of_each_instance_stands_side_by_side() {
        let (blue, green) = (InstanceId(1), InstanceId(2));
        let agent = AgentView {
            name: "a".into(),
            agent_type: "t".into(),
            serving: Some(Side::Blue),
            active: Some(blue),
            phase: Some(0),
            blue: seat(Is::Ready { instance: blue }),
            green: Some(seat(Is::Proving { instance: green })),
        };
        let view = |instance, held| InstanceView {
            instance,
            agent: "a".into(),
            polled: true,
            tried: false,
            heartbeat_age: Some(Millis(1_500)),
            quiesced: false,
            held,
        };
        let known = BTreeMap::from([(blue, view(blue, 3)), (green, view(green, 0))]);
        let ill = HealthStatus { at: UnixMillis(7), fault: Some("it answered 503".into()) };
        let signs = |quiet_ms| Signs { quiet_ms, ..Signs::default() };
        let signs = BTreeMap::from([(("a".into(), Side::Blue), signs(40)), (("a".into(), Side::Green), signs(9))]);
        let shown = of_agent(&agent, &known, &BTreeMap::from([(green, ill)]), &signs);
        let text = serde_json::to_value(&shown).unwrap();
        assert_eq!((&text[0]["is"], &text[1]["is"]), (&"ready".into(), &"proving".into()));
        assert_eq!((&text[0]["active"], &text[1]["active"]), (&true.into(), &false.into()));
        assert_eq!((&text[0]["health"], &text[1]["health"]["fault"]), (&().into(), &"it answered 503".into()));
        let seen = |at: usize| shown[at].seen.clone().unwrap();
        assert_eq!((seen(0).held, seen(0).quiet_ms, seen(1).quiet_ms), (3, Some(40), None));
        assert_eq!(seen(1).heartbeat_age_ms, Some(1_500));

        let away = of_agent(&agent, &BTreeMap::new(), &BTreeMap::new(), &BTreeMap::new());
        assert!(away.len() == 2 && away.iter().all(|one| one.seen.is_none() && one.health.is_none()));
    }
}
