//! The load: tasks arrive, are leased, worked on with one model call each, and reported.

use bellwether_core::{
    id::{Generation, InstanceId, Side},
    rollout::Event,
    spec::Delivery,
    time::Millis,
    traffic::{
        Addressee, Archived, Change, Completion, CutOver, LeaseEnd, Refusal, Report, RouteError, State, Submission,
        TaskId, Traffic,
    },
};

use super::{Happening, World, deaths::Spot, links::Link};
use crate::{
    gateway::Intent,
    model::Call,
    referee::{Violation, violated},
};

/// An idle agent asks this often; in between it sleeps, and nothing is simulated.
const IDLE: Millis = Millis(5_000);
/// Until an agent knows that the model server is not there.
const NOBODY_THERE: Millis = Millis(200);
/// A client that heard nothing tries again after this.
const CLIENT_TRIES_AGAIN: Millis = Millis(1_000);

impl World {
    pub(super) fn at_gateway(&mut self, link: u64, life: u64, intent: Intent) -> Result<(), Violation> {
        if self.gateway.life != life || !self.gateway.up || !self.arrives(Link::Gateway, link) {
            return Ok(());
        }
        let now = self.gateway_now();
        let mut changes = Vec::new();
        let mut answer = None;
        match intent {
            Intent::Enrol { cards } => {
                let instances = cards.iter().map(|(instance, _, _)| *instance).collect();
                let cards = cards.iter().map(|(instance, agent, side)| self.gateway.card(*instance, agent, *side));
                match self.gateway.traffic.enrol(cards.collect(), &mut changes) {
                    Ok(()) => answer = Some(Event::Enrolled { instances }),
                    Err(refusal) => return violated("the gateway enrols what it is told", refusal.to_string()),
                }
            }
            Intent::CutOver { generation, moves, drain, revoke } => {
                let done = self.gateway.traffic.cut_over(now, generation, &moves, drain, revoke, &mut changes);
                answer = Some(match done {
                    Ok(CutOver::Done | CutOver::Repeated) => Event::CutOver { generation },
                    Err(RouteError::Stale { standing }) => Event::CutOverStale { standing },
                    // The supervisor told the gateway of an end that the controller has not heard of: as in reality
                    // it did not happen, and the world is looked at before the next try.
                    Err(RouteError::Gone(gone)) if self.driver.get(gone).is_none() => {
                        Event::CutOverStale { standing: Generation(generation.0.saturating_sub(1)) }
                    }
                    Err(error) => return violated("a cutover is possible or stale", error.to_string()),
                });
            }
            Intent::Lost { instance, asked } => {
                // One that was forgotten already.
                let _unknown = self.gateway.traffic.lost(now, instance, asked, &mut changes);
            }
            Intent::Retire { instances } => self.gateway.traffic.retire(now, &instances, &mut changes),
            Intent::Settle { instances } => self.gateway.traffic.settle(&instances, &mut changes),
            Intent::TryOut { instance } => self.try_out(instance),
        }
        self.changed(changes, answer)?;
        Ok(())
    }

    /// Stores what changed, has it checked, and lets everybody know whom it concerns. Whether it lived to answer.
    pub(super) fn changed(&mut self, changes: Vec<Change>, answer: Option<Event>) -> Result<bool, Violation> {
        let life = self.gateway.life;
        let says_something = !changes.is_empty() || answer.is_some();
        if says_something {
            self.passes(Spot::GatewayDecided);
            if self.gateway.life != life {
                return Ok(false);
            }
        }
        self.gateway.store(&changes);
        self.referee.changes(&changes)?;
        if says_something {
            self.passes(Spot::GatewayStored);
        }
        let lives = self.gateway.life == life;
        if lives && let Some(answer) = answer {
            self.tell(Link::Gateway, true, answer);
        }
        for change in changes {
            match change {
                Change::Queued { task } => self.wake_for(&task),
                Change::LeaseLost { task, end, lease } => {
                    if end != LeaseEnd::AskedAgain {
                        let drawn = task.arm(&lease);
                        let tasks = self.evidence.tasks(self.agenda.now(), &task.agent, drawn, lease.side);
                        tasks.lost_leases += u64::from(end.outcome().is_some());
                        let at = (self.agenda.now(), drawn, lease.side);
                        self.evidence.outcome(at, &task.agent, end.outcome(), false);
                        self.wake_for(&task);
                    }
                }
                Change::Retried { task, report, lease, lease_micros } => {
                    let drawn = task.arm(&lease);
                    let tasks = self.evidence.tasks(self.agenda.now(), &task.agent, drawn, lease.side);
                    tasks.failed += 1;
                    tasks.own_time.record(lease_micros);
                    tasks.lease_time.record(lease_micros);
                    let at = (self.agenda.now(), drawn, lease.side);
                    self.evidence.outcome(at, &task.agent, Some(report.outcome()), is_empty(report));
                    self.study.tasks_failed += 1;
                    if let State::Delayed { due, .. } = task.state {
                        let wait = due.since(self.agenda.now()) + Millis(1);
                        self.agenda.after(wait, Happening::TakeOver { task: task.id });
                    }
                }
                Change::Revived { task } => self.wake_for(&task),
                Change::Finished { task, by, lease_micros, .. } => {
                    let served = by.as_ref().map_or(Side::Blue, |(_, lease)| lease.side);
                    let drawn = by.as_ref().map_or(served, |(_, lease)| task.arm(lease));
                    let tasks = self.evidence.tasks(self.agenda.now(), &task.agent, drawn, served);
                    match by {
                        Some((Report::Completed { empty: false }, _)) => tasks.completed += 1,
                        Some((Report::Completed { empty: true } | Report::Failed, _)) | None => tasks.failed += 1,
                    }
                    tasks.own_time.record(lease_micros);
                    tasks.lease_time.record(lease_micros);
                    if let Some((report, _)) = by {
                        let at = (self.agenda.now(), drawn, served);
                        self.evidence.outcome(at, &task.agent, Some(report.outcome()), is_empty(report));
                    }
                }
                Change::Opened { instance, .. } => self.will_ask(instance),
                // It does not know, and asks as ever.
                Change::Retired { instance, .. } => self.will_ask(instance),
                Change::Routed { agent, .. } => {
                    self.check_proven(&agent)?;
                    self.check_served(&agent)?;
                }
                Change::FellBack { agent, from, to, generation } => {
                    self.tell(Link::Gateway, false, Event::FellBack { agent, from, to, generation });
                }
                Change::Enrolled { .. }
                | Change::Settled { .. }
                | Change::Places { .. }
                | Change::Gone { .. }
                | Change::Forgotten { .. }
                | Change::Generation { .. }
                | Change::DrainOver { .. }
                | Change::Checkpoint { .. }
                | Change::Leased { .. } => {}
            }
        }
        if !lives {
            return Ok(false);
        }
        for (instance, revoked) in self.gateway.take_empty() {
            self.tell(Link::Gateway, false, Event::Empty { instance, revoked });
        }
        self.rearm_gateway();
        if says_something {
            self.passes(Spot::GatewayAnswered);
        }
        // What was answered has left, whatever becomes of it afterwards.
        Ok(true)
    }

    fn rearm_gateway(&mut self) {
        let wanted = self.gateway.traffic.next_timeout();
        if let Some(at) = wanted
            && self.gateway.wakes_at.is_none_or(|before| at < before)
        {
            self.gateway.wakes_at = Some(at);
            self.agenda.at(at, Happening::GatewayWakes);
        }
    }

    pub(super) fn gateway_wakes(&mut self) -> Result<(), Violation> {
        if !self.gateway.up || self.gateway.wakes_at.is_none_or(|at| at > self.now()) {
            return Ok(());
        }
        self.gateway.wakes_at = None;
        let mut changes = Vec::new();
        let now = self.gateway_now();
        self.gateway.traffic.expire(now, &mut changes);
        self.changed(changes, None)?;
        Ok(())
    }

    fn wake_for(&mut self, task: &bellwether_core::traffic::Task) {
        if let Some(active) = self.gateway.traffic.route(&task.agent).active {
            self.will_ask(active);
        }
        if task.draw.is_some() {
            self.agenda.after(self.spec.tasks.takeover + Millis(1), Happening::TakeOver { task: task.id.clone() });
        }
    }

    pub(super) fn will_ask(&mut self, instance: InstanceId) {
        let after = self.chance.between(Millis(1), IDLE);
        let Some(process) = self.driver.get_mut(instance) else { return };
        if process.polled && !process.asks {
            process.asks = true;
            self.agenda.after(after, Happening::Asks { instance });
        }
    }

    /// A task that waits too long is there for any idle agent of its type.
    pub(super) fn take_over(&mut self, task: &TaskId) -> Result<(), Violation> {
        let Some(waits) = self.gateway.traffic.task(task) else { return Ok(()) };
        if matches!(waits.state, State::Leased(_)) {
            return Ok(());
        }
        let same_type = self.spec.agents.iter().filter(|agent| agent.agent_type == waits.agent_type);
        let idle: Vec<InstanceId> = same_type
            .filter_map(|agent| self.gateway.traffic.route(&agent.name).active)
            .filter(|&active| self.driver.get(active).is_some_and(|process| process.serves()))
            .collect();
        for instance in idle {
            self.will_ask(instance);
        }
        self.agenda.after(self.spec.tasks.takeover, Happening::TakeOver { task: task.clone() });
        Ok(())
    }

    pub(super) fn arrival(&mut self) -> Result<(), Violation> {
        // At the end no more is submitted, so that everything that was can be seen to be done.
        if !self.state().is_some_and(bellwether_core::rollout::State::is_over) || self.faults() {
            let after = self.chance.exponential(self.pace.task_every);
            self.agenda.after(after, Happening::Arrival);
        }
        let agent = &self.spec.agents[self.chance.below(self.spec.agents.len())];
        if agent.revision.delivery == Delivery::None {
            return Ok(());
        }
        let to = if self.chance.hit(0.7) {
            Addressee::Type(agent.agent_type.clone())
        } else {
            Addressee::Agent(agent.name.clone())
        };
        let id = TaskId::new(format!("t{}", self.submitted + 1));
        self.submitted += 1;
        let submission = Submission::new(id, to, self.chance.number());
        self.submits(submission)
    }

    /// A client that hears nothing submits the same again.
    pub(super) fn submits(&mut self, submission: Submission) -> Result<(), Violation> {
        if self.gateway.archive.contains_key(&submission.id) {
            return Ok(());
        }
        let again = submission.clone();
        let mut answered = self.gateway.up;
        if answered {
            let mut changes = Vec::new();
            let now = self.gateway_now();
            if let Err(refusal) = self.gateway.traffic.submit(now, submission, &mut changes) {
                if self.scenario.studied && matches!(refusal, Refusal::Full { .. }) {
                    // More work than the slots can do is the fleet's own affair.
                    self.study.tasks_refused += 1;
                    return Ok(());
                }
                return violated("a task of the fleet is accepted", refusal.to_string());
            }
            answered = self.changed(changes, None)?;
        }
        if !answered {
            self.agenda.after(CLIENT_TRIES_AGAIN, Happening::Submits { submission: again });
        }
        Ok(())
    }

    pub(super) fn asks(&mut self, instance: InstanceId) -> Result<(), Violation> {
        let now = self.gateway_now();
        let Some(process) = self.driver.get_mut(instance) else { return Ok(()) };
        process.asks = false;
        if self.hangs(instance) {
            return Ok(());
        }
        let Some(process) = self.driver.get_mut(instance) else { return Ok(()) };
        if process.frozen || process.stopping || !self.gateway.up {
            // It asks once it can.
            if !process.stopping {
                process.asks = true;
                self.agenda.after(IDLE, Happening::Asks { instance });
            }
            return Ok(());
        }
        process.polled = true;
        let (places, held) = (process.places, process.work.len());
        if self.gateway.polled(instance) {
            self.tell(Link::Gateway, false, Event::Polled { instance });
        }
        if held >= places as usize {
            return Ok(());
        }
        let mut changes = Vec::new();
        let granted = self.gateway.traffic.next(now, instance, Some(places), &mut changes);
        let answered = self.changed(changes, None)?;
        if !answered {
            if let Some(process) = self.driver.get_mut(instance) {
                process.asks = true;
                self.agenda.after(IDLE, Happening::Asks { instance });
            }
            return Ok(());
        }
        if let Some(granted) = granted
            && let Some(process) = self.driver.get_mut(instance)
        {
            process.work.push(granted.id.clone());
            let model = self.gateway.model_of(&process.agent).cloned();
            if !Traffic::is_try_out(&granted.id) && !self.sickens(instance) {
                return Ok(());
            }
            if self.model_server_is_down() {
                self.agenda.after(NOBODY_THERE, Happening::Reports { instance, task: granted.id, again: false });
            } else if let Some(model) = model {
                self.model.ask(Call { instance, task: granted.id, model });
                self.begin_calls();
            }
            self.will_ask(instance);
        }
        Ok(())
    }

    fn begin_calls(&mut self) {
        while let Some((call, took)) = self.model.begin(&mut self.chance) {
            self.gateway.traffic.renew(self.agenda.now(), &call.task, call.instance);
            self.agenda.after(took, Happening::CallEnds { call, took });
        }
    }

    pub(super) fn call_ends(&mut self, call: &Call, took: Millis) -> Result<(), Violation> {
        self.model.end();
        self.begin_calls();
        self.gateway.traffic.renew(self.agenda.now(), &call.task, call.instance);
        if let Some(process) = self.driver.get(call.instance) {
            let (agent, side) = (process.agent.clone(), process.side);
            if !Traffic::is_try_out(&call.task) {
                self.evidence.call(self.agenda.now(), &agent, side, took);
            }
            let own = self.chance.between(Millis(20), Millis(300));
            let after = own + self.slowness(call.instance, took + own);
            let (instance, task) = (call.instance, call.task.clone());
            self.agenda.after(after, Happening::Reports { instance, task, again: false });
        }
        Ok(())
    }

    pub(super) fn reports(&mut self, instance: InstanceId, task: &TaskId, again: bool) -> Result<(), Violation> {
        let Some(process) = self.driver.get_mut(instance) else { return Ok(()) };
        if process.frozen || !self.gateway.up {
            self.agenda.after(Millis(1_000), Happening::Reports { instance, task: task.clone(), again });
            return Ok(());
        }
        process.work.retain(|work| work != task);
        if Traffic::is_try_out(task) {
            return self.reports_on_try_out(instance, task);
        }
        let fails = process.side == Side::Green && !again && self.fate.hit(self.scenario.green_errors);
        let report = if fails { Report::Failed } else { self.spoilt(instance) };
        let now = self.gateway_now();
        let archived: Option<Archived> = self.gateway.archive.get(task).copied();
        let mut changes = Vec::new();
        let completion = self.gateway.traffic.complete(now, task, instance, report, archived, &mut changes);
        if again && matches!(completion, Completion::Accepted { .. }) && archived.is_some() {
            return violated("a task is completed once", format!("{task}: accepted again"));
        }
        if !again && self.faults() && self.fate.hit(self.scenario.duplicated) {
            // The answer was lost, so it says so once more.
            self.agenda.after(IDLE, Happening::Reports { instance, task: task.clone(), again: true });
        }
        if !self.changed(changes, None)? {
            return self.reports_later(instance, task);
        }
        self.ends_if_done(instance);
        self.will_ask(instance);
        Ok(())
    }

    /// It heard no answer.
    fn reports_later(&mut self, instance: InstanceId, task: &TaskId) -> Result<(), Violation> {
        if let Some(process) = self.driver.get_mut(instance) {
            process.work.push(task.clone());
            self.agenda.after(Millis(1_000), Happening::Reports { instance, task: task.clone(), again: true });
        }
        Ok(())
    }
}

fn is_empty(report: Report) -> bool {
    report == Report::Completed { empty: true }
}
