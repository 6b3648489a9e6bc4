//! Where a request goes, by its path and by the address that it came in on.

use std::{
    net::{Ipv4Addr, SocketAddr, SocketAddrV4},
    sync::Arc,
};

use bellwether_core::traffic::TaskId;
use http_body_util::BodyExt;
use hyper::{Method, StatusCode, http::uri::PathAndQuery};

use crate::{
    agent_api,
    body::{Request, Response},
    caller::{Caller, Hold},
    door::Door,
    guard::{Ended, Guarded},
    heir::{
        gate::{Entered, Visit},
        pass,
    },
    model, naming, panel,
    path::{below, rest},
    problem::{method_not_allowed, problem, unavailable},
    push::push,
    relay,
    server::{Passage, Place},
    table::Known,
    target::{Claim, Target},
    task_api,
    work::CallSigns,
};

/// The task that a model call works for.
const TASK: &str = "x-bellwether-task";

/// `called`: the address and port that the client connected to.
pub(crate) async fn answer(
    door: &Arc<Door>,
    called: SocketAddrV4,
    (place, passage): (Place, Passage),
    mut request: Request,
) -> Response {
    passage.set_elsewhere(false);
    let inside = match door.gate.wait().await {
        Entered::Inside(inside) => inside,
        Entered::Elsewhere => {
            passage.set_elsewhere(true);
            return Box::pin(pass::on(&door.tunnels, SocketAddr::V4(called), request, place)).await;
        }
        Entered::Stopped => return unavailable(),
    };
    let visit = Visit::new(&door.gate, inside, SocketAddr::V4(called), &door.tunnels, (place, passage));
    request.extensions_mut().insert(visit.clone());
    let response = here(door, *called.ip(), request).await;
    visit.step_out();
    response
}

/// The ways of few requests are boxed: what every request allocates and moves about is as large as the largest that is
/// not.
async fn here(door: &Arc<Door>, called: Ipv4Addr, request: Request) -> Response {
    if *request.method() == Method::CONNECT {
        return problem(StatusCode::METHOD_NOT_ALLOWED, "this is no forward proxy");
    }
    // Shares its bytes with the request's, which moves on.
    let uri = request.uri().clone();
    let path = uri.path();
    let mut parts = path.splitn(4, '/').skip(1);
    match (parts.next(), parts.next().filter(|name| !name.is_empty())) {
        (Some("i"), Some(token)) => by_token(door, token, request).await,
        (Some("a"), Some(agent)) => match rest(&request, "/a/".len() + agent.len()) {
            Some(rest) => push(door, agent, rest, request).await,
            None => problem(StatusCode::BAD_REQUEST, "the path cannot be passed on"),
        },
        (Some("m"), Some(client)) => by_client(door, client, request).await,
        (Some("tasks" | "completions"), _) => Box::pin(task_api::answer(door, path, request)).await,
        (Some("metrics"), None) => match *request.method() {
            Method::GET => panel::metrics(&door.board.recorder, &door.board.breakers, &door.model),
            _ => method_not_allowed("GET"),
        },
        (Some("breakers"), _) => Box::pin(panel::breakers(&door.board.breakers, &door.model, path, request)).await,
        (Some("relay"), None) if door.backend.is_some() => relay::outbox(door, &request).await,
        _ => by_address(door, called, path, request).await,
    }
}

async fn by_token(door: &Arc<Door>, token: &str, request: Request) -> Response {
    let known = {
        let table = door.board.table.load();
        match table.by_token(token) {
            Known::Instance(target) => Ok(target.clone()),
            Known::Revoked => Err(problem(StatusCode::FORBIDDEN, "this instance was removed")),
            Known::Not => Err(problem(StatusCode::UNAUTHORIZED, "no instance has this token")),
        }
    };
    let target = match known {
        Ok(target) => target,
        Err(refusal) => return refusal,
    };
    let Some(rest) = rest(&request, "/i/".len() + token.len()) else {
        return problem(StatusCode::BAD_REQUEST, "the path cannot be passed on");
    };
    if let Some(of_model) = below(&rest, "/ollama") {
        return model_call(door, Some(target), &of_model, request).await;
    }
    Box::pin(agent_api::answer(door, &target, &rest, request)).await
}

async fn by_client(door: &Arc<Door>, client: &str, request: Request) -> Response {
    if !naming::is_name(client) {
        return problem(StatusCode::NOT_FOUND, naming::NAMES);
    }
    let Some(rest) = rest(&request, "/m/".len() + client.len()) else {
        return problem(StatusCode::BAD_REQUEST, "the path cannot be passed on");
    };
    outside(door, Some(client), rest.as_str(), request).await
}

/// A model call of somebody who is no instance.
async fn outside(door: &Arc<Door>, client: Option<&str>, path: &str, request: Request) -> Response {
    let visit = Visit::of(&request);
    let name = naming::name(client, request.headers(), visit.as_ref().map(|visit| visit.place.peer));
    let account = door.clients.account(name, door.board.clock.mono());
    visit.inspect(|visit| visit.step_out());
    answered(door, door.model.serve(&door.lane, Caller::outside(account), path, request).await).await
}

/// The call's answer, of whichever gateway grants the slots.
async fn answered(door: &Arc<Door>, served: Result<Response, Box<model::NotBegun>>) -> Response {
    match served {
        Ok(response) => response,
        Err(request) => match Visit::of(&request) {
            Some(visit) => match door.gate.not_shut().await {
                Some(_) => Box::pin(visit.pass_on_whole(*request)).await,
                None => unavailable(),
            },
            None => unavailable(),
        },
    }
}

/// The root: the seed's paths for instances that are known by the address they called, and the model API.
async fn by_address(door: &Arc<Door>, called: Ipv4Addr, path: &str, request: Request) -> Response {
    let target = door.board.table.load().by_address(called).cloned();
    match (agent_api::Call::of(path), target) {
        (Some(_), Some(target)) => match rest(&request, 0) {
            Some(rest) => Box::pin(agent_api::answer(door, &target, &rest, request)).await,
            None => problem(StatusCode::BAD_REQUEST, "the path cannot be passed on"),
        },
        (Some(agent_api::Call::Health), None) => agent_api::health_of_gateway(),
        (Some(_), None) => problem(StatusCode::UNAUTHORIZED, "no instance is known by the address that was called"),
        (None, target) => {
            let path = request.uri().path_and_query().map_or("/", PathAndQuery::as_str).to_owned();
            model_call(door, target, &path, request).await
        }
    }
}

/// Cut at the drain limit like every other use of the instance.
async fn model_call(door: &Arc<Door>, target: Option<Arc<Target>>, path: &str, request: Request) -> Response {
    let Some(target) = target else {
        return outside(door, None, path, request).await;
    };
    let caller = caller_of(door, &target, path, &request);
    // It claims the instance, and does without the desk.
    Visit::of(&request).inspect(|visit| visit.step_out());
    let cut = target.cut_token();
    // Counted before the call is dropped, because with the call the instance may be empty.
    let cut_off = async {
        cut.cancelled().await;
        target.count_revoked();
    };
    tokio::select! {
        response = async { answered(door, door.model.serve(&door.lane, caller, path, request).await).await } => {
            let (cut, target) = (cut.clone(), target.clone());
            let end = move |how, _: &mut _| if how == Ended::Cut { target.count_revoked() };
            response.map(|inner| Guarded::new(inner, cut, end).boxed_unsync())
        }
        () = cut_off => problem(StatusCode::SERVICE_UNAVAILABLE, "cut at the drain limit"),
    }
}

fn caller_of(door: &Arc<Door>, target: &Arc<Target>, path: &str, request: &Request) -> Caller {
    let (task, signs) = if model::infers(request.method(), path) {
        let named = request.headers().get(TASK).map(|value| value.to_str().unwrap_or_default());
        let task = target.work.task_of_call(named);
        let signs = target.work.call(door.board.clock, named.is_some(), task.as_ref());
        (task, Some(signs))
    } else {
        (None, None)
    };
    let name = task.as_ref().map(TaskId::to_string);
    let working = Working { door: door.clone(), task, signs: signs.clone(), claim: target.hold() };
    working.progress();
    Caller {
        agent: target.card.agent.clone(),
        instance: Some(target.card.instance),
        side: target.side(),
        task: name,
        signs,
        hold: Some(Box::new(working)),
    }
}

/// An instance that makes a call of the model server. Beginning and end of the model's work are progress on the task:
/// they renew its lease. Each piece of the answer is a sign that somebody is there to take it.
struct Working {
    door: Arc<Door>,
    task: Option<TaskId>,
    signs: Option<CallSigns>,
    claim: Claim,
}

impl Working {
    fn progress(&self) {
        self.passed();
        if let Some(task) = &self.task {
            self.door.desk.renew(task.clone(), self.claim.target().card.instance);
        }
    }
}

impl Hold for Working {
    fn passed(&self) {
        if let Some(signs) = &self.signs {
            signs.sign();
        }
    }
}

impl Drop for Working {
    fn drop(&mut self) {
        self.progress();
    }
}
